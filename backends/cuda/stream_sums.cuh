// The first half of a hyper-connection: X'[k] = post[k]·y + Σ_j comb[j][k]·X[j] -> BF16 in place (where a sub-layer has
// ended), and in the same pass over X each block's share of the dot products fn · flat(X') and of Σ X'².
//
// A block takes a slice of positions of all m streams, for some rows; what it found becomes one column of
// sums [rows, mixes + 1, slices], the squares last. stream_kernels.cu adds the columns. FP32 with short chains: four
// products a lane, or 128 in tiles, before sums go up a tree.
//   few rows:  slices of 32, so that the 1.5 MB of fn in Flash are read by 128 blocks; a warp has its own mixes, its
//              lanes the columns, and fn stays in registers for all rows
//   many rows: 32 rows x all mixes in registers, columns dealt to the warps, X and fn in shared memory
#pragma once

#include "backends/cuda/row_device.cuh"
#include "backends/cuda/row_kernels.h"

namespace dsv4::cuda {

struct StreamSums {
  Rows<bf16> X;               // [rows, m * n]
  Rows<const bf16> y;         // [rows, n]
  Rows<const float> mix;      // [rows, m + m * m]: post, comb
  const float* fn = nullptr;  // [mixes, m * n]
  float* sums = nullptr;      // [rows, mixes + 1, slices]
  int32_t rows = 0;
  int32_t m = 0;
  int32_t n = 0;
  int32_t mixes = 0;
  int32_t slices = 0;
  int32_t steps = 1;  // tiles: slices of kTileQuads that a block goes through

  DSV4_DEVICE void put(int row, int sum, int slice, float v) const {
    sums[(static_cast<int64_t>(row) * (mixes + 1) + sum) * slices + slice] = v;
  }
};

constexpr int kSumThreads = 256;
constexpr int kSumWarps = kSumThreads / 32;
constexpr int kFewRows = 16;
constexpr int kFewQuads = 8;  // of four positions: a slice
constexpr int kTileRows = 32;
constexpr int tile_quads(int streams) { return streams == 4 ? 16 : 8; }

// Four positions of all streams, X -> X'. The streams are summed before y joins them, product by product: that order of
// FP32 sums is the published program's (see backends/reference/reference_streams.cc).
template <int kStreams>
DSV4_DEVICE void spread_quad(uint2 (&X)[kStreams], const uint2& y, const float* mix, int m) {
  float x[kStreams][4], out[4];
#pragma unroll
  for (int j = 0; j < kStreams; ++j) unpack4(x[j], X[j]);
  unpack4(out, y);
#pragma unroll
  for (int k = 0; k < kStreams; ++k) {
    if (k >= m) continue;
    const float post = mix[k];
    float v[4];
    for (int j = 0; j < kStreams; ++j) {
      if (j >= m) continue;
      const float comb = mix[m + j * m + k];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float p = __fmul_rn(comb, x[j][i]);
        v[i] = j == 0 ? p : __fadd_rn(v[i], p);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = __fadd_rn(__fmul_rn(post, out[i]), v[i]);
    X[k] = pack4(v);
  }
}

// Rows [first_row, first_row + rows) and positions [first, first + 4 quads) of X, spread first if kPost, into
// xs [rows, pitch] (quads, stream after stream; zeros where X ends) and their squares into squares [rows, quads].
template <int kStreams, bool kPost>
DSV4_DEVICE void load_slice(const StreamSums& a, int first_row, int rows, int first, int quads, Shared<uint2> xs,
                            int pitch, Shared<float> squares) {
  for (int unit = static_cast<int>(threadIdx.x); unit < rows * quads; unit += kSumThreads) {
    const int r = unit / quads, q = unit % quads, row = first_row + r, i = first + 4 * q;
    const bool there = row < a.rows && i < a.n;
    uint2 X[kStreams] = {};
    if (there) {
      bf16* from = a.X.row(row) + i;
#pragma unroll
      for (int j = 0; j < kStreams; ++j) {
        if (j < a.m) X[j] = read_as<uint2>(from + static_cast<int64_t>(j) * a.n);
      }
      if constexpr (kPost) {
        spread_quad<kStreams>(X, read_as<uint2>(a.y.row(row) + i), a.mix.row(row), a.m);
#pragma unroll
        for (int j = 0; j < kStreams; ++j) {
          if (j < a.m) write_as(from + static_cast<int64_t>(j) * a.n, X[j]);
        }
      }
    }
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kStreams; ++j) {
      if (j >= a.m) continue;
      xs[r * pitch + j * quads + q] = X[j];
      float x[4];
      unpack4(x, X[j]);
#pragma unroll
      for (int e = 0; e < 4; ++e) sum = fmaf(x[e], x[e], sum);
    }
    squares[r * quads + q] = sum;
  }
}

// ---------------------------------------------------------------------------------------------------------- few rows

// kMixes a warp, at least mixes / 8.
template <int kStreams, int kMixes, bool kPost>
DSV4_KERNEL(kSumThreads)
sum_few_kernel(StreamSums a) {
  constexpr int kLaneQuads = kStreams * kFewQuads / 32;
  SharedMemory shared;
  const int pitch = a.m * kFewQuads;
  const Shared<uint2> xs = shared.take<uint2>(a.rows * pitch);
  const Shared<float> squares = shared.take<float>(a.rows * kFewQuads);
  const int slice = static_cast<int>(blockIdx.x), first = slice * 4 * kFewQuads;

  float4 fn[kMixes][kLaneQuads];  // asked for before X is waited for
#pragma unroll
  for (int k = 0; k < kMixes; ++k) {
#pragma unroll
    for (int c = 0; c < kLaneQuads; ++c) {
      const int mix = warp() + k * kSumWarps, quad = lane() + 32 * c, i = first + quad % kFewQuads * 4;
      fn[k][c] = float4{};
      if (mix >= a.mixes || quad >= pitch || i >= a.n) continue;
      fn[k][c] = read_as<float4>(a.fn + (static_cast<int64_t>(mix) * a.m + quad / kFewQuads) * a.n + i);
    }
  }
  load_slice<kStreams, kPost>(a, 0, a.rows, first, kFewQuads, xs, pitch, squares);
  __syncthreads();

  for (int r = 0; r < a.rows; ++r) {
    float sum[kMixes] = {};
#pragma unroll
    for (int c = 0; c < kLaneQuads; ++c) {
      const int quad = lane() + 32 * c;
      uint2 v{};
      if (quad < pitch) v = xs[r * pitch + quad];
      float x[4];
      unpack4(x, v);
#pragma unroll
      for (int k = 0; k < kMixes; ++k) {
        const float4& f = fn[k][c];
        sum[k] = fmaf(f.w, x[3], fmaf(f.z, x[2], fmaf(f.y, x[1], fmaf(f.x, x[0], sum[k]))));
      }
    }
#pragma unroll
    for (int k = 0; k < kMixes; ++k) {
      const float all = sum_of_warp(sum[k]);
      const int mix = warp() + k * kSumWarps;
      if (lane() == 0 && mix < a.mixes) a.put(r, mix, slice, all);
    }
  }
  if (const int r = static_cast<int>(threadIdx.x); r < a.rows) {
    float sum = 0.0f;
    for (int q = 0; q < kFewQuads; ++q) sum += squares[r * kFewQuads + q];
    a.put(r, a.mixes, slice, sum);
  }
}

// --------------------------------------------------------------------------------------------------------- many rows

// Shared memory of a tile. Rows of xs and fs are one element longer than their quads, so that lanes that read the same
// column of neighbouring rows meet different banks.
template <int kStreams, int kMixes>
struct TileLayout {
  static constexpr int kQuads = tile_quads(kStreams);  // of each stream
  static constexpr int kWarpPitch = 40;                // rows of one mix among the warps' sums
  int pitch;
  DSV4_HOST_DEVICE explicit constexpr TileLayout(int m) : pitch(m * kQuads + 1) {}
  DSV4_HOST_DEVICE constexpr int xs() const { return kTileRows * pitch; }
  DSV4_HOST_DEVICE constexpr int fs() const {  // float4; later the warps' sums [warps, mixes, kWarpPitch]
    const int weights = 4 * kMixes * pitch, sums = kSumWarps * 4 * kMixes * kWarpPitch / 4;
    return weights > sums ? weights : sums;
  }
  DSV4_HOST_DEVICE constexpr int64_t bytes() const {
    return shared_total<uint2>(xs()) + shared_total<float4>(fs()) + shared_total<float>(kTileRows * kQuads);
  }
};

// fs [4 kMixes, pitch]: the slice's columns of fn, zeros beyond its ends.
template <int kMixes>
DSV4_DEVICE void load_weights(const StreamSums& a, int first, int quads, Shared<float4> fs, int pitch) {
  const int count = a.m * quads;
  for (int unit = static_cast<int>(threadIdx.x); unit < 4 * kMixes * count; unit += kSumThreads) {
    const int mix = unit / count, quad = unit % count, i = first + quad % quads * 4;
    const bool there = mix < a.mixes && i < a.n;
    const int64_t at = there ? (static_cast<int64_t>(mix) * a.m + quad / quads) * a.n + i : 0;
    copy_async16(fs, mix * pitch + quad, a.fn + at, there);
  }
  copy_async_commit();
}

// acc[i][k] += row (lane % 8 + 8 i) · mix (lane / 8 + 4 k), over every eighth quad from the warp's own.
template <int kMixes>
DSV4_DEVICE void multiply_tile(float (&acc)[4][kMixes], Shared<uint2> xs, Shared<float4> fs, int pitch) {
  const int row = lane() % 8, mix = lane() / 8;
  for (int quad = warp(); quad < pitch - 1; quad += kSumWarps) {
    float x[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint2 v = xs[(row + 8 * i) * pitch + quad];
      unpack4(x[i], v);
    }
#pragma unroll
    for (int k = 0; k < kMixes; ++k) {
      const float4 f = fs[(mix + 4 * k) * pitch + quad];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        acc[i][k] = fmaf(f.w, x[i][3], fmaf(f.z, x[i][2], fmaf(f.y, x[i][1], fmaf(f.x, x[i][0], acc[i][k]))));
      }
    }
  }
}

// Adds the warps' sums, which lie in shared memory one beside the other.
template <int kMixes>
DSV4_DEVICE void put_tile(const StreamSums& a, const float (&acc)[4][kMixes], Shared<float> all, int pitch,
                          int first_row, int slice) {
#pragma unroll
  for (int k = 0; k < kMixes; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      all[(warp() * 4 * kMixes + lane() / 8 + 4 * k) * pitch + lane() % 8 + 8 * i] = acc[i][k];
    }
  }
  __syncthreads();
  for (int unit = static_cast<int>(threadIdx.x); unit < kTileRows * a.mixes; unit += kSumThreads) {
    const int r = unit % kTileRows, mix = unit / kTileRows;
    float sum = 0.0f;
    for (int w = 0; w < kSumWarps; ++w) sum += all[(w * 4 * kMixes + mix) * pitch + r];
    if (first_row + r < a.rows) a.put(first_row + r, mix, slice, sum);
  }
}

template <int kStreams, int kMixes, bool kPost>
DSV4_KERNEL(kSumThreads)
sum_tile_kernel(StreamSums a) {
  using Layout = TileLayout<kStreams, kMixes>;
  constexpr int kQuads = Layout::kQuads;
  const Layout layout(a.m);
  SharedMemory shared;
  const Shared<uint2> xs = shared.take<uint2>(layout.xs());
  const Shared<float4> fs = shared.take<float4>(layout.fs());
  const Shared<float> squares = shared.take<float>(kTileRows * kQuads);
  const int slice = static_cast<int>(blockIdx.x), first_row = static_cast<int>(blockIdx.y) * kTileRows;

  float acc[4][kMixes] = {};
  float square = 0.0f;  // of row threadIdx.x, in the first warp
  for (int step = 0; step < a.steps; ++step) {
    const int first = (slice * a.steps + step) * 4 * kQuads;
    if (first >= a.n) break;
    load_weights<kMixes>(a, first, kQuads, fs, layout.pitch);
    load_slice<kStreams, kPost>(a, first_row, kTileRows, first, kQuads, xs, layout.pitch, squares);
    copy_async_wait<0>();
    __syncthreads();
    multiply_tile<kMixes>(acc, xs, fs, layout.pitch);
    if (warp() == 0) {
      for (int q = 0; q < kQuads; ++q) square += squares[lane() * kQuads + q];
    }
    __syncthreads();
  }
  if (warp() == 0 && first_row + lane() < a.rows) a.put(first_row + lane(), a.mixes, slice, square);
  put_tile<kMixes>(a, acc, fs.template as<float>(), Layout::kWarpPitch, first_row, slice);
}

}  // namespace dsv4::cuda
