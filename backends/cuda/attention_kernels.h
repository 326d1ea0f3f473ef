// The kernels of the verbs that touch a sequence's state, behind plain functions: each queues its work and returns.
// Grids follow from shapes alone (rows, widths, the contexts of the states there are); where a row stands, and in which
// state, the kernels read from the step's table, so that a recorded step can be replayed with other positions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backends/cuda/cuda_state.h"
#include "backends/cuda/gpu.h"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

// kUnsupported, with the reason: what the kernels below cannot take.
void check_state_shape(const StateShape& shape);

// How index() shares the work of a step, by shapes alone.
struct IndexPlan {
  int64_t entries = 0;  // most finished entries of a row
  int64_t stride = 0;   // scores of a row lie so far apart
  int64_t chunks = 0;   // parts of a row whose best are found first, each by a block of its own; 1: none
  int64_t winners = 0;  // best of each chunk that are kept
  int64_t rows = 0;     // scored at a time
};

// Work memory of index() and attend().
class AttentionScratch {
 public:
  void reserve(const Gpu& gpu, const Limits& limits);
  // States of this shape may come with a step from now on.
  void add_state(const Gpu& gpu, const StateShape& shape);
  // Grows by one whenever a recorded step may no longer fit: memory has moved, or rows have become longer.
  int64_t generation() const { return generation_; }
  // The one that all states share.
  const std::shared_ptr<StateTransfer>& transfer(const Gpu& gpu);

  const IndexPlan& index() const { return index_; }
  float* scores() const { return scores_.as<float>(); }          // [index().rows, index().stride]
  uint64_t* winners() const { return winners_.as<uint64_t>(); }  // [index().rows, chunks, winners]; chunks > 1
  float* partial() const { return partial_.as<float>(); }        // outputs of parts of the keys, not yet divided
  float* sums() const { return sums_.as<float>(); }              // their highest logit and sum of weights
  const Limits& limits() const { return limits_; }

 private:
  void size(const Gpu& gpu, const Limits& limits, int64_t entries);
  void grow(const Gpu& gpu, DeviceBuffer& buffer, int64_t bytes, const char* what);

  Limits limits_;
  int64_t entries_ = 0;  // most index rows of a layer of any state
  int64_t generation_ = 0;
  IndexPlan index_;
  DeviceBuffer scores_, winners_, partial_, sums_;
  std::shared_ptr<StateTransfer> transfer_;
};

constexpr int64_t kMostTop = 8192;      // entries that index() can pick
constexpr int64_t kSelectChunk = 8192;  // scores that one block selects from
constexpr int64_t kAttendRopeDims = 128;
constexpr int64_t kAttendHeadDim = 512;
constexpr int64_t kAttendSplits = 64;  // parts of a row's keys, at most

// Blocks that attend() spreads few rows over.
inline int64_t attend_blocks(const Gpu& gpu) { return 4 * gpu.processors(); }

// state_kernels.cu
void launch_append(const Gpu& gpu, const DeviceStep& step, int layer, const Mat& kv, const Mat& rope,
                   const Append& options);
void launch_carry(const Gpu& gpu, const DeviceStep& step, const Mat& previous, const Mat& X);
void launch_commit(const Gpu& gpu, std::span<const Run> runs);
// compress_kernels.cu
void launch_compress(const Gpu& gpu, const DeviceStep& step, int layer, const Mat& k, const Mat& z,
                     const Compressor& options);
// index_kernels.cu
void launch_index(const Gpu& gpu, const AttentionScratch& scratch, const DeviceStep& step, int layer, const Mat& top,
                  const Mat& q, const Mat& w, const Indexer& options);
// attend_kernels.cu
void launch_attend(const Gpu& gpu, const AttentionScratch& scratch, const DeviceStep& step, int layer, const Mat& o,
                   const Mat& q, const Mat& top, const Mat& rope, const Attention& options);

}  // namespace dsv4::cuda
