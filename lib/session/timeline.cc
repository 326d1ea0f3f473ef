#include "lib/session/timeline.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/backend/synthetic_state.h"
#include "lib/base/error.h"

namespace dsv4 {
namespace {

constexpr int64_t kAlignment = 128;  // groups of every ratio are finished there
constexpr int64_t kCheckpointSpacing = 256;

StateShape shape_of(const Model& model, const TimelineOptions& options) {
  return Model::state_shape(model.config(), options.context, model.max_rows(), options.draft);
}

// What a timeline holds as long as it lives; all of it is there from the beginning, so that appending takes no memory.
uint64_t memory_of(const Model& model, const StateShape& shape) {
  const uint64_t logits = 2 * sizeof(float) * static_cast<uint64_t>(model.config().vocab);  // the last, and the next
  const uint64_t ids = sizeof(int32_t) * static_cast<uint64_t>(shape.context);
  return model.backend().state_bytes(shape) + logits + ids;
}

// All rows that stand for `positions` of them, a megabyte at a time.
void copy_state(Model& model, const StateShape& shape, int64_t positions, const SequenceState& from, SequenceState& to) {
  constexpr size_t kAtOnce = 1 << 20;
  std::vector<uint8_t> rows;
  for (StatePart part : state_parts(shape, positions, StateExtent::kAll)) {
    const int64_t end = part.first + part.count;
    const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(kAtOnce / part.row_bytes));
    for (; part.first < end; part.first += part.count) {
      part.count = std::min(most, end - part.first);
      rows.resize(part.bytes());
      model.export_state(from, {&part, 1}, rows.data());
      model.import_state(to, {&part, 1}, rows.data());
    }
  }
}

}  // namespace

Timeline::Timeline(std::shared_ptr<Engine> engine, const TimelineOptions& options)
    : engine_(std::move(engine)),
      model_(*engine_->model),
      options_(options),
      shape_(shape_of(model_, options)),
      share_(*engine_, memory_of(model_, shape_)),
      state_(model_.make_state(options.context, options.draft)),
      checkpoints_(engine_, shape_, options.checkpoints) {
  options_.chunk = std::clamp<int64_t>(options.chunk > 0 ? options.chunk : model_.max_rows(), 1, model_.max_rows());
  options_.chunk = std::min(options_.chunk, options_.context);
  tokens_.reserve(static_cast<size_t>(options_.context));
  logits_.resize(static_cast<size_t>(model_.config().vocab));
  next_logits_.resize(logits_.size());
}

Timeline::Timeline(const Timeline& other)
    : engine_(other.engine_),
      model_(other.model_),
      options_(other.options_),
      shape_(other.shape_),
      share_(*engine_, memory_of(model_, shape_)),
      state_(model_.make_state(options_.context, options_.draft)),
      checkpoints_(other.checkpoints_),
      evaluated_(other.evaluated_),
      floor_(other.evaluated_),
      marked_(other.marked_),
      logits_(other.logits_),
      next_logits_(other.logits_.size()),
      logits_valid_(other.logits_valid_) {
  tokens_.reserve(static_cast<size_t>(options_.context));
  tokens_.assign(other.tokens_.begin(), other.tokens_.end());
  copy_state(model_, shape_, evaluated_, *other.state_, *state_);
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

// Bringing the checkpoint in may fail, on a device. Then everything is evaluated again: slow, and the same.
void Timeline::rewind(int64_t position) noexcept {
  if (position >= evaluated_) return;
  logits_valid_ = false;
  // The draft head is one position behind and has carried its row on already: it cannot go back by itself.
  if (position >= floor_ && !options_.draft) {
    evaluated_ = position;
    checkpoints_.forget_after(position);
    return;
  }
  floor_ = evaluated_ = 0;
  try {
    floor_ = evaluated_ = checkpoints_.restore(*state_, position);
  } catch (...) {
  }
}

void Timeline::rewind_to(int64_t position) {
  if (position < 0 || position > size()) {
    fail(Status::kInvalidArgument, "position {}: 0 to {} expected, the session's tokens", position, size());
  }
  tokens_.resize(static_cast<size_t>(position));
  rewind(position);
}

void Timeline::mark() {
  if (evaluated_ != size() || evaluated_ - 1 < floor_) return;
  marked_ = evaluated_ - 1;
  checkpoints_.take(*state_, marked_);
}

// Chunks end at multiples of 128 where that costs nothing, so that checkpoints there are small.
int64_t Timeline::next_chunk() const {
  const int64_t left = size() - evaluated_;
  const int64_t fair = engine_->scheduler.fair_rows(std::min(left, options_.chunk));
  if (fair < std::min(left, options_.chunk)) return fair;
  if (left <= options_.chunk) return left;
  const int64_t end = evaluated_ + options_.chunk;
  const int64_t aligned = end - end % kAlignment;
  return 2 * (aligned - evaluated_) > options_.chunk ? aligned - evaluated_ : options_.chunk;
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

void Timeline::take_back(std::span<const int32_t> ids) noexcept {
  const auto [mine, theirs] = std::mismatch(tokens_.begin(), tokens_.end(), ids.begin(), ids.end());
  const int64_t common = mine - tokens_.begin();
  tokens_.resize(static_cast<size_t>(common));
  tokens_.insert(tokens_.end(), theirs, ids.end());  // there was room for them, and room is never given up
  rewind(common);
}

void Timeline::evaluate(const Outputs& outputs, const Progress& progress, const std::atomic<bool>* cancel) {
  // Logits are those of the newest token; if it was taken back to and not evaluated from there, do it again.
  if (evaluated_ == size() && !logits_valid_ && evaluated_ > 0) rewind(evaluated_ - 1);
  const int64_t from = evaluated_, total = size() - from;
  const int64_t vocab = model_.config().vocab;
  std::optional<Scheduler::Presence> prefilling;
  if (total > 1) prefilling.emplace(engine_->scheduler, Scheduler::Kind::kPrefilling);
  while (evaluated_ < size()) {
    if (progress && !progress(evaluated_ - from, total)) fail(Status::kCancelled, "cancelled by the progress callback");
    const int64_t count = next_chunk();
    const int64_t row = evaluated_ - from;
    Chunk chunk;
    chunk.state = state_.get();
    chunk.position = evaluated_;
    chunk.tokens = tokens().subspan(static_cast<size_t>(evaluated_), static_cast<size_t>(count));
    chunk.last_logits = evaluated_ + count == size() ? next_logits_.data() : nullptr;
    chunk.all_logits = outputs.logits != nullptr ? outputs.logits + row * vocab : nullptr;
    chunk.draft = options_.draft;
    chunk.draft_logits = outputs.draft_logits != nullptr ? outputs.draft_logits + row * vocab : nullptr;
    chunk.cancel = cancel;
    try {
      engine_->scheduler.evaluate(chunk);
    } catch (...) {
      floor_ = evaluated_;  // the failed step wrote over what further steps back would need; the logits still stand
      throw;
    }
    evaluated_ += count;
    floor_ = std::max(floor_, evaluated_ - kRollback);
    logits_valid_ = chunk.last_logits != nullptr;
    if (logits_valid_) logits_.swap(next_logits_);
    if (evaluated_ % kAlignment == 0 && evaluated_ - checkpoints_.newest() >= kCheckpointSpacing) {
      checkpoints_.take(*state_, evaluated_);
    }
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
  checkpoints_.forget_after(0);
  tokens_.clear();
  evaluated_ = floor_ = 0;
  logits_valid_ = false;
  fill_with_noise(*state_, shape_, position);
  tokens_.assign(static_cast<size_t>(position), 0);
  evaluated_ = floor_ = position;
}

std::span<const float> Timeline::evaluated_logits() const {
  return logits_valid_ && evaluated_ > 0 ? std::span<const float>(logits_) : std::span<const float>();
}

void Timeline::export_state(std::span<const StatePart> parts, uint8_t* out) const {
  model_.export_state(*state_, parts, out);
}

std::unique_ptr<Timeline> Timeline::make_empty() const { return std::make_unique<Timeline>(engine_, options_); }

void Timeline::import_state(std::span<const StatePart> parts, const uint8_t* in) {
  model_.import_state(*state_, parts, in);
}

void Timeline::add_mark(int64_t position, std::vector<uint8_t> rows) {
  marked_ = position;
  checkpoints_.add(position, std::move(rows));
}

void Timeline::set_restored(std::span<const int32_t> tokens, int64_t evaluated, std::span<const float> logits) {
  tokens_.assign(tokens.begin(), tokens.end());
  floor_ = evaluated_ = evaluated;
  logits_valid_ = !logits.empty();
  std::copy(logits.begin(), logits.end(), logits_.begin());
  checkpoints_.take(*state_, evaluated_);  // a turn from here may be taken back
}

void Timeline::swap(Timeline& other) noexcept {
  // Model, options and share of the memory are equal.
  std::swap(state_, other.state_);
  checkpoints_.swap(other.checkpoints_);
  std::swap(tokens_, other.tokens_);
  std::swap(evaluated_, other.evaluated_);
  std::swap(floor_, other.floor_);
  std::swap(marked_, other.marked_);
  std::swap(logits_, other.logits_);
  std::swap(logits_valid_, other.logits_valid_);
}

}  // namespace dsv4
