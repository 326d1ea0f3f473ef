// quant_e4m3 of a row in blocks of 128, to BF16 code * scale in paired order (product_kernels.h), and the plain sum of
// products, for every format and shape.
#pragma once

#include "backends/cuda/device.cuh"
#include "backends/cuda/product_kernels.h"
#include "backends/cuda/product_widen.cuh"

namespace dsv4::cuda {

// Columns [256 * part, 256 * part + 256) of a row: half a warp to a block, a lane to eight neighbours. Columns past the
// row's end, up to the end of its last block, become 0. `out` may be x. Called by all lanes.
DSV4_DEVICE void quantise_part(bf16* out, const bf16* x, int cols, int part, bool aligned) {
  const int col = part * 256 + lane() * 8, end = (cols + 127) / 128 * 128;
  float v[8];
  float amax = 0.0f;
  if (aligned && col + 8 <= cols) {
    const uint4 four = *reinterpret_cast<const uint4*>(x + col);
    const uint32_t pairs[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = i % 2 == 0 ? low_of(pairs[i / 2]) : high_of(pairs[i / 2]);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = col + i < cols ? widen(x[col + i]) : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) amax = fmaxf(amax, fabsf(v[i]));  // a NaN does not count
#pragma unroll
  for (int mask = 8; mask > 0; mask /= 2) amax = fmaxf(amax, shuffle_xor(amax, mask));
  const int e = e4m3_block_exponent_of(amax);
  const float scale = exp2_of(e), inverse = exp2_of(-e);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = e4m3_value(e4m3_code(v[i] * inverse)) * scale;
  if (col >= end) return;
  *reinterpret_cast<uint4*>(out + col) =
      uint4{pack_bf16(v[0], v[4]), pack_bf16(v[1], v[5]), pack_bf16(v[2], v[6]), pack_bf16(v[3], v[7])};
}

constexpr int kPlainRows = 8;  // input rows of a warp

// sums[i] = weight row · row i of x, in FP32, for `count` input rows; all lanes get them. x_row(i) is an input row.
template <class XRow>
DSV4_DEVICE void plain_dots(float (&sums)[kPlainRows], const WeightView& w, int row, bool paired, int count,
                            XRow x_row) {
  const uint8_t* from = w.data + row * w.row_bytes;
  const uint8_t* scale = w.dtype == DType::kF32 || w.dtype == DType::kBF16
                             ? nullptr
                             : w.scale + static_cast<int64_t>(w.dtype == DType::kFP4 ? row : row / 128) * w.scale_cols;
  const bf16* x[kPlainRows];
#pragma unroll
  for (int i = 0; i < kPlainRows; ++i) {
    x[i] = x_row(i < count ? i : 0);
    sums[i] = 0.0f;
  }
  for (int col = lane(); col < w.cols; col += 32) {
    const float value = weight_value(from, scale, w.dtype, col);
    const int place = paired ? paired_place(col) : col;
#pragma unroll
    for (int i = 0; i < kPlainRows; ++i) sums[i] = fmaf(value, widen(x[i][place]), sums[i]);
  }
#pragma unroll
  for (int i = 0; i < kPlainRows; ++i) sums[i] = sum_of_warp(sums[i]);
}

}  // namespace dsv4::cuda
