#include "lib/model/model.h"

#include <algorithm>
#include <vector>

#include "lib/base/error.h"

namespace dsv4 {
namespace {

// A step must be able to hold the streams of one token as rows (draft.cc).
constexpr int64_t kMinRows = 16;

Limits make_limits(const Config& c, int64_t max_rows) {
  Limits l;
  l.rows = max_rows;
  l.streams = c.streams;
  l.hidden = c.hidden;
  l.heads = c.heads;
  l.head_dim = c.head_dim;
  l.index_heads = c.index_heads;
  l.index_dim = c.index_dim;
  l.index_topk = c.index_topk;
  l.experts = c.experts;
  l.experts_per_token = c.experts_per_token;
  l.expert_width = std::max(c.expert_width, c.shared_width);
  l.vocab = c.vocab;
  l.inner = std::max({c.hidden, c.q_rank, c.heads * c.head_dim, c.o_groups * c.o_rank, l.expert_width});
  l.outer = std::max({c.hidden, c.heads * c.head_dim, c.index_heads * c.index_dim, c.o_groups * c.o_rank,
                      2 * c.head_dim, l.expert_width, c.q_rank});
  return l;
}

}  // namespace

Model::Model(std::unique_ptr<Checkpoint> checkpoint, std::unique_ptr<Backend> backend, int64_t max_rows,
             const WeightProgress& progress)
    : checkpoint_(std::move(checkpoint)),
      backend_(std::move(backend)),
      weights_(load_weights(*checkpoint_, *backend_, progress)),
      limits_(make_limits(config(), std::max(max_rows, kMinRows))),
      workspace_(config(), limits_.rows, *backend_) {
  backend_->reserve(limits_);
}

StateShape Model::state_shape(const Config& config, int64_t context, int64_t max_rows, bool draft) {
  StateShape shape;
  const int64_t layers = draft ? config.blocks() : config.layers;
  for (int64_t l = 0; l < layers; ++l) {
    const int ratio = config.ratio(l);
    shape.layers.push_back({ratio, config.head_dim, config.rope_dim, ratio == 4 ? config.index_dim : 0});
  }
  shape.window = config.window;
  shape.max_rows = std::min(max_rows, context);
  shape.context = context;
  shape.carry = draft ? config.streams * config.hidden : 0;
  return shape;
}

std::unique_ptr<SequenceState> Model::make_state(int64_t context, bool draft) {
  std::lock_guard lock(mutex_);
  if (context > limits_.context) {
    Limits grown = limits_;
    grown.context = context;
    backend_->reserve(grown);
    limits_ = grown;
  }
  return backend_->make_state(state_shape(config(), context, max_rows(), draft));
}

Step Model::make_step(std::span<const Chunk> chunks) const {
  int64_t rows = 0;
  for (const Chunk& c : chunks) rows += static_cast<int64_t>(c.tokens.size());
  if (rows < 1 || rows > max_rows()) {
    fail(Status::kInternal, "a step of {} tokens, 1 to {} expected", rows, max_rows());
  }
  Step s = workspace_.step(rows);
  std::vector<int32_t> tokens, positions;
  for (const Chunk& c : chunks) {
    const int64_t count = static_cast<int64_t>(c.tokens.size());
    if (c.cancel != nullptr) s.cancel.push_back(c.cancel);
    s.runs.push_back({c.state, static_cast<int64_t>(tokens.size()), count, c.position});
    tokens.insert(tokens.end(), c.tokens.begin(), c.tokens.end());
    for (int64_t i = 0; i < count; ++i) positions.push_back(static_cast<int32_t>(c.position + i));
  }
  backend_->upload(s.b.tokens, tokens.data());
  backend_->upload(s.b.positions, positions.data());
  return s;
}

// Head and logits of the wanted rows of X, to host memory. The head is by far the widest weight: rows of all chunks
// meet it together. Overwrites s.b.x.
void Model::logits_of(Step& s, std::span<const WantedLogits> wanted, const HyperConnection& head) const {
  for (size_t first = 0; first < wanted.size(); first += kLogitRows) {
    const std::span<const WantedLogits> part =
        wanted.subspan(first, std::min<size_t>(kLogitRows, wanted.size() - first));
    for (size_t i = 0, end = 0; i < part.size(); i = end) {
      for (end = i + 1; end < part.size() && part[end].row == part[end - 1].row + 1;) ++end;
      const int64_t rows = static_cast<int64_t>(end - i);
      backend_->hc_head(s.b.x.slice(static_cast<int64_t>(i), rows), s.b.X.slice(part[i].row, rows), head);
    }
    const Mat logits = s.b.logits.slice(0, static_cast<int64_t>(part.size()));
    backend_->logits(logits, s.b.x.slice(0, logits.rows), weights_->head);
    for (size_t i = 0; i < part.size(); ++i) backend_->download(part[i].to, logits.slice(static_cast<int64_t>(i), 1));
  }
}

void Model::fetch_logits(Step& s, std::span<const Chunk> chunks) const {
  const int64_t vocab = config().vocab;
  std::vector<WantedLogits> wanted;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Chunk& c = chunks[i];
    const Run& run = s.runs[i];
    if (c.all_logits != nullptr) {
      for (int64_t r = 0; r < run.rows; ++r) wanted.push_back({run.first_row + r, c.all_logits + r * vocab});
    } else if (c.last_logits != nullptr) {
      wanted.push_back({run.first_row + run.rows - 1, c.last_logits});
    }
  }
  logits_of(s, wanted, weights_->hc_head);
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Chunk& c = chunks[i];
    if (c.all_logits == nullptr || c.last_logits == nullptr) continue;
    std::copy_n(c.all_logits + (s.runs[i].rows - 1) * vocab, vocab, c.last_logits);
  }
}

// The draft head over the same rows, one position back: a row's token is the draft's t + 1.
void Model::run_draft(Step& s, std::span<const Chunk> chunks) const {
  std::vector<Run> with_draft, shifted;
  std::vector<int32_t> positions(static_cast<size_t>(s.rows()), 0);
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (!chunks[i].draft) continue;
    Run run = s.runs[i];
    with_draft.push_back(run);
    for (int64_t r = 0; r < run.rows; ++r) {
      positions[static_cast<size_t>(run.first_row + r)] =
          static_cast<int32_t>(std::max<int64_t>(run.position + r - 1, 0));
    }
    if (run.position == 0) {  // nothing stands before the first token: its row is no row of the draft
      ++run.first_row;
      --run.rows;
    } else {
      --run.position;
    }
    if (run.rows > 0) shifted.push_back(run);
  }
  if (with_draft.empty()) return;
  backend_->carry(s.b.previous, s.b.X, with_draft);
  backend_->upload(s.b.positions, positions.data());
  std::swap(s.runs, shifted);
  draft(s);
  std::swap(s.runs, shifted);
  std::vector<WantedLogits> wanted;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Run& run = s.runs[i];
    if (!chunks[i].draft || chunks[i].draft_logits == nullptr) continue;
    for (int64_t r = run.position == 0 ? 1 : 0; r < run.rows; ++r) {
      wanted.push_back({run.first_row + r, chunks[i].draft_logits + r * config().vocab});
    }
  }
  logits_of(s, wanted, weights_->draft->head);
}

void Model::evaluate(std::span<const Chunk> chunks) {
  std::lock_guard lock(mutex_);
  Step s = make_step(chunks);
  // Equal keys mean equal verbs on equal shapes: what a backend may record once and replay.
  const uint64_t key = static_cast<uint64_t>(s.rows()) << 16 | static_cast<uint64_t>(s.runs.size());
  backend_->run(key, s.runs, [&] { forward(s); });
  fetch_logits(s, chunks);
  if (has_draft()) run_draft(s, chunks);
  backend_->synchronize();  // what is still under way may fail, and a step that is committed cannot be taken back
  backend_->commit(s.runs);
}

void Model::export_state(const SequenceState& state, std::span<const StatePart> parts, uint8_t* out) {
  std::lock_guard lock(mutex_);
  for (const StatePart& p : parts) {
    state.export_rows(p.layer, p.rows, p.first, p.count, out);
    out += p.bytes();
  }
}

void Model::import_state(SequenceState& state, std::span<const StatePart> parts, const uint8_t* in) {
  std::lock_guard lock(mutex_);
  for (const StatePart& p : parts) {
    state.import_rows(p.layer, p.rows, p.first, p.count, in);
    in += p.bytes();
  }
}

double Model::matrix_peak() {
  std::lock_guard lock(mutex_);
  return backend_->matrix_peak();
}

double Model::copy_peak() {
  std::lock_guard lock(mutex_);
  return backend_->copy_peak();
}

uint64_t Model::token_weight_bytes() const {
  const Config& c = config();
  uint64_t bytes = static_cast<uint64_t>(checkpoint_->get(TensorRole::kHead, -1).bytes);
  for (const TensorRole role : {TensorRole::kHcHeadFn, TensorRole::kNorm}) bytes += checkpoint_->get(role, -1).bytes;
  for (int64_t l = 0; l < c.layers; ++l) {
    for (int r = static_cast<int>(TensorRole::kHcAttnFn); r <= static_cast<int>(TensorRole::kSharedW3); ++r) {
      const TensorRole role = static_cast<TensorRole>(r);
      if (role == TensorRole::kGateHash) continue;  // one row of it
      const bool expert =
          role == TensorRole::kExpertW1 || role == TensorRole::kExpertW2 || role == TensorRole::kExpertW3;
      const uint64_t each = checkpoint_->get(role, l).bytes;
      bytes += expert ? each * static_cast<uint64_t>(c.experts_per_token) : each;
    }
  }
  return bytes;
}

}  // namespace dsv4
