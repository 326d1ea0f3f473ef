// The kernel behind dense_kernels.h. A thread has four units of eight columns, a block apart: its loads are in flight
// together, and a warp's stores are of 512 bytes in a row.
#include "backends/cuda/dense_kernels.h"

#include "backends/cuda/device.cuh"
#include "backends/cuda/product_widen.cuh"

namespace dsv4::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kUnits = 4;  // of a thread

struct WidenArgs {
  bf16* out;             // [rows, cols]
  const uint8_t* codes;  // of the first row
  const uint8_t* scale;  // of the whole weight
  int first;
  int row_units;  // cols / 8
  int units;      // of all rows
  int scale_cols;
};

template <DType kType>
DSV4_KERNEL(kThreads)
widen_kernel(WidenArgs a) {
  constexpr bool kFP4 = kType == DType::kFP4;
  const int begin = static_cast<int>(blockIdx.x) * kThreads * kUnits + static_cast<int>(threadIdx.x);
  uint2 codes[kUnits];
  uint32_t scale[kUnits];
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    const int unit = min(begin + i * kThreads, a.units - 1);  // past the end: the last one again, not stored
    const int row = a.first + unit / a.row_units, col = unit % a.row_units * 8;
    const int64_t scale_row = kFP4 ? row : row / 128;
    if constexpr (kFP4) {
      codes[i] = uint2{load_once(reinterpret_cast<const uint32_t*>(a.codes) + unit), 0};
    } else {
      codes[i] = load_once(reinterpret_cast<const uint2*>(a.codes) + unit);
    }
    scale[i] = a.scale[scale_row * a.scale_cols + col / (kFP4 ? 32 : 128)];
  }
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    const int unit = begin + i * kThreads;
    if (unit >= a.units) return;
    const uint32_t factor = scale_as_pair(scale[i]);
    uint32_t pairs[4];
    if constexpr (kFP4) {
      widen_fp4(pairs, codes[i].x, factor);
    } else {
      widen_e4m3<true>(pairs, codes[i].x, codes[i].y);
#pragma unroll
      for (uint32_t& pair : pairs) pair = scale_pair(pair, factor);
    }
    reinterpret_cast<uint4*>(a.out)[unit] = uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
  }
}

}  // namespace

void widen_rows(const Gpu& gpu, bf16* out, const WeightView& weight, int64_t first, int64_t count) {
  WidenArgs a;
  a.out = out;
  a.codes = weight.data + first * weight.row_bytes;
  a.scale = weight.scale;
  a.first = static_cast<int>(first);
  a.row_units = weight.cols / 8;
  a.units = static_cast<int>(count * a.row_units);
  a.scale_cols = weight.scale_cols;
  const Grid grid{(a.units + kThreads * kUnits - 1) / (kThreads * kUnits)};
  if (weight.dtype == DType::kFP4) {
    launch(&widen_kernel<DType::kFP4>, grid, kThreads, 0, gpu.stream(), a);
  } else {
    launch(&widen_kernel<DType::kF8E4M3>, grid, kThreads, 0, gpu.stream(), a);
  }
}

}  // namespace dsv4::cuda
