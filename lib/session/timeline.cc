#include "lib/session/timeline.h"

#include <algorithm>

#include "lib/base/error.h"

namespace dsv4 {

Timeline::Timeline(Model& model, const TimelineOptions& options)
    : model_(model), options_(options), state_(model.make_state(options.context, options.draft)) {
  options_.chunk = std::clamp<int64_t>(options.chunk > 0 ? options.chunk : model.max_rows(), 1, model.max_rows());
  options_.chunk = std::min(options_.chunk, options_.context);
  logits_.resize(static_cast<size_t>(model.config().vocab));
}

void Timeline::append(std::span<const int32_t> ids) {
  const int64_t vocab = model_.config().vocab;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab) {
      fail(Status::kInvalidArgument, "token id {} at index {}: 0 to {} expected", ids[i], i, vocab - 1);
    }
  }
  if (static_cast<int64_t>(ids.size()) > context() - size()) {
    fail(Status::kContextFull, "{} tokens do not fit: the session holds {} of at most {}", ids.size(), size(),
         context());
  }
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
}

void Timeline::rewind(int64_t position) {
  if (position >= evaluated_) return;
  // The draft head carries one residual row, that of the newest token: it cannot go back at all.
  const bool exact = position >= floor_ && !options_.draft;
  evaluated_ = exact ? position : 0;
  if (!exact) floor_ = 0;
  logits_valid_ = false;
}

void Timeline::assign(std::span<const int32_t> ids) {
  const auto [mine, theirs] = std::mismatch(tokens_.begin(), tokens_.end(), ids.begin(), ids.end());
  const std::vector<int32_t> rest(theirs, ids.end());  // `ids` may be a view of tokens_
  const std::vector<int32_t> replaced(mine, tokens_.end());
  const int64_t common = mine - tokens_.begin();
  tokens_.resize(static_cast<size_t>(common));
  try {
    append(rest);
  } catch (...) {
    tokens_.insert(tokens_.end(), replaced.begin(), replaced.end());
    throw;
  }
  rewind(common);
}

void Timeline::evaluate(const Outputs& outputs, const Progress& progress, const std::atomic<bool>* cancel) {
  // Logits are those of the newest token; if it was taken back to and not evaluated from there, do it again.
  if (evaluated_ == size() && !logits_valid_ && evaluated_ > 0) rewind(evaluated_ - 1);
  const int64_t from = evaluated_, total = size() - from;
  const int64_t vocab = model_.config().vocab;
  while (evaluated_ < size()) {
    if (progress && !progress(evaluated_ - from, total)) fail(Status::kCancelled, "cancelled by the progress callback");
    const int64_t count = std::min(options_.chunk, size() - evaluated_);
    const int64_t row = evaluated_ - from;
    Chunk chunk;
    chunk.state = state_.get();
    chunk.position = evaluated_;
    chunk.tokens = tokens().subspan(static_cast<size_t>(evaluated_), static_cast<size_t>(count));
    chunk.last_logits = evaluated_ + count == size() ? logits_.data() : nullptr;
    chunk.all_logits = outputs.logits != nullptr ? outputs.logits + row * vocab : nullptr;
    chunk.draft = options_.draft;
    chunk.draft_logits = outputs.draft_logits != nullptr ? outputs.draft_logits + row * vocab : nullptr;
    logits_valid_ = false;
    try {
      model_.evaluate({&chunk, 1}, cancel);
    } catch (...) {
      floor_ = evaluated_;  // the failed step wrote over what further steps back would need
      throw;
    }
    evaluated_ += count;
    floor_ = std::max(floor_, evaluated_ - kRollback);
    logits_valid_ = chunk.last_logits != nullptr;
  }
  if (progress && total > 0) progress(total, total);
}

std::span<const float> Timeline::logits() const {
  if (!logits_valid_ || evaluated_ != size()) {
    fail(Status::kInvalidArgument, "no logits: {} of {} tokens are evaluated; call dsv4_session_eval first", evaluated_,
         size());
  }
  return logits_;
}

void Timeline::pretend(int64_t position) {
  if (position < 0 || position >= context()) {
    fail(Status::kInvalidArgument, "position {}: 0 to {} expected", position, context() - 1);
  }
  tokens_.assign(static_cast<size_t>(position), 0);
  evaluated_ = position;
  floor_ = position;
  logits_valid_ = false;
}

}  // namespace dsv4
