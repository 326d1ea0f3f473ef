// Manifold hyper-connections (mHC): how a sub-layer reads and writes the residual state X, m streams of n.
//   mix = fn · flat(X) / rms(flat(X));  pre = sigmoid(mix·scale + base) + eps;  x = norm(Σ_j pre[j]·X[j])
//   X'[k] = post[k]·y + Σ_j comb[j][k]·X[j], comb made doubly stochastic by Sinkhorn's iteration
// Two kernels: stream_sums.cuh spreads y over the streams and sums the products slice by slice; read_kernel adds the
// slices. There each row has a block for x, which needs `pre` only, and blocks beside them do post and comb, whose
// twenty iterations are one long chain: nothing waits for it before the next sub-layer's end.
#include <algorithm>

#include "backends/cuda/stream_sums.cuh"

namespace dsv4::cuda {
namespace {

constexpr int kReadThreads = 512;
constexpr int kReadWarps = kReadThreads / 32;
constexpr int kMixRows = kReadWarps;  // rows of a block that does post and comb

struct StreamRead {
  Rows<const bf16> X;           // [rows, m * n]
  Rows<bf16> x;                 // [rows, n]
  Rows<float> mix;              // [rows, m + m * m]: post, comb
  const float* sums = nullptr;  // [rows, mixes + 1, slices]
  Vector base;                  // [mixes]
  Vector scale;                 // [3]; [1] for the head
  Vector norm;                  // [n]; no data: none
  int32_t rows = 0;
  int32_t m = 0;
  int32_t n = 0;
  int32_t mixes = 0;
  int32_t slices = 0;
  int32_t mix_blocks = 0;  // blocks in front that do post and comb
  int32_t sinkhorn = 0;
  float eps = 0.0f;
  float norm_eps = 0.0f;
  double inverse_n = 0.0;
};

DSV4_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Lanes of a warp add the slices of sum `i` of a row; all get the result.
DSV4_DEVICE float add_slices(const StreamRead& a, int row, int i) {
  const float* from = a.sums + (static_cast<int64_t>(row) * (a.mixes + 1) + i) * a.slices;
  float sum = 0.0f;
#pragma unroll 4
  for (int s = lane(); s < a.slices; s += 32) sum += from[s];
  return sum_of_warp(sum);
}

// 1 / rms of flat(X) by its sum of squares.
DSV4_DEVICE float flat_scale(const StreamRead& a, float squares) {
  return 1.0f / sqrtf(squares / static_cast<float>(a.m * a.n) + a.norm_eps);
}

// ------------------------------------------------------------------------------------------------------ post and comb

// Divides each row (kRows) or column of C by its sum + eps. A quotient is a product with the reciprocal here: its error
// is common to a row and goes away with the next division.
template <int kStreams, bool kRows>
DSV4_DEVICE void divide(float (&C)[kStreams][kStreams], int m, float eps) {
#pragma unroll
  for (int a = 0; a < kStreams; ++a) {
    if (a >= m) continue;
    float sum = eps;
#pragma unroll
    for (int b = 0; b < kStreams; ++b) {
      if (b < m) sum += kRows ? C[a][b] : C[b][a];
    }
    const float inverse = 1.0f / sum;
#pragma unroll
    for (int b = 0; b < kStreams; ++b) {
      float& c = kRows ? C[a][b] : C[b][a];
      if (b < m) c *= inverse;
    }
  }
}

// C: row j, column k. Softmax over k, then columns and rows by turns divided by their sums.
template <int kStreams>
DSV4_DEVICE void make_stochastic(float (&C)[kStreams][kStreams], int m, int iterations, float eps) {
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    if (j >= m) continue;
    float top = C[j][0], sum = 0.0f;
#pragma unroll
    for (int k = 1; k < kStreams; ++k) {
      if (k < m) top = fmaxf(top, C[j][k]);
    }
#pragma unroll
    for (int k = 0; k < kStreams; ++k) {
      if (k < m) sum += C[j][k] = expf(C[j][k] - top);
    }
#pragma unroll
    for (int k = 0; k < kStreams; ++k) {
      if (k < m) C[j][k] = C[j][k] / sum + eps;
    }
  }
  divide<kStreams, false>(C, m, eps);
  for (int i = 1; i < iterations; ++i) {
    divide<kStreams, true>(C, m, eps);
    divide<kStreams, false>(C, m, eps);
  }
}

// One thread: post and comb of one row from its sums (post, comb, squares).
template <int kStreams>
DSV4_DEVICE void write_mix(const StreamRead& a, int row, Shared<float> sums) {
  const int m = a.m;
  float* out = a.mix.row(row);
  const float factor = flat_scale(a, sums[m + m * m]);
  const float post_scale = element(a.scale, 1), comb_scale = element(a.scale, 2);
  for (int k = 0; k < m; ++k) {
    out[k] = 2.0f * sigmoid(__fadd_rn(__fmul_rn(sums[k] * factor, post_scale), element(a.base, m + k)));
  }
  float C[kStreams][kStreams];
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
#pragma unroll
    for (int k = 0; k < kStreams; ++k) {
      if (j >= m || k >= m) continue;
      const int i = m + j * m + k;
      C[j][k] = __fadd_rn(__fmul_rn(sums[i] * factor, comb_scale), element(a.base, m + i));
    }
  }
  make_stochastic<kStreams>(C, m, a.sinkhorn, a.eps);
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
#pragma unroll
    for (int k = 0; k < kStreams; ++k) {
      if (j < m && k < m) out[m + j * m + k] = C[j][k];
    }
  }
}

// A block's rows: its warps add up slices, then one thread of each warp goes through a row's iterations.
template <int kStreams>
DSV4_DEVICE void mix_rows(const StreamRead& a, Shared<float> sums) {
  const int count = a.mixes + 1 - a.m;  // sums of a row but those of `pre`
  const int first = static_cast<int>(blockIdx.x) * kMixRows, rows = min(kMixRows, a.rows - first);
  for (int i = warp(); i < rows * count; i += kReadWarps) {
    const float sum = add_slices(a, first + i / count, a.m + i % count);
    if (lane() == 0) sums[i] = sum;
  }
  __syncthreads();
  if (lane() == 0 && warp() < rows) write_mix<kStreams>(a, first + warp(), sums.from(warp() * count));
}

// ------------------------------------------------------------------------------------------------------------------ x

// Σ_j pre[j]·X[j] -> BF16 of eight positions, stream after stream as the reference adds them.
template <int kStreams>
DSV4_DEVICE uint4 sum_streams(const uint4 (&X)[kStreams], const float (&pre)[kStreams], int m) {
  float sum[8];
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    if (j >= m) continue;
    float x[8];
    unpack8(x, X[j]);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float p = __fmul_rn(pre[j], x[i]);
      sum[i] = j == 0 ? p : __fadd_rn(sum[i], p);
    }
  }
  return pack8(sum);
}

template <int kStreams>
DSV4_DEVICE void load_streams(uint4 (&X)[kStreams], const StreamRead& a, const bf16* from) {
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    if (j < a.m) X[j] = read_as<uint4>(from + static_cast<int64_t>(j) * a.n);
  }
}

// One row: x, waiting in shared memory `y` [n / 8] for its norm.
template <int kStreams>
DSV4_DEVICE void read_row(const StreamRead& a, int row, Shared<float> sums, Shared<double> scratch, Shared<uint4> y) {
  const int units = a.n / 8;
  const bf16* from = a.X.row(row);
  const int own = static_cast<int>(threadIdx.x);
  uint4 X[kStreams];
  if (own < units) load_streams<kStreams>(X, a, from + 8 * own);  // on its way while the slices are added
  for (int i = warp(); i <= a.m; i += kReadWarps) {
    const float sum = add_slices(a, row, i < a.m ? i : a.mixes);
    if (lane() == 0) sums[i] = sum;
  }
  __syncthreads();
  const Shared<float> pre_of = sums.from(kMaxStreams + 1);
  if (own < a.m) {
    const float v = sums[own] * flat_scale(a, sums[a.m]);
    pre_of[own] = sigmoid(__fadd_rn(__fmul_rn(v, element(a.scale, 0)), element(a.base, own))) + a.eps;
  }
  __syncthreads();
  float pre[kStreams];
#pragma unroll
  for (int j = 0; j < kStreams; ++j) pre[j] = j < a.m ? static_cast<float>(pre_of[j]) : 0.0f;

  double squares = 0.0;
  for (int unit = own; unit < units; unit += kReadThreads) {
    if (unit != own) load_streams<kStreams>(X, a, from + 8 * unit);
    const uint4 v = sum_streams<kStreams>(X, pre, a.m);
    float x[8];
    unpack8(x, v);
    squares += static_cast<double>(sum_squares8(x));
    y[unit] = v;
  }
  NormScale scale;
  if (a.norm.data != nullptr) scale = norm_scale(sum_of_block(squares, scratch), a.inverse_n, a.norm_eps);
  for (int unit = own; unit < units; unit += kReadThreads) {
    uint4 v = y[unit];
    if (a.norm.data != nullptr) {
      float x[8], w[8];
      unpack8(x, v);
      elements8(w, a.norm, 8 * unit);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = times(x[i], w[i], scale);
      v = pack8(x);
    }
    write_as(a.x.row(row) + 8 * unit, v);
  }
}

template <int kStreams>
DSV4_KERNEL(kReadThreads)
read_kernel(StreamRead a) {
  SharedMemory shared;
  const Shared<float> sums = shared.take<float>(kMixRows * (kStreams + kStreams * kStreams + 1));
  const Shared<double> scratch = shared.take<double>(32);
  const Shared<uint4> y = shared.take<uint4>(a.n / 8);
  const int block = static_cast<int>(blockIdx.x);
  if (block < a.mix_blocks) {
    mix_rows<kStreams>(a, sums);
  } else {
    read_row<kStreams>(a, block - a.mix_blocks, sums, scratch, y);
  }
}

template <int kStreams>
int64_t read_bytes(int64_t n) {
  return shared_total<float>(kMixRows * (kStreams + kStreams * kStreams + 1)) + shared_total<double>(32) +
         shared_total<uint4>(n / 8);
}

// ------------------------------------------------------------------------------------------------------------ hc_post

template <int kStreams>
DSV4_KERNEL(kSumThreads)
spread_kernel(StreamSums a) {
  const int64_t quads = a.n / 4, unit = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
  if (unit >= a.rows * quads) return;
  const int64_t row = unit / quads, i = unit % quads * 4;
  bf16* from = a.X.row(row) + i;
  uint2 X[kStreams] = {};
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    if (j < a.m) X[j] = read_as<uint2>(from + static_cast<int64_t>(j) * a.n);
  }
  spread_quad<kStreams>(X, read_as<uint2>(a.y.row(row) + i), a.mix.row(row), a.m);
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    if (j < a.m) write_as(from + static_cast<int64_t>(j) * a.n, X[j]);
  }
}

// -------------------------------------------------------------------------------------------------------------- host

constexpr int64_t kCoarseSteps = 4;

// How the columns are cut: a step's sums must fit the scratch that reserve() made.
struct Cut {
  int64_t slices = 0;
  int64_t steps = 1;
};
Cut cut_for(const Gpu& gpu, int64_t rows, int64_t m, int64_t n) {
  if (rows <= kFewRows) return {(n + 4 * kFewQuads - 1) / (4 * kFewQuads), 1};
  const int64_t width = 4 * tile_quads(m <= 4 ? 4 : 8), tiles = (rows + kTileRows - 1) / kTileRows;
  // Coarsely, where that leaves each processor two blocks.
  const int64_t steps = tiles * (n / (width * kCoarseSteps)) >= 2 * gpu.processors() ? kCoarseSteps : 1;
  return {(n + width * steps - 1) / (width * steps), steps};
}

template <int kStreams, int kMixes, bool kPost>
void launch_sums(const Gpu& gpu, const StreamSums& a) {
  if (a.rows <= kFewRows) {
    const int64_t bytes = shared_total<uint2>(a.rows * a.m * kFewQuads) + shared_total<float>(a.rows * kFewQuads);
    launch(sum_few_kernel<kStreams, (4 * kMixes + kSumWarps - 1) / kSumWarps, kPost>, Grid{a.slices}, kSumThreads,
           bytes, gpu.stream(), a);
    return;
  }
  launch(sum_tile_kernel<kStreams, kMixes, kPost>, Grid{a.slices, (a.rows + kTileRows - 1) / kTileRows}, kSumThreads,
         TileLayout<kStreams, kMixes>(a.m).bytes(), gpu.stream(), a);
}

// `y` may be empty. The kernels' kMixes is a quarter of the mixes of kStreams.
StreamSums queue_sums(const Gpu& gpu, const RowScratch& scratch, const Mat& X, const Mat& y, const Mat& mix,
                      const HyperConnection& hc, int64_t n) {
  const int64_t m = X.cols / n;
  const Cut cut = cut_for(gpu, X.rows, m, n);
  StreamSums a;
  a.X = rows_of<bf16>(X);
  a.y = rows_of<const bf16>(y);
  a.mix = rows_of<const float>(mix);
  a.fn = hc.fn.as<float>();
  a.sums = scratch.sums.as<float>();
  a.rows = static_cast<int32_t>(X.rows);
  a.m = static_cast<int32_t>(m);
  a.n = static_cast<int32_t>(n);
  a.mixes = static_cast<int32_t>(hc.fn.rows);
  a.slices = static_cast<int32_t>(cut.slices);
  a.steps = static_cast<int32_t>(cut.steps);
  const bool post = y.data != nullptr;
  if (m <= 4) {
    post ? launch_sums<4, 6, true>(gpu, a) : launch_sums<4, 6, false>(gpu, a);
  } else {
    post ? launch_sums<8, 20, true>(gpu, a) : launch_sums<8, 20, false>(gpu, a);
  }
  return a;
}

// `mix` is empty for the head.
void queue_read(const Gpu& gpu, const StreamSums& sums, const Mat& x, const Mat& mix, const HyperConnection& hc) {
  StreamRead a;
  a.X = {sums.X.data, sums.X.stride};
  a.x = rows_of<bf16>(x);
  a.mix = rows_of<float>(mix);
  a.sums = sums.sums;
  a.base = vector_of(hc.base);
  a.scale = vector_of(hc.scale);
  a.norm = vector_of(hc.norm);
  a.rows = sums.rows;
  a.m = sums.m;
  a.n = sums.n;
  a.mixes = sums.mixes;
  a.slices = sums.slices;
  a.mix_blocks = mix.data == nullptr ? 0 : (sums.rows + kMixRows - 1) / kMixRows;
  a.sinkhorn = hc.sinkhorn;
  a.eps = hc.eps;
  a.norm_eps = hc.norm_eps;
  a.inverse_n = 1.0 / static_cast<double>(sums.n);
  const Grid grid{a.mix_blocks + a.rows};
  if (a.m <= 4) {
    launch(read_kernel<4>, grid, kReadThreads, read_bytes<4>(a.n), gpu.stream(), a);
  } else {
    launch(read_kernel<8>, grid, kReadThreads, read_bytes<8>(a.n), gpu.stream(), a);
  }
}

}  // namespace

// The most that any step within the limits needs, by whatever model of several. Columns are cut finely only where
// tiles · floor(n / (4 · width)) < 2 · processors, and ceil(n / width) is at most four times that floor and four more.
int64_t stream_sums(const Gpu& gpu, const Limits& limits) {
  const int64_t m = limits.streams, n = limits.hidden, rows = limits.rows;
  const int64_t width = 4 * tile_quads(m <= 4 ? 4 : 8) * kCoarseSteps;
  const int64_t few = std::min<int64_t>(rows, kFewRows) * ((n + 4 * kFewQuads - 1) / (4 * kFewQuads));
  const int64_t fine = 8 * kTileRows * gpu.processors() + 4 * (rows + kTileRows);
  const int64_t coarse = rows * ((n + width - 1) / width);
  return (m * (m + 2) + 1) * std::max({few, fine, coarse});
}

void mix_streams(const Gpu& gpu, const RowScratch& scratch, const Mat& x, const Mat& mix, const Mat& X, const Mat& y,
                 const HyperConnection& hc) {
  if (X.empty()) return;
  queue_read(gpu, queue_sums(gpu, scratch, X, y, mix, hc, x.cols), x, mix, hc);
}

void head_streams(const Gpu& gpu, const RowScratch& scratch, const Mat& x, const Mat& X, const HyperConnection& head) {
  if (X.empty()) return;
  queue_read(gpu, queue_sums(gpu, scratch, X, Mat{}, Mat{}, head, x.cols), x, Mat{}, head);
}

void spread_streams(const Gpu& gpu, const Mat& X, const Mat& y, const Mat& mix) {
  if (X.empty()) return;
  StreamSums a;
  a.X = rows_of<bf16>(X);
  a.y = rows_of<const bf16>(y);
  a.mix = rows_of<const float>(mix);
  a.rows = static_cast<int32_t>(X.rows);
  a.n = static_cast<int32_t>(y.cols);
  a.m = static_cast<int32_t>(X.cols / y.cols);
  const Grid grid{(X.rows * (y.cols / 4) + kSumThreads - 1) / kSumThreads};
  launch(a.m <= 4 ? spread_kernel<4> : spread_kernel<8>, grid, kSumThreads, 0, gpu.stream(), a);
}

}  // namespace dsv4::cuda
