// PenaltyHistory: how often each token stands among those that the penalties look at. One token costs the same whatever
// came before it. It is a plain value: copy it to keep it. A snapshot need not hold it, for rebuild() makes it again
// from the tokens of the timeline and the place where the answer begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

class PenaltyHistory {
 public:
  struct Count {
    int32_t token;
    uint32_t all;        // times in prompt and answer; at least 1
    uint32_t generated;  // times in the answer
    bool operator==(const Count&) const = default;
  };

  // `window`: only the last that many tokens count; 0: all of them.
  PenaltyHistory(int64_t vocab, int64_t window);

  // Error kInvalidArgument: the token is outside the vocabulary; nothing changes then.
  void push(int32_t token, bool generated);
  // What pushes would have made of tokens[0..prompt) as the prompt and the rest as generated. Errors as push(), with
  // nothing in it then.
  void rebuild(std::span<const int32_t> tokens, size_t prompt);
  void clear();

  int64_t window() const { return window_; }
  // In no particular order.
  std::span<const Count> counts() const { return counts_; }

 private:
  void forget(int32_t token, bool generated);

  int64_t window_;
  std::vector<int32_t> place_;  // [vocab] where in counts_; -1: not there
  std::vector<Count> counts_;
  std::vector<int32_t> recent_;  // the window as a ring, without one empty; a generated token t stands as ~t
  size_t oldest_ = 0;            // in recent_, once that is full
};

}  // namespace dsv4
