// A weight that passes once: one warp multiplies 16 weight rows, a range of columns, with up to 8 * kParts input rows.
// The weight is mma's A, [16, 16], straight from global memory: of lane (g, t), 16 bytes of weight rows g and g + 8 are
// kColumns consecutive columns, and each mma takes four of them from every lane. Which columns an mma sums over is then
// no longer "16 neighbours", but A and B agree on it, since B's lane t reads the same columns of input row g.
// E4M3's scale, one for 128 columns and all 16 rows, goes onto partial sums; FP4's, one for a lane's 32 columns of a
// row, onto A.
#pragma once

#include "backends/cuda/device.cuh"
#include "backends/cuda/product_kernels.h"
#include "backends/cuda/product_widen.cuh"

namespace dsv4::cuda {

// How a format streams.
template <DType kType>
struct StreamFormat {
  static constexpr int kColumns = 8 * 16 / dtype_bits(kType);  // in 16 bytes: those of one lane
  static constexpr int kChunk = 4 * kColumns;                  // of the four lanes that share a row
  static constexpr int kDepth = 4;                             // chunks that are loaded before the first is used
};

// Sums of one warp: weight rows g and g + 8 with input rows 8p + 2t and 8p + 2t + 1, as mma's D.
template <int kParts>
struct StreamSums {
  float d[kParts][4];
};

// What lane (g, t) streams.
template <int kParts>
struct StreamLane {
  const uint8_t* weight[2];  // rows g and g + 8
  const uint8_t* scale[2];   // their scales
  const bf16* x[kParts];     // input rows 8p + g; those past the last are the last
};

template <DType kType, bool kPaired>
DSV4_DEVICE void widen_eight(uint32_t (&pairs)[4], const uint4& codes, int eighth, uint32_t scale) {
  if constexpr (kType == DType::kBF16) {
    pairs[0] = codes.x;
    pairs[1] = codes.y;
    pairs[2] = codes.z;
    pairs[3] = codes.w;
  } else if constexpr (kType == DType::kF8E4M3) {
    widen_e4m3<kPaired>(pairs, eighth == 0 ? codes.x : codes.z, eighth == 0 ? codes.y : codes.w);
  } else {
    const uint32_t word = eighth == 0 ? codes.x : eighth == 1 ? codes.y : eighth == 2 ? codes.z : codes.w;
    widen_fp4(pairs, word, scale);
  }
}

template <DType kType, bool kPaired, int kParts>
DSV4_DEVICE void stream_chunk(StreamSums<kParts>& sums, const uint4 (&codes)[2], const uint32_t (&scale)[2],
                              const StreamLane<kParts>& lanes, int64_t col, bool valid) {
#pragma unroll
  for (int e = 0; e < StreamFormat<kType>::kColumns / 8; ++e) {
    uint32_t upper[4], lower[4];
    widen_eight<kType, kPaired>(upper, codes[0], e, scale[0]);
    widen_eight<kType, kPaired>(lower, codes[1], e, scale[1]);
    const uint32_t a0[4] = {upper[0], lower[0], upper[1], lower[1]};
    const uint32_t a1[4] = {upper[2], lower[2], upper[3], lower[3]};
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      uint4 x = {0, 0, 0, 0};
      if (valid) x = *reinterpret_cast<const uint4*>(lanes.x[p] + col + 8 * e);
      const uint32_t b0[2] = {x.x, x.y}, b1[2] = {x.z, x.w};
      mma_bf16(sums.d[p], a0, b0);
      mma_bf16(sums.d[p], a1, b1);
    }
  }
}

// sums += columns [begin, end) of the lanes' rows; begin is a multiple of 128, end too or the weight's end.
template <DType kType, bool kPaired, int kParts>
DSV4_DEVICE void stream_columns(StreamSums<kParts>& sums, const StreamLane<kParts>& lanes, int begin, int end) {
  using Format = StreamFormat<kType>;
  const int first = lane() % 4 * Format::kColumns;
  for (int k = begin; k < end; k += Format::kDepth * Format::kChunk) {
    uint4 codes[Format::kDepth][2];
    uint32_t scale[Format::kDepth][2];
#pragma unroll
    for (int u = 0; u < Format::kDepth; ++u) {
      const int at = k + u * Format::kChunk, col = at + first;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        codes[u][i] = {0, 0, 0, 0};
        scale[u][i] = 0;
        // E4M3's is for the sums, which a lane past the end holds too.
        if constexpr (kType == DType::kF8E4M3) scale[u][i] = at < end ? lanes.scale[i][at / 128] : 0;
        if (col >= end) continue;
        codes[u][i] = load_once(
            reinterpret_cast<const uint4*>(lanes.weight[i] + static_cast<int64_t>(col) / Format::kColumns * 16));
        if constexpr (kType == DType::kFP4) scale[u][i] = lanes.scale[i][col / 32];
      }
    }
#pragma unroll
    for (int u = 0; u < Format::kDepth; ++u) {
      const int at = k + u * Format::kChunk;
      if (at >= end) break;
      const bool valid = at + first < end;
      if constexpr (kType == DType::kF8E4M3) {
        StreamSums<kParts> part = {};
        stream_chunk<kType, kPaired>(part, codes[u], scale[u], lanes, at + first, valid);
        const float factor = e8m0_value(static_cast<uint8_t>(scale[u][0]));  // that of all 16 rows
#pragma unroll
        for (int p = 0; p < kParts; ++p) {
#pragma unroll
          for (int i = 0; i < 4; ++i) sums.d[p][i] += part.d[p][i] * factor;
        }
      } else {
        const uint32_t factors[2] = {scale_as_pair(scale[u][0]), scale_as_pair(scale[u][1])};
        stream_chunk<kType, kPaired>(sums, codes[u], factors, lanes, at + first, valid);
      }
    }
  }
}

// Weight rows [first, first + 16) of at most `last` + 1, slice `slice` of `slices` of their columns.
template <int kParts>
DSV4_DEVICE void stream_tile(StreamSums<kParts>& sums, const WeightView& w, StreamLane<kParts>& lanes, int first,
                             int last, bool paired, int slice, int slices) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = min(first + lane() / 4 + 8 * i, last);
    lanes.weight[i] = w.data + row * w.row_bytes;
    lanes.scale[i] = w.dtype == DType::kF32 || w.dtype == DType::kBF16
                         ? nullptr
                         : w.scale + static_cast<int64_t>(w.dtype == DType::kFP4 ? row : row / 128) * w.scale_cols;
  }
  const int blocks = (w.cols + 127) / 128;
  const int begin = blocks * slice / slices * 128, end = min(blocks * (slice + 1) / slices * 128, w.cols);
  if (w.dtype == DType::kBF16) {
    stream_columns<DType::kBF16, false>(sums, lanes, begin, end);
  } else if (w.dtype == DType::kFP4) {
    stream_columns<DType::kFP4, true>(sums, lanes, begin, end);
  } else if (paired) {
    stream_columns<DType::kF8E4M3, true>(sums, lanes, begin, end);
  } else {
    stream_columns<DType::kF8E4M3, false>(sums, lanes, begin, end);
  }
}

// Lays the warp's sums down as to[input row * 16 + weight row].
template <int kParts>
DSV4_DEVICE void put_sums(Shared<float> to, const StreamSums<kParts>& sums) {
  const int g = lane() / 4, t = lane() % 4;
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[(8 * p + 2 * t + i % 2) * 16 + g + i / 2 * 8] = sums.d[p][i];
  }
}

}  // namespace dsv4::cuda
