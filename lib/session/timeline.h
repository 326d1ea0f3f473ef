// Timeline: the token ids of one sequence and the state that reflects a beginning of them.
//
//   tokens     t0 t1 t2 ... ............. tn      all that is known
//   evaluated  ----------------->|                reflected in the state; the rest waits
//   floor                    |                    how far back the state can be taken exactly
//
// Every way of arriving at a position gives the same state: tokens are only ever evaluated in order, a step that fails
// leaves no trace, and going back further than the state's own rollback starts again from the nearest checkpoint
// (checkpoints.h). Those are taken at multiples of 128, where groups of both kinds are finished, at least 256 tokens
// apart, and wherever mark() asks for one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/model/model.h"
#include "lib/session/checkpoints.h"
#include "lib/session/engine.h"

namespace dsv4 {

struct TimelineOptions {
  int64_t context = 0;
  int64_t chunk = 0;        // tokens evaluated at once
  bool draft = false;       // keep the draft head in step
  int64_t checkpoints = 8;  // at most
};

class Timeline {
 public:
  Timeline(std::shared_ptr<Engine> engine, const TimelineOptions& options);  // Error kOutOfMemoryHost
  // A copy that goes its own way. Error kOutOfMemoryHost.
  Timeline(const Timeline& other);
  Timeline& operator=(const Timeline&) = delete;

  std::span<const int32_t> tokens() const { return tokens_; }
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t evaluated() const { return evaluated_; }
  int64_t context() const { return options_.context; }
  bool has_draft() const { return options_.draft; }
  uint64_t state_bytes() const { return state_->bytes(); }
  const Checkpoints& checkpoints() const { return checkpoints_; }

  // Adds tokens at the end. Error: kContextFull, kInvalidArgument (an id outside the vocabulary); nothing is added
  // then.
  void append(std::span<const int32_t> ids);
  // Makes the timeline exactly `ids`, keeping the state of the longest common beginning.
  void assign(std::span<const int32_t> ids);
  void clear() { assign({}); }
  // The same for taking a call back after an error: allocates nothing and cannot fail. `ids` is what the timeline held
  // when the call began, or a beginning of what it holds now.
  void take_back(std::span<const int32_t> ids) noexcept;
  // Forgets all tokens from `position` on. Error kInvalidArgument: there are not that many.
  void rewind_to(int64_t position);
  // The next rewind is likely to go right before the newest token: makes that cheap.
  void mark();

  struct Outputs {
    float* logits = nullptr;        // F32 [waiting, vocab]
    float* draft_logits = nullptr;  // F32 [waiting, vocab]
  };
  // done of total waiting tokens; false gives up with kCancelled.
  using Progress = std::function<bool(int64_t done, int64_t total)>;
  // Evaluates what waits, chunk by chunk; each chunk is committed by itself. After it, logits() is that of the end.
  void evaluate(const Outputs& outputs, const Progress& progress, const std::atomic<bool>* cancel);

  // After the newest token, all of which are evaluated. Error kInvalidArgument before the first evaluation.
  std::span<const float> logits() const;

  // Synthetic models: see dsv4_session_pretend.
  void pretend(int64_t position);

  // For snapshots (snapshot.h).
  const StateShape& shape() const { return shape_; }
  std::span<const float> evaluated_logits() const;  // after the newest evaluated token; empty where they are not known
  void export_state(std::span<const StatePart> parts, uint8_t* out) const;
  // An empty one for the same kind of session; its state counts against the memory limit too. Error kOutOfMemoryHost.
  std::unique_ptr<Timeline> make_empty() const;
  // The checkpoint of the last mark(), where it is still there; nullptr else.
  const std::vector<uint8_t>* marked_rows() const { return checkpoints_.rows_at(marked_); }
  int64_t marked() const { return marked_; }
  void add_mark(int64_t position, std::vector<uint8_t> rows);
  // Into an empty one: rows, then what they stand for. `logits` may be empty.
  void import_state(std::span<const StatePart> parts, const uint8_t* in);
  void set_restored(std::span<const int32_t> tokens, int64_t evaluated, std::span<const float> logits);
  // The other is of make_empty(), by this one or by one that it was made from.
  void swap(Timeline& other) noexcept;

 private:
  void rewind(int64_t position) noexcept;
  int64_t next_chunk() const;

  std::shared_ptr<Engine> engine_;
  Model& model_;
  TimelineOptions options_;
  StateShape shape_;
  MemoryShare share_;
  std::unique_ptr<SequenceState> state_;
  Checkpoints checkpoints_;
  std::vector<int32_t> tokens_;
  int64_t evaluated_ = 0;
  int64_t floor_ = 0;
  int64_t marked_ = 0;         // where mark() was called last
  std::vector<float> logits_;  // [vocab]
  std::vector<float> next_logits_;  // [vocab], of a step that may yet fail
  bool logits_valid_ = false;  // logits_ belong to token evaluated_ - 1
};

}  // namespace dsv4
