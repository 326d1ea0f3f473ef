// The verbs that touch a sequence's state, their work memory, and the limits of their kernels. What is out of bounds is
// refused when a state is made or reserve() is called: inside a verb nothing is left to fail but a broken promise.
#include <algorithm>
#include <memory>

#include "backends/cuda/attention_kernels.h"
#include "backends/cuda/cuda_verbs.h"
#include "lib/base/error.h"
#include "lib/base/kv_row.h"

namespace dsv4::cuda {
namespace {

constexpr int64_t kScoreBytes = int64_t{256} << 20;  // of scores and winners of one group of rows, about
constexpr int64_t kMostRatio = 512;                  // tokens of a group

void check_index_dim(int64_t dim) {
  if (dim != 32 && dim != 64 && dim != 128 && dim != 256) {
    fail(Status::kUnsupported, "cuda: an indexer of {} dims; 32, 64, 128 or 256 expected", dim);
  }
}

void check_head_dim(int64_t dim) {
  if (dim < 1 || dim > kAttendHeadDim || dim % 8 != 0) {
    fail(Status::kUnsupported, "cuda: heads of {} dims; a multiple of 8 up to {} expected", dim, kAttendHeadDim);
  }
}

void check_layer(const LayerShape& s) {
  check_head_dim(s.head_dim);
  const int64_t nope = s.head_dim - s.rope_dim;
  if (s.rope_dim < 0 || s.rope_dim > kAttendRopeDims || s.rope_dim % 8 != 0 || nope < 0 || nope % kKvBlock != 0) {
    fail(Status::kUnsupported,
         "cuda: {} rotary dims of {}; a multiple of 8 up to {} that leaves a multiple of {} expected", s.rope_dim,
         s.head_dim, kAttendRopeDims, kKvBlock);
  }
  if (s.ratio < 0 || s.ratio > kMostRatio) {
    fail(Status::kUnsupported, "cuda: groups of {} tokens; at most {} expected", s.ratio, kMostRatio);
  }
  if (s.index_dim != 0) check_index_dim(s.index_dim);
}

// Verbs are handed what reserve() was told of; a caller that breaks this gets an error instead of a wild write.
void check_rows(const StepTable& step, const Mat& m) {
  if (m.rows > step.rows()) fail(Status::kInternal, "cuda: {} rows, {} were reserved", m.rows, step.rows());
}

}  // namespace

void check_state_shape(const StateShape& shape) {
  for (const LayerShape& layer : shape.layers) check_layer(layer);
  if (shape.carry % 8 != 0) {
    fail(Status::kUnsupported, "cuda: residual rows of {} values; a multiple of 8 expected", shape.carry);
  }
}

// -----------------------------------------------------------------------------------------------------
// AttentionScratch

const std::shared_ptr<StateTransfer>& AttentionScratch::transfer(const Gpu& gpu) {
  if (transfer_ == nullptr) transfer_ = std::make_shared<StateTransfer>(gpu);
  return transfer_;
}

void AttentionScratch::grow(const Gpu& gpu, DeviceBuffer& buffer, int64_t bytes, const char* what) {
  if (static_cast<size_t>(bytes) <= buffer.size()) return;
  ++generation_;  // first: what is recorded names the memory that goes
  buffer.grow(gpu, static_cast<size_t>(bytes), what);
}

void AttentionScratch::reserve(const Gpu& gpu, const Limits& limits) {
  if (limits.head_dim != 0) check_head_dim(limits.head_dim);
  if (limits.index_dim != 0) check_index_dim(limits.index_dim);
  if (limits.index_topk > kMostTop) {
    fail(Status::kUnsupported, "cuda: an indexer that picks {} entries; at most {} expected", limits.index_topk,
         kMostTop);
  }
  if (2 * limits.index_heads * limits.index_dim + 4096 > gpu.shared_bytes()) {
    fail(Status::kUnsupported, "cuda: an indexer of {} heads of {} dims; its queries exceed a block's {} bytes",
         limits.index_heads, limits.index_dim, gpu.shared_bytes());
  }
  Limits widest = limits_;
  for (int64_t Limits::*field : {&Limits::rows, &Limits::heads, &Limits::head_dim, &Limits::index_topk}) {
    widest.*field = std::max(widest.*field, limits.*field);
  }
  size(gpu, widest, entries_);
}

void AttentionScratch::add_state(const Gpu& gpu, const StateShape& shape) {
  int64_t entries = entries_;
  for (const LayerShape& s : shape.layers) {
    if (s.index_dim != 0) entries = std::max(entries, shape.context / s.ratio);
  }
  if (entries != entries_) size(gpu, limits_, entries);
}

// Where memory runs out, what there is still fits what was promised before.
void AttentionScratch::size(const Gpu& gpu, const Limits& limits, int64_t entries) {
  IndexPlan plan;
  plan.entries = entries;
  plan.stride = (entries + 3) / 4 * 4;
  plan.chunks = std::max<int64_t>((entries + kSelectChunk - 1) / kSelectChunk, 1);
  plan.winners = std::min(limits.index_topk, kSelectChunk);
  const int64_t winners = plan.chunks > 1 ? plan.chunks * plan.winners : 0;
  const int64_t row_bytes = 4 * plan.stride + 8 * winners;
  plan.rows = std::min(limits.rows, std::max<int64_t>(kScoreBytes / std::max<int64_t>(row_bytes, 1), 1));
  grow(gpu, scores_, plan.rows * plan.stride * 4, "scores of index entries");
  grow(gpu, winners_, plan.rows * winners * 8, "best index entries of parts");
  // launch_attend splits a row's keys only while all blocks together are no more than these, each of 16 heads.
  const int64_t heads = 16 * attend_blocks(gpu);
  grow(gpu, partial_, heads * limits.head_dim * 4, "parts of attention's outputs");
  grow(gpu, sums_, heads * 2 * 4, "sums of attention's parts");
  if (plan.entries != index_.entries || plan.rows != index_.rows || plan.winners != index_.winners) ++generation_;
  index_ = plan;
  limits_ = limits;
  entries_ = entries;
}

// --------------------------------------------------------------------------------------------------------------- verbs

std::unique_ptr<SequenceState> CudaBackend::make_state(const StateShape& shape) {
  gpu_.make_current();
  auto state = std::make_unique<CudaState>(gpu_, attention_.transfer(gpu_), shape);
  attention_.add_state(gpu_, shape);
  return state;
}

size_t CudaBackend::state_bytes(const StateShape& shape) const { return CudaState::bytes_for(shape); }

void CudaBackend::commit(std::span<const Run> runs) {
  gpu_.make_current();
  launch_commit(gpu_, runs);
}

void CudaBackend::append(const Cache& cache, Mat kv, Mat rope, const Append& options) {
  check_rows(step_, kv);
  launch_append(gpu_, step_.use(cache.runs), cache.layer, kv, rope, options);
}

void CudaBackend::compress(const Cache& cache, Mat k, Mat z, const Compressor& options) {
  check_rows(step_, k);
  launch_compress(gpu_, step_.use(cache.runs), cache.layer, k, z, options);
}

void CudaBackend::index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) {
  check_rows(step_, top);
  if (top.cols > attention_.limits().index_topk) {
    fail(Status::kInternal, "cuda: {} index entries, {} were reserved", top.cols, attention_.limits().index_topk);
  }
  launch_index(gpu_, attention_, step_.use(cache.runs), cache.layer, top, q, w, options);
}

void CudaBackend::attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) {
  check_rows(step_, q);
  if (options.head_dim > attention_.limits().head_dim) {
    fail(Status::kInternal, "cuda: heads of {} dims, {} were reserved", options.head_dim, attention_.limits().head_dim);
  }
  launch_attend(gpu_, attention_, step_.use(cache.runs), cache.layer, o, q, top, rope, options);
}

void CudaBackend::carry(Mat previous, Mat X, std::span<const Run> runs) {
  check_rows(step_, X);
  launch_carry(gpu_, step_.use(runs), previous, X);
}

}  // namespace dsv4::cuda
