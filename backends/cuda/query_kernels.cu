// Queries, in place: x -> rms per head -> BF16, rope of the last dims -> BF16; the indexer's further: Hadamard
// transform times dim^-1/2 -> BF16, quant_e2m1 in blocks of 32 (the value code * scale, exact in BF16). A head lies in
// a group of lanes, eight neighbouring dims (16 bytes) each; dims beyond 256 take a second eight a lane.
#include <bit>
#include <cmath>

#include "backends/cuda/row_device.cuh"
#include "backends/cuda/row_kernels.h"

namespace dsv4::cuda {
namespace {

constexpr int kThreads = 256;

struct QueryJob {
  Rows<bf16> q;            // [rows, heads * dim]
  Rows<const float> rope;  // [rows, turned]: cosines, sines
  int64_t units = 0;       // rows * heads
  int32_t heads = 0;
  int32_t dim = 0;
  int32_t turned = 0;  // dims that the rope turns: the last ones
  int32_t group = 0;   // lanes of a head, a power of two
  bool rms = false;
  bool hadamard = false;
  float eps = 0.0f;
  float hadamard_scale = 0.0f;
  double inverse_dim = 0.0;
};

// x[c] are dims [8 (lane + 32 c), …) of the head, zeros beyond its end.
template <int kEights>
DSV4_DEVICE void norm_head(float (&x)[kEights][8], const QueryJob& job) {
  double sum = 0.0;
#pragma unroll
  for (int c = 0; c < kEights; ++c) sum += static_cast<double>(sum_squares8(x[c]));
  for (int mask = job.group / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  const NormScale scale = norm_scale(sum, job.inverse_dim, job.eps);
#pragma unroll
  for (int c = 0; c < kEights; ++c) {
#pragma unroll
    for (int i = 0; i < 8; ++i) x[c][i] = rounded(times(x[c][i], scale));
  }
}

// Pairs (2i, 2i + 1) of dims [first, first + 8) as far as they are among the last `turned`.
DSV4_DEVICE void turn_eight(float (&x)[8], const float* cos, int first, const QueryJob& job) {
  const float* sin = cos + job.turned / 2;
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    const int pair = first + i - (job.dim - job.turned);
    if (pair < 0 || pair >= job.turned) continue;
    const float c = cos[pair / 2], s = sin[pair / 2];
    const float even = __fadd_rn(__fmul_rn(x[i], c), -__fmul_rn(x[i + 1], s));
    const float odd = __fadd_rn(__fmul_rn(x[i], s), __fmul_rn(x[i + 1], c));
    x[i] = rounded(even);
    x[i + 1] = rounded(odd);
  }
}

// Butterflies of halves 1, 2, 4 in a lane, 8, 16, … between lanes, 256 between a lane's two eights.
template <int kEights>
DSV4_DEVICE void transform_head(float (&x)[kEights][8], int sub, const QueryJob& job) {
#pragma unroll
  for (int c = 0; c < kEights; ++c) {
#pragma unroll
    for (int half = 1; half < 8; half *= 2) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if ((i & half) != 0) continue;
        const float a = x[c][i], b = x[c][i + half];
        x[c][i] = a + b;
        x[c][i + half] = a - b;
      }
    }
    for (int mask = 1; mask < job.group; mask *= 2) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float other = shuffle_xor(x[c][i], mask);
        x[c][i] = (sub & mask) == 0 ? x[c][i] + other : other - x[c][i];
      }
    }
  }
  if constexpr (kEights == 2) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float a = x[0][i], b = x[1][i];
      x[0][i] = a + b;
      x[1][i] = a - b;
    }
  }
}

// Scales, rounds and quantises an eight, of four lanes' block.
DSV4_DEVICE void quantise_eight(float (&x)[8], float scale, int group) {
  float amax = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x[i] = rounded(__fmul_rn(x[i], scale));
    amax = fmaxf(amax, fabsf(x[i]));
  }
  for (int mask = 1; mask < 4 && mask < group; mask *= 2) amax = fmaxf(amax, shuffle_xor(amax, mask));
  const int e = e2m1_block_exponent_of(amax);
  const float up = exp2_of(-e), down = exp2_of(e);
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = e2m1_value(e2m1_code(x[i] * up)) * down;
}

template <int kEights>
DSV4_KERNEL(kThreads)
query_kernel(QueryJob job) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t unit = thread / job.group;
  const int sub = static_cast<int>(thread % job.group);
  const bool there = unit < job.units;  // lanes beyond take part in the exchanges
  const int64_t row = there ? unit / job.heads : 0;
  bf16* head = job.q.row(row) + (there ? unit % job.heads : 0) * job.dim;
  float x[kEights][8];
#pragma unroll
  for (int c = 0; c < kEights; ++c) {
    const int first = 8 * (sub + 32 * c);
    uint4 v{};
    if (there && first < job.dim) v = read_as<uint4>(head + first);
    unpack8(x[c], v);
  }
  if (job.rms) norm_head(x, job);
#pragma unroll
  for (int c = 0; c < kEights; ++c) turn_eight(x[c], job.rope.row(row), 8 * (sub + 32 * c), job);
  if (job.hadamard) {
    transform_head(x, sub, job);
#pragma unroll
    for (int c = 0; c < kEights; ++c) quantise_eight(x[c], job.hadamard_scale, job.group);
  }
#pragma unroll
  for (int c = 0; c < kEights; ++c) {
    const int first = 8 * (sub + 32 * c);
    if (there && first < job.dim) write_as(head + first, pack8(x[c]));
  }
}

}  // namespace

void turn_queries(const Gpu& gpu, const Mat& q, const Mat& rope, const Query& options) {
  if (q.empty()) return;
  const int64_t dim = options.head_dim;
  QueryJob job;
  job.q = rows_of<bf16>(q);
  job.rope = rows_of<const float>(rope);
  job.units = q.rows * options.heads;
  job.heads = static_cast<int32_t>(options.heads);
  job.dim = static_cast<int32_t>(dim);
  job.turned = static_cast<int32_t>(rope.cols);
  job.group = dim >= 256 ? 32 : static_cast<int32_t>(std::bit_ceil(static_cast<uint64_t>(dim / 8)));
  job.rms = options.rms;
  job.hadamard = options.hadamard;
  job.eps = options.eps;
  job.hadamard_scale = 1.0f / std::sqrt(static_cast<float>(dim));
  job.inverse_dim = 1.0 / static_cast<double>(dim);
  const Grid grid{(job.units * job.group + kThreads - 1) / kThreads};
  launch(dim > 256 ? query_kernel<2> : query_kernel<1>, grid, kThreads, 0, gpu.stream(), job);
}

}  // namespace dsv4::cuda
