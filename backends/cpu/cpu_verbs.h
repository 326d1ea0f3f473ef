// The class behind make_cpu_backend(). One source file per subject: products (linear, project_out, logits), residual
// (embedding, hyper-connections, norms), attention, index (compressor and indexer), experts.
//
// Results do not depend on the number of threads: every output is summed by one thread, in an order that the kernels
// fix. They do depend, in the order of FP32 sums, on whether few or many rows meet a weight (kernels.h: direct, tiled;
// onednn_matmul.h from some dozens on, or where a level has matrix registers dot_blocked from the first few).
#pragma once

#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/float_mode.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/onednn_matmul.h"
#include "lib/backend/host_state.h"
#include "lib/base/thread_pool.h"

namespace dsv4::cpu {

// Scratch memory that only grows, and only outside verbs. Untouched pages cost nothing.
class Block {
 public:
  Block() = default;
  Block(Block&& other) noexcept : block_(other.block_), data_(other.data_), bytes_(other.bytes_) {
    other.block_ = nullptr;
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  Block& operator=(Block&&) = delete;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { std::free(block_); }
  void grow(int64_t bytes);  // Error kOutOfMemoryHost
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  void* block_ = nullptr;
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Packed input rows, the same rows blocked for matrix registers or, on a level without them, for oneDNN (null if they
// are not), and what the thread reads after this product.
struct Inputs {
  const void* const* x;
  int64_t rows;
  const uint8_t* blocked;
  Ahead then = {};
};

// One weight times packed rows: y[m][first + i]. `out` has a column for every row of the weight.
struct Task {
  WeightView view;
  Format format = kFormatF32;
  int64_t first = 0;                   // weight rows [first, first + count), to the columns 0 .. count - 1 of `out`
  int64_t count = 0;
  const void* const* x = nullptr;      // [rows]
  int64_t rows = 0;
  Mat out;
  const uint8_t* blocked = nullptr;  // by block_rows()
};

constexpr int64_t kRowChunk = 256;  // input rows that one widened tile meets at a time, at most; kBlockedRows of blocks
constexpr int64_t kUnitRows = 64;   // weight rows that a thread takes at a time, at most, where oneDNN is not used
constexpr int kMaxTasks = 64;

WeightView view_of(const Weight& w);
Format format_of(const Weight& w);
XForm form_for(Format format, bool quantise);

double inverse_rms(double sum_squares, int64_t n, float eps);

// What one thread works in.
struct ThreadScratch {
  int thread = 0;
  Block tile;       // [kTileRows, kTileCols] of the widest tile element, or what dot_blocked works in
  Block sums[2];    // F32 [row_chunk_, sums_stride_]
  Block turned;     // F32 [kTileRows, kRowChunk]: products as oneDNN leaves them, a row for every weight row
  Block row;        // F32 [4, widest head]
  Block query;      // F32 [kHeadBlock, head_dim], or the indexer's queries, transposed
  Block output;     // F32 [kHeadBlock, head_dim]
  Block keys;       // F32 [kKeyTile, head_dim], or as kernels lay them out in it
  Block scores;     // F32 [kHeadBlock, kKeyTile] and the softmax's bookkeeping; or of all entries,
                    // behind them I32 [entries]
};

constexpr int64_t kHeadBlock = 64;
constexpr int64_t padded_head(int64_t dim) { return (dim + 31) / 32 * 32; }  // elements of an unpacked query or key

// Rows of one expert among the sorted picks.
struct Group {
  const Expert* expert = nullptr;
  int64_t first = 0;
  int64_t count = 0;
  const uint8_t* blocked = nullptr;  // its inputs, by block_groups() or block_rows()
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options);

  std::string name() const override { return "cpu"; }
  std::string description() const override;
  double matrix_peak() override;  // cpu_peak.cc

  std::unique_ptr<Memory> allocate(size_t bytes) override;
  Weight prepare(const HostTensor& tensor) override;
  std::unique_ptr<SequenceState> make_state(const StateShape& shape) override;
  size_t state_bytes(const StateShape& shape) const override { return HostState::bytes_for(shape); }
  void reserve(const Limits& limits) override;
  void upload(Mat to, const void* from) override;
  void download(void* to, Mat from) override;

  void commit(std::span<const Run> runs) override;
  void synchronize() override {}

  void embed(Mat X, Mat tokens, const Weight& table) override;
  void hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) override;
  void hc_post(Mat X, Mat y, Mat mix) override;
  void hc_head(Mat x, Mat X, const HyperConnection& head) override;

  void norm(Mat y, Mat x, const Weight& weight, float eps) override;
  void linear(std::span<const Product> products, Mat x) override;
  void rope(Mat table, Mat positions, Mat frequencies) override;

  void query(Mat q, Mat rope, const Query& options) override;
  void append(const Cache& cache, Mat kv, Mat rope, const Append& options) override;
  void compress(const Cache& cache, Mat k, Mat z, const Compressor& options) override;
  void index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) override;
  void attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) override;
  void project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) override;

  void route(const Route& out, Mat x, Mat tokens, const Gate& gate) override;
  void experts(Mat y, Mat x, const Route& route, const Experts& experts) override;

  void logits(Mat out, Mat x, const Weight& head) override;
  void carry(Mat previous, Mat X, std::span<const Run> runs) override;
  void merge(Mat X, Mat e, Mat h) override;

 private:
  // --- threads
  // body(unit, thread) for every unit, each thread taking the next one when it is ready.
  template <class Body>
  void share(int64_t units, Body&& body) {
    if (units <= 1 || pool_.size() == 1) {
      for (int64_t i = 0; i < units; ++i) body(i, 0);
      return;
    }
    std::atomic<int64_t> next{0};
    pool_.run([&](int thread) {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < units;) body(i, thread);
    });
  }
  // body(unit, next, thread): the same, with the unit that this thread takes after this one, or -1.
  template <class Body>
  void share_ahead(int64_t units, Body&& body) {
    if (units <= 1 || pool_.size() == 1) {
      for (int64_t i = 0; i < units; ++i) body(i, i + 1 < units ? i + 1 : -1, 0);
      return;
    }
    std::atomic<int64_t> taken{0};
    pool_.run([&](int thread) {
      for (int64_t i = taken.fetch_add(1, std::memory_order_relaxed), next; i < units; i = next) {
        next = taken.fetch_add(1, std::memory_order_relaxed);
        body(i, next < units ? next : -1, thread);
      }
    });
  }
  // body(row, thread): on one thread if all rows together are not worth waking the others (`work`: elements a row).
  template <class Body>
  void each_row(int64_t rows, int64_t work, Body&& body) {
    if (rows <= 1 || rows * work < 16384) {
      for (int64_t r = 0; r < rows; ++r) body(r, 0);
      return;
    }
    pool_.split(rows, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t r = begin; r < end; ++r) body(r, thread);
    });
  }

  // --- products
  const void* const* pack(XForm form, Mat x);  // packs every row; returns pointers to them
  int64_t packed_bytes(XForm form, int64_t cols) const;
  const void* packed_row(XForm form, int64_t row, int64_t cols) const;
  void run_tasks(std::span<const Task> tasks);
  // Tries dot_blocked or oneDNN, then the next two below; each returns false where it is not for this product.
  void multiply(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                Inputs x, ThreadScratch& scratch);
  bool multiply_onednn(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                       Inputs x, ThreadScratch& scratch);
  bool multiply_tiled(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                      Inputs x, ThreadScratch& scratch);
  void multiply_direct(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                       Inputs x);
  // Rows [m, m + rows), m a multiple of row_chunk_.
  Inputs inputs_at(const void* const* x, const uint8_t* blocked, int64_t m, int64_t rows, int64_t cols) const;
  // Blocks packed rows for the level's matrix registers or for oneDNN, to `to` from byte `offset` on: at most
  // `blocked_bytes`. Null: for neither.
  const uint8_t* block_rows(XForm form, const Block& to, int64_t offset, const void* const* x, int64_t rows,
                            int64_t cols);
  const uint8_t* block_tiles(const Block& to, int64_t offset, const void* const* x, int64_t rows, int64_t cols);
  void block_one(uint8_t* to, int64_t b, const void* const* x, int64_t rows, int64_t cols);
  const uint8_t* block_onednn(const Block& to, int64_t offset, const void* const* x, int64_t rows, int64_t cols);
  bool tiles_take(XForm form, int64_t rows) const;
  static int64_t blocked_bytes(int64_t rows, int64_t cols);
  bool bf16_tile(Format format) const { return k_.bf16_tiles && format != kFormatF32; }
  // Columns [col, col + cols) of weight rows, in the element type of a tile: as the checkpoint has them, or widened to
  // `tile`. Null: a scale is too extreme for it.
  const void* tile_of(const WeightView& w, Format format, int64_t first, int64_t count, int64_t col, int64_t cols,
                      void* tile, int64_t* stride) const;
  bool onednn_takes(int64_t rows) const;
  // At the end of every verb that multiplies: workers cannot throw. Error kOutOfMemoryHost.
  void check_memory() {
    if (onednn_ != nullptr) onednn_->check_memory();
  }

  // --- hyper-connections
  void mixes(Mat X, const HyperConnection& hc);  // fn · X, not yet divided, to mixes_
  void weighted_norm(uint16_t* y, const uint16_t* x, int64_t n, double sum_squares, const Weight& weight, float eps);

  // --- attention
  struct Seen;
  void attend_heads(const Seen& seen, Mat o, Mat q, int64_t row, const float* rope, int64_t rope_dim, int64_t first,
                    int64_t heads, const Attention& options, ThreadScratch& scratch);
  void compress_group(const Run& run, HostLayer& layer, Mat k, Mat z, int64_t j, const Compressor& options,
                      ThreadScratch& scratch);
  bool load_index_query(Mat q, Mat w, int64_t row, const Indexer& options, ThreadScratch& scratch);
  void index_range(float* scores, const HostLayer& layer, int64_t begin, int64_t end, const Indexer& options,
                   const ThreadScratch& query, bool codes, ThreadScratch& scratch);

  // --- experts
  void gather_inputs(Group& group, XForm form, int64_t cols);
  void block_group(Group& group, const void* const* x, int64_t cols);
  void block_groups(const void* const* x, const Weight Expert::*weight);
  int64_t tile_height(const Group& group) const;
  void group_rows(const Route& route, int64_t rows, const Experts& experts);
  // `then`: what the thread reads after this.
  void expert_hidden(int64_t tile, const Group& group, float limit, Ahead then, ThreadScratch& scratch);
  void expert_output(int64_t tile, const Group& group, int64_t hidden, Ahead then, ThreadScratch& scratch);
  static Ahead ahead_of(const Weight& w, int64_t tile, const Group& group);
  uint16_t* hidden_row(int64_t pick) const;

  void check(int64_t needed, const Block& block, const char* what) const;  // Error kInternal: reserve() was too small

  const Kernels& k_;
  ThreadPool pool_;
  std::unique_ptr<OnednnMatmul> onednn_;  // null: not in this build, not of use here, or plain loops are wanted
  int64_t row_chunk_ = kRowChunk;    // input rows that a widened weight meets at a time
  int64_t sums_stride_ = kTileRows;  // weight rows that a thread takes at a time, at most
  Limits limits_;
  int64_t entries_ = 0;  // most compressed entries of any state

  Block packed_[kXForms];     // packed input rows of a call
  Block blocked_[kXForms];    // the same, for oneDNN
  Block pointers_[kXForms];   // [rows] pointers to them
  Block mixes_;               // F32 [rows, 2m + m·m] or [rows, experts]
  std::vector<ThreadScratch> threads_;

  // experts: "picks" are (row, expert) pairs sorted by expert, the shared expert's after all others
  Block groups_;        // Group [experts + 1]
  int64_t group_count_ = 0;
  Block pick_row_;      // I32 [picks]: the row it came from
  Block pick_weight_;   // F32 [picks]
  Block pick_of_;       // I32 [rows, k]: where a row's picks went
  Block pick_x_[2];     // pointers [picks]: packed x for w1 and for w3
  Block pick_h_;        // pointers [picks]: packed h
  Block hidden_;        // BF16 [picks, width]: h
  Block hidden_packed_; // packed [picks, width]
  Block pick_blocked_;  // blocked x of every pick, then blocked h
  Block outputs_;       // BF16 [picks, hidden]
  int64_t hidden_stride_ = 0;
};

}  // namespace dsv4::cpu
