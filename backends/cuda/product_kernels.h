// Products of rows with weights on the device: out = x · weightᵀ for several weights in one launch.
// Quantised weights see x quantised, which quantise_rows() writes once per call as BF16 code * scale (exact), in
// "paired" order: the eight values of a group lie as 0 4 1 5 2 6 3 7, because codes four apart are what one shift of a
// word of FP4 codes brings to the upper ends of its halves. A sum over columns does not care in which order both sides
// lie. Candidates, best first: cuBLASLt (hundreds of rows, where there is one: dense_library.h); streaming (up to 64
// rows; the weight passes once, through registers, K split over the warps of a block), tiles (more rows; the weight is
// widened in shared memory), plain (F32 weights and every shape there is).
#pragma once

#include <cstdint>
#include <span>

#include "backends/cuda/gpu.h"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

// A weight as kernels see it.
struct WeightView {
  const uint8_t* data = nullptr;
  const uint8_t* scale = nullptr;  // [ceil(rows / 128), scale_cols] E4M3, [rows, scale_cols] FP4
  int64_t row_bytes = 0;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t scale_cols = 0;
  DType dtype = DType::kF32;
  bool aligned = false;  // every row begins at a multiple of 16 bytes: what all kernels but the plain one ask for

  bool operator==(const WeightView&) const = default;
};
WeightView view_of(const Weight& w);

// One weight of a call. With groups > 1, weight rows [g * rows / groups, (g + 1) * rows / groups) see columns
// [g * cols, (g + 1) * cols) of x.
struct ProductJob {
  WeightView weight;
  const bf16* x = nullptr;  // [rows, groups * cols]
  void* out = nullptr;      // [rows, weight.rows]
  int64_t x_stride = 0;
  int64_t out_stride = 0;
  int32_t groups = 1;
  bool paired = false;   // x lies in paired order
  bool aligned = false;  // rows of x begin at multiples of 16 bytes
  bool out_f32 = false;  // else BF16
  int32_t slices = 1;    // streaming: parts of K, one warp each
  int32_t first_block = 0;
};
constexpr int kMaxJobs = 8;
struct ProductJobs {
  ProductJob job[kMaxJobs];
  int32_t count = 0;
  int32_t rows = 0;
};

struct ProductScratch {
  DeviceBuffer quantised;  // BF16 [rows, quantised_stride(widest input)], paired
  void reserve(const Gpu& gpu, const Limits& limits);
};

// Columns from one row of a quantised input to the next: whole blocks, the last filled up with zeros.
constexpr int64_t quantised_stride(int64_t cols) { return (cols + 127) / 128 * 128; }

// Queues out = quant_e4m3(x, 128) in paired order.
void quantise_rows(const Gpu& gpu, bf16* out, const bf16* x, int64_t x_stride, int64_t rows, int64_t cols);
// Queues all jobs: one launch for each kind of kernel that they need.
void multiply(const Gpu& gpu, std::span<const ProductJob> jobs, int64_t rows);

}  // namespace dsv4::cuda
