#include "lib/text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty()) fail(Status::kInvalidArgument, "stop string {}: empty", i);
    if (!utf8_valid(stops[i])) fail(Status::kInvalidArgument, "stop string {}: not valid UTF-8", i);
    Automaton a;
    a.word = std::move(stops[i]);
    a.border.assign(a.word.size() + 1, 0);
    for (size_t k = 1, m = 0; k < a.word.size(); ++k) {
      while (m > 0 && a.word[k] != a.word[m]) m = a.border[m];
      if (a.word[k] == a.word[m]) ++m;
      a.border[k + 1] = m;
    }
    automata_.push_back(std::move(a));
  }
}

bool StopMatcher::push(std::string_view text, std::string& out) {
  if (automata_.empty()) {
    out += text;
    return false;
  }
  size_t longest = 0;  // of what ends here and may become a stop string
  for (const char c : text) {
    held_.push_back(c);
    longest = 0;
    size_t complete = 0;
    for (Automaton& a : automata_) {
      while (a.matched > 0 && a.word[a.matched] != c) a.matched = a.border[a.matched];
      if (a.word[a.matched] == c) ++a.matched;
      longest = std::max(longest, a.matched);
      if (a.matched == a.word.size()) complete = std::max(complete, a.matched);
    }
    if (complete != 0) {
      out += std::string_view(held_).substr(0, held_.size() - complete);
      held_.clear();
      return true;
    }
  }
  if (text.empty()) return false;
  out += std::string_view(held_).substr(0, held_.size() - longest);
  held_.erase(0, held_.size() - longest);
  return false;
}

void StopMatcher::flush(std::string& out) {
  out += held_;
  held_.clear();
  for (Automaton& a : automata_) a.matched = 0;
}

}  // namespace dsv4
