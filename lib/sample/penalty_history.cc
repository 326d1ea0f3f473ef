#include "lib/sample/penalty_history.h"

#include "lib/base/error.h"

namespace dsv4 {

PenaltyHistory::PenaltyHistory(int64_t vocab, int64_t window) : window_(window) {
  if (vocab < 1 || vocab > INT32_MAX) fail(Status::kInternal, "penalty history: a vocabulary of {}", vocab);
  if (window < 0) fail(Status::kInvalidArgument, "penalty_window: expected 0 or more, found {}", window);
  place_.assign(static_cast<size_t>(vocab), -1);
}

void PenaltyHistory::push(int32_t token, bool generated) {
  if (token < 0 || static_cast<size_t>(token) >= place_.size()) {
    fail(Status::kInvalidArgument, "penalty history: token {} is outside the vocabulary of {}", token, place_.size());
  }
  if (window_ > 0) {
    const int32_t entry = generated ? ~token : token;
    if (static_cast<int64_t>(recent_.size()) < window_) {
      recent_.push_back(entry);
    } else {
      const int32_t old = recent_[oldest_];
      recent_[oldest_] = entry;
      oldest_ = oldest_ + 1 == recent_.size() ? 0 : oldest_ + 1;
      forget(old < 0 ? ~old : old, old < 0);
    }
  }
  int32_t& place = place_[static_cast<size_t>(token)];
  if (place < 0) {
    counts_.push_back({token, 0, 0});
    place = static_cast<int32_t>(counts_.size()) - 1;
  }
  Count& count = counts_[static_cast<size_t>(place)];
  ++count.all;
  count.generated += generated ? 1 : 0;
}

void PenaltyHistory::forget(int32_t token, bool generated) {
  int32_t& place = place_[static_cast<size_t>(token)];
  Count& count = counts_[static_cast<size_t>(place)];
  count.generated -= generated ? 1 : 0;
  if (--count.all != 0) return;
  count = counts_.back();
  place_[static_cast<size_t>(count.token)] = place;
  counts_.pop_back();
  place = -1;  // last: the one that moved may be this one
}

void PenaltyHistory::rebuild(std::span<const int32_t> tokens, size_t prompt) {
  clear();
  size_t first = 0;
  if (window_ > 0 && static_cast<uint64_t>(window_) < tokens.size()) {
    first = tokens.size() - static_cast<size_t>(window_);
  }
  try {
    for (size_t i = first; i < tokens.size(); ++i) push(tokens[i], i >= prompt);
  } catch (...) {
    clear();
    throw;
  }
}

void PenaltyHistory::clear() {
  for (const Count& count : counts_) place_[static_cast<size_t>(count.token)] = -1;
  counts_.clear();
  recent_.clear();
  oldest_ = 0;
}

}  // namespace dsv4
