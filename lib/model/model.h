// Model: weights on a backend, and the forward pass over them. Immutable once loaded; evaluate() serialises its
// callers.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>

#include "lib/backend/backend.h"
#include "lib/backend/state_parts.h"
#include "lib/checkpoint/checkpoint.h"
#include "lib/model/step.h"
#include "lib/model/weights.h"

namespace dsv4 {

// Consecutive tokens of one sequence, to be evaluated in one step, and what is wanted of them.
struct Chunk {
  SequenceState* state = nullptr;
  int64_t position = 0;  // of the first token: how many are committed in `state`
  std::span<const int32_t> tokens;
  float* last_logits = nullptr;   // host F32 [vocab]: after the last token
  float* all_logits = nullptr;    // host F32 [tokens, vocab]: after every token
  bool draft = false;             // run the draft head too (the state was made with `draft`)
  float* draft_logits = nullptr;  // host F32 [tokens, vocab]; the row of position 0 is not written
  const std::atomic<bool>* cancel = nullptr;  // set: the step ends between two layers
};

class Model {
 public:
  // `max_rows`: rows of a step, all sequences together. `progress`: of handing the weights to the backend.
  Model(std::unique_ptr<Checkpoint> checkpoint, std::unique_ptr<Backend> backend, int64_t max_rows,
        const WeightProgress& progress = {});

  const Config& config() const { return checkpoint_->config(); }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  Backend& backend() const { return *backend_; }
  bool has_draft() const { return weights_->draft != nullptr; }
  int64_t max_rows() const { return workspace_.max_rows(); }

  // The state of a sequence of at most `context` tokens. Grows the backend's scratch where the context asks for it.
  std::unique_ptr<SequenceState> make_state(int64_t context, bool draft);
  static StateShape state_shape(const Config& config, int64_t context, int64_t max_rows, bool draft);

  // Evaluates one step and commits it. Together the chunks have 1 to max_rows() tokens. If it throws (kCancelled: a
  // chunk's `cancel` was set; a backend's failure), no state has changed, and the step can be run again.
  void evaluate(std::span<const Chunk> chunks);

  // Rows of a state to and from host memory, part after part (lib/backend/state_parts.h), between steps.
  void export_state(const SequenceState& state, std::span<const StatePart> parts, uint8_t* out);
  void import_state(SequenceState& state, std::span<const StatePart> parts, const uint8_t* in);

  double matrix_peak();                 // the backend's, between steps
  double copy_peak();                   // likewise
  uint64_t token_weight_bytes() const;  // read to decode one token without the draft head

 private:
  // forward.cc: the paper
  void forward(Step& s) const;
  void block(Step& s, const Layer& w, int layer) const;
  void attention(Step& s, const Layer& w, const Cache& cache) const;
  // draft.cc
  void draft(Step& s) const;

  Step make_step(std::span<const Chunk> chunks) const;
  void fetch_logits(Step& s, std::span<const Chunk> chunks) const;
  void run_draft(Step& s, std::span<const Chunk> chunks) const;
  struct WantedLogits {
    int64_t row;  // of X; rising in a list of them
    float* to;    // host F32 [vocab]
  };
  void logits_of(Step& s, std::span<const WantedLogits> wanted, const HyperConnection& head) const;

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Backend> backend_;  // outlives what it made
  std::unique_ptr<Weights> weights_;
  Limits limits_;
  Workspace workspace_;
  std::mutex mutex_;  // one step at a time
};

}  // namespace dsv4
