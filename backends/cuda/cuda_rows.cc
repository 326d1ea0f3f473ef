// Verbs that treat every row by itself: weighted norm, rotary angles, queries; and the scratch of all row kernels.
#include "backends/cuda/cuda_verbs.h"
#include "backends/cuda/row_kernels.h"
#include "lib/base/error.h"

namespace dsv4::cuda {
namespace {

constexpr int64_t kEight = 8;  // BF16 that are loaded together: rows consist of whole ones

void check_shapes(const Limits& l) {
  const auto refuse = [](const char* what, int64_t value, const char* rule, int64_t bound) {
    fail(Status::kUnsupported, "cuda backend: {}: {} {} expected, {} found", what, rule, bound, value);
  };
  if (l.streams > kMaxStreams) refuse("residual streams", l.streams, "at most", kMaxStreams);
  if (l.hidden % kEight != 0) refuse("hidden size", l.hidden, "a multiple of", kEight);
  if (l.experts > kMaxExperts) refuse("routed experts", l.experts, "at most", kMaxExperts);
  if (l.experts_per_token > kMaxPicks) refuse("experts of a token", l.experts_per_token, "at most", kMaxPicks);
  for (const int64_t dim : {l.head_dim, l.index_dim}) {
    if (dim > kMaxHeadDim) refuse("head dimension", dim, "at most", kMaxHeadDim);
    if (dim % kEight != 0) refuse("head dimension", dim, "a multiple of", kEight);
  }
}

}  // namespace

void RowScratch::reserve(const Gpu& gpu, const Limits& limits) {
  check_shapes(limits);
  const auto bytes = [](int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); };
  sums.grow(gpu, bytes(stream_sums(gpu, limits)), "sums of the hyper-connections");
  scores.grow(gpu, bytes(gate_scores(gpu, limits)), "scores of the experts");
}

void CudaBackend::norm(Mat y, Mat x, const Weight& weight, float eps) { norm_rows(gpu_, y, x, weight, eps); }

void CudaBackend::rope(Mat table, Mat positions, Mat frequencies) { rope_angles(gpu_, table, positions, frequencies); }

void CudaBackend::query(Mat q, Mat rope, const Query& options) { turn_queries(gpu_, q, rope, options); }

}  // namespace dsv4::cuda
