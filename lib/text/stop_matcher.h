// Finds stop strings in a text that arrives in parts. The match that ends first wins (of those that end together, the
// longest), so the result does not depend on how the text was cut; text is held back only while it may still turn
// out to be the beginning of a stop string. One Knuth-Morris-Pratt automaton per string: constant work per byte.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

class StopMatcher {
 public:
  // Error kInvalidArgument: an empty string, or one that is not UTF-8.
  explicit StopMatcher(std::vector<std::string> stops);

  // Appends to `out` the text that is certain now. True when a stop string was met: it and what follows are dropped.
  bool push(std::string_view text, std::string& out);
  // Appends what was held back, and starts anew.
  void flush(std::string& out);

 private:
  struct Automaton {
    std::string word;
    std::vector<size_t> border;  // border[k]: longest proper prefix of word that ends word[0, k]
    size_t matched = 0;          // of word, at the end of the text so far
  };
  std::vector<Automaton> automata_;
  std::string held_;
};

}  // namespace dsv4
