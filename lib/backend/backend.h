// The seam between the forward pass and a machine: one class whose verbs are the steps of the paper, fused at the
// level at which very different machines can each be fast.
//
// Rules (../../CONTRIBUTING.md has the reasons):
//  - A row is a token. A step holds the rows of one or several sequences; only the verbs that take a Cache look
//    at runs.
//  - Verbs may queue; only synchronize() and download() wait. One thread at a time calls a backend.
//  - Inside a verb nothing is allocated, logged or printed; shapes were checked at load and at session creation.
//  - Activations are BF16 unless a comment says F32. Which values are rounded to BF16, and which are not, is part of a
//    verb's contract: "-> BF16" below is exactly where model.md §3 rounds.
//  - Weight is what prepare() made. No verb names a weight format.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/mat.h"
#include "lib/base/number.h"

namespace dsv4 {

// A tensor as the checkpoint holds it. E4M3 has one E8M0 scale per 128 x 128 tile, FP4 one per 32 columns of a row;
// other formats have none. FP4: `cols` counts elements, two per byte, the even one in the low nibble.
struct HostTensor {
  const void* data = nullptr;
  const uint8_t* scale = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
};

// A tensor ready for use by the backend that prepared it, which also owns what the pointers mean.
struct Weight {
  const void* data = nullptr;
  const uint8_t* scale = nullptr;  // [ceil(rows / 128), scale_cols] for E4M3, [rows, scale_cols] for FP4
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t scale_cols = 0;

  bool empty() const { return data == nullptr; }
  bool quantised() const { return dtype == DType::kF8E4M3 || dtype == DType::kFP4; }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// Backend memory; zero when it is made.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual void* data() = 0;
  virtual size_t size() const = 0;
};

// ---------------------------------------------------------------------------------------------------------- state

// What one layer keeps of a sequence (spec: model.md §4).
struct LayerShape {
  int ratio = 0;  // 0: window only; 4: CSA, overlapping groups and an indexer; 128: HCA
  int64_t head_dim = 0;
  int64_t rope_dim = 0;
  int64_t index_dim = 0;  // 0 without an indexer
};

struct StateShape {
  std::vector<LayerShape> layers;
  int64_t window = 0;
  int64_t max_rows = 0;  // rows of one sequence in one step, at most
  int64_t context = 0;   // positions the state can hold
  int64_t carry = 0;     // width of the residual row kept for the draft head (m * hidden), 0 without one
};

// The kinds of rows that a state consists of. Those of kTail and kIndexTail are the raw F32 k and z of tokens from which
// unfinished groups will be completed, by position; kCarry is the residual row of a position (BF16), of no layer.
enum class StateRows { kWindow, kCompressed, kIndex, kTail, kIndexTail, kCarry };

// The state of one sequence: rows in the model's own format. Positions are the only bookkeeping: which window slots,
// compressed rows and unfinished groups are live follows from the position of a step's first row. A step that was not
// committed therefore leaves no trace, and up to kRollback of the newest positions can be taken back by going on from
// an earlier position.
class SequenceState {
 public:
  virtual ~SequenceState() = default;
  virtual size_t bytes() const = 0;
  // Rows to and from host memory, packed (lib/base/kv_row.h). kCompressed and kIndex go by entry,
  // the rest by position. Which rows a sequence of so many positions consists of: lib/backend/state_parts.h. Rows that
  // are brought in belong to committed positions: the next step begins behind them, and none of them is taken back.
  virtual void export_rows(int layer, StateRows which, int64_t first, int64_t count, uint8_t* out) const = 0;
  virtual void import_rows(int layer, StateRows which, int64_t first, int64_t count, const uint8_t* in) = 0;
};
constexpr int64_t kRollback = 16;

// Consecutive rows of one sequence inside a step.
struct Run {
  SequenceState* state = nullptr;
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t position = 0;  // of its first row
};

// One layer's state for all runs of a step.
struct Cache {
  std::span<const Run> runs;
  int layer = 0;
};

// -------------------------------------------------------------------------------------------------- verbs' options

// mix = fn · flat(X) / rms(flat(X)); fn F32 [2m + m·m, m·n], or [m, m·n] for the head; base F32, scale F32 [3] or [1].
struct HyperConnection {
  Weight fn, base, scale;
  Weight norm;  // BF16 [n]: the weighted norm that follows; empty: none
  int sinkhorn = 20;
  float eps = 1e-6f;
  float norm_eps = 1e-6f;
};

struct Query {
  int64_t heads = 0;
  int64_t head_dim = 0;
  bool rms = false;       // unweighted rms norm per head -> BF16, before the rope
  bool hadamard = false;  // after the rope: Hadamard transform x dim^-1/2 -> BF16, then quant_e2m1 in blocks of 32
  float eps = 1e-6f;
};

struct Append {
  Weight norm;  // BF16 [head_dim]
  float eps = 1e-6f;
};

struct Compressor {
  int ratio = 0;
  int64_t width = 0;   // head_dim, or the indexer's dim
  bool index = false;  // true: rows for the indexer (Hadamard, E2M1); false: key/value rows (E4M3 + BF16)
  Weight ape;          // F32 [ratio, width] or, overlapping (ratio 4), [4, 2 * width]
  Weight norm;         // BF16 [width]
  float eps = 1e-6f;
  Mat frequencies;  // F32 [1, rope_dim / 2]
};

struct Indexer {
  int64_t heads = 0;
  int64_t dim = 0;
};

struct Attention {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t window = 0;
  int ratio = 0;
  Weight sink;  // F32 [heads]
};

enum class Scoring { kSqrtSoftplus, kSigmoid, kSoftmax };

struct Gate {
  Weight weight;  // BF16 or F32 [experts, hidden], used in FP32
  Weight bias;    // F32 [experts]; empty in hash layers
  Weight hash;    // I64 or I32 [vocab, k]; empty in learned layers
  Scoring scoring = Scoring::kSqrtSoftplus;
  bool normalise = true;  // divide by the sum over the picked; softmax scores never are
  float scale = 1.0f;
};

struct Route {
  Mat experts;  // I32 [rows, k]
  Mat weights;  // F32 [rows, k]
};

struct Expert {
  Weight w1, w2, w3;  // [width, hidden], [hidden, width], [width, hidden]
};

struct Experts {
  std::span<const Expert> routed;
  Expert shared;
  float limit = 0.0f;  // SwiGLU limit; 0: none
};

// One product of linear(): out [rows, weight.rows] BF16 or F32, by out.dtype.
struct Product {
  Mat out;
  const Weight* weight = nullptr;
};

// The largest shapes that verbs will meet: what a backend sizes its scratch by.
struct Limits {
  int64_t rows = 0;     // rows of a step, all sequences together
  int64_t streams = 0;  // m
  int64_t hidden = 0;   // n
  int64_t inner = 0;    // widest input row of any product
  int64_t outer = 0;    // widest output row of any product but the head
  int64_t vocab = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t index_heads = 0;
  int64_t index_dim = 0;
  int64_t index_topk = 0;
  int64_t experts = 0;
  int64_t experts_per_token = 0;
  int64_t expert_width = 0;
  int64_t context = 0;  // longest context of any session; reserve() is called again when it grows

  // To what serves both.
  void widen(const Limits& by) {
    for (const auto field :
         {&Limits::rows, &Limits::streams, &Limits::hidden, &Limits::inner, &Limits::outer, &Limits::vocab,
          &Limits::heads, &Limits::head_dim, &Limits::index_heads, &Limits::index_dim, &Limits::index_topk,
          &Limits::experts, &Limits::experts_per_token, &Limits::expert_width, &Limits::context}) {
      this->*field = std::max(this->*field, by.*field);
    }
  }
};

// ---------------------------------------------------------------------------------------------------------- Backend

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;         // "reference", "cpu", "cuda"
  virtual std::string description() const = 0;  // "cpu: avx512-bf16, 2 threads, oneDNN 3.2.0"

  // Multiply-adds a second of the fastest matrix product that this machine's library has, in the number format that
  // many rows are multiplied in: what prefill is measured against. Takes a fraction of a second; 0: there is no such.
  virtual double matrix_peak() { return 0; }
  // Bytes a second that the device reads and writes together when it copies its own memory: what decode is measured
  // against. 0: the backend's memory is the host's.
  virtual double copy_peak() { return 0; }
  virtual uint64_t free_device_bytes() const { return 0; }  // 0: likewise

  // --- memory
  virtual std::unique_ptr<Memory> allocate(size_t bytes) = 0;
  // How many bytes of weights there are, before the first prepare(). True: prepare() copies them, which takes time.
  // kOutOfMemoryDevice says how many bytes are missing.
  virtual bool expect_weights(uint64_t bytes) {
    (void)bytes;
    return false;
  }
  virtual Weight prepare(const HostTensor& tensor) = 0;
  virtual std::unique_ptr<SequenceState> make_state(const StateShape& shape) = 0;
  virtual size_t state_bytes(const StateShape& shape) const = 0;  // what make_state would take
  virtual void reserve(const Limits& limits) = 0;
  virtual void upload(Mat to, const void* from) = 0;  // dense host rows -> backend
  virtual void download(void* to, Mat from) = 0;      // waits for everything queued

  // --- a step
  // Runs body(), whose verbs see these runs and no others; a backend that can, records it under `key` (equal keys: equal
  // verbs and shapes) and replays it with other runs, without calling body().
  virtual void run(uint64_t key, std::span<const Run> runs, const std::function<void()>& body) {
    (void)key;
    (void)runs;
    body();
  }
  // Makes the step's effect on the states of its runs permanent. Without it, or where it fails, the step never happened.
  virtual void commit(std::span<const Run> runs) = 0;
  virtual void synchronize() = 0;

  // --- residual streams; X is [rows, m * n], stream after stream
  virtual void embed(Mat X, Mat tokens, const Weight& table) = 0;  // X = the token's row, as often as X is wide
  // x = norm(Σ_j pre[j]·X[j] -> BF16) -> BF16 [rows, n]; mix F32 [rows, m + m·m]: post, then comb (row j, column k).
  virtual void hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) = 0;
  // X[k] = post[k]·y + Σ_j comb[j][k]·X[j] -> BF16, in place.
  virtual void hc_post(Mat X, Mat y, Mat mix) = 0;
  // hc_post of one sub-layer and hc_pre of the next; `mix` is read, then overwritten.
  virtual void hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) {
    hc_post(X, y, mix);
    hc_pre(x, mix, X, next);
  }
  // x = norm(Σ_j pre[j]·X[j] -> BF16) -> BF16, with the head's m mixes.
  virtual void hc_head(Mat x, Mat X, const HyperConnection& head) = 0;

  // --- rows
  virtual void norm(Mat y, Mat x, const Weight& weight, float eps) = 0;  // weighted rms norm -> BF16; y may be x
  // Every product of the same rows in one call. A quantised weight sees quant_e4m3(x, 128); BF16 and F32 weights see x.
  virtual void linear(std::span<const Product> products, Mat x) = 0;
  // cos and sin of FP32(position · frequency): table F32 [rows, rope_dim], cosines first, then sines.
  virtual void rope(Mat table, Mat positions, Mat frequencies) = 0;

  // --- attention
  virtual void query(Mat q, Mat rope, const Query& options) = 0;  // in place, [rows, heads * head_dim]
  // norm -> BF16, rope -> BF16, quantise; into the window.                             kv [rows, head_dim]
  virtual void append(const Cache& cache, Mat kv, Mat rope, const Append& options) = 0;
  // Groups that these rows finish become compressed rows; the rest waits in the state.    k, z F32 [rows, width or
  // 2·width]
  virtual void compress(const Cache& cache, Mat k, Mat z, const Compressor& options) = 0;
  // top I32 [rows, k]: best finished entries by Σ_h w_h·relu(q_h·key), falling score, ties by lower index, then -1.
  // q from query(hadamard), w BF16 [rows, heads] before the factor dim^-1/2 · heads^-1/2.
  virtual void index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) = 0;
  // o = softmax over window, entries (ratio 4: `top`; 128: all finished) and sink -> BF16, inverse rope -> BF16.
  virtual void attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) = 0;
  // Group g of o times its own rows of wo_a, not quantised -> BF16 `low` [rows, groups * rank]; then wo_b.
  virtual void project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) = 0;

  // --- mixture of experts
  virtual void route(const Route& out, Mat x, Mat tokens, const Gate& gate) = 0;
  // y = Σ over the picked (each -> BF16, summed in FP32) + shared -> BF16.
  virtual void experts(Mat y, Mat x, const Route& route, const Experts& experts) = 0;

  // --- heads
  virtual void logits(Mat out, Mat x, const Weight& head) = 0;  // F32 [rows, vocab]
  // previous[row] = X of the row before it in its sequence: the last committed one for a run's first row. The rows'
  // own last X becomes the carried one at commit.                                          previous [rows, m * n]
  virtual void carry(Mat previous, Mat X, std::span<const Run> runs) = 0;
  virtual void merge(Mat X, Mat e, Mat h) = 0;  // X[k] = e + h[k] -> BF16;  e [rows, n], h and X [rows, m * n]
};

}  // namespace dsv4
