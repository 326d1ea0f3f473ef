// The pre-tokenizer of a tokenizer.json: regular expressions applied one after the other, each splitting the pieces
// that the one before left into matches and the text between them ("Isolated"). Merging never crosses a piece.
// PCRE2 with UTF and UCP, compiled once; matching is const and every caller brings its own match data. The classes of
// characters (\p{L} ...) are those of PCRE2's Unicode version: characters assigned later count as unassigned.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/json_value.h"

namespace dsv4 {

class PreTokenizer {
 public:
  // `spec` is the file's "pre_tokenizer". kUnsupported names what is not implemented, kCorrupt what is malformed.
  explicit PreTokenizer(const JsonAt& spec);
  ~PreTokenizer();
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;

  // What one call of encode matches with.
  class Matcher {
   public:
    explicit Matcher(const PreTokenizer& owner);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;

    // The ends of the pieces of `text` (valid UTF-8), ascending; the last one is text.size(). Empty for empty text.
    // Error kUnsupported when a pattern needs more backtracking than is allowed.
    const std::vector<size_t>& split(std::string_view text);

   private:
    struct State;
    void split_piece(size_t pattern, std::string_view text, size_t begin, size_t end, std::vector<size_t>& ends);

    const PreTokenizer& owner_;
    std::unique_ptr<State> state_;
    std::vector<size_t> ends_;
    std::vector<size_t> next_;
  };

 private:
  struct Pattern;
  void add_split(const JsonAt& spec);
  void add_byte_level(const JsonAt& spec);

  std::vector<Pattern> patterns_;
  bool byte_level_ = false;
};

}  // namespace dsv4
