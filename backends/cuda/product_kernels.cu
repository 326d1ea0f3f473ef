// Kernels of the products and the choice among them (product_kernels.h says which there are). A launch covers all jobs
// of a call: a block finds its job by its first block. Streaming blocks have 8 / slices tiles of 16 weight
// rows, a warp for each tile and slice of the columns; slices meet in shared memory, in order: equal steps, equal bits.
#include "backends/cuda/product_kernels.h"

#include <algorithm>

#include "backends/cuda/device.cuh"
#include "backends/cuda/product_quantise.cuh"
#include "backends/cuda/product_stream.cuh"
#include "backends/cuda/product_tiles.cuh"

namespace dsv4::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

DSV4_KERNEL(kThreads) quantise_kernel(bf16* out, const bf16* x, int64_t x_stride, int rows, int cols, bool aligned) {
  const int parts = (cols + 255) / 256, at = static_cast<int>(blockIdx.x) * kWarps + warp(), row = at / parts;
  if (row >= rows) return;
  quantise_part(out + row * ((cols + 127) / 128 * 128), x + row * x_stride, cols, at % parts, aligned);
}

// The job that a block works for.
DSV4_DEVICE int job_of(const ProductJobs& jobs, int block) {
  int j = jobs.count - 1;
  while (j > 0 && block < jobs.job[j].first_block) --j;
  return j;
}

DSV4_DEVICE void put(const ProductJob& job, int row, int col, float value) {
  const int64_t at = row * job.out_stride + col;
  if (job.out_f32) {
    static_cast<float*>(job.out)[at] = value;
  } else {
    static_cast<bf16*>(job.out)[at] = narrow(value);
  }
}

// Where tile `tile` of `height` weight rows lies: no tile holds rows of two groups.
struct WeightRows {
  int group;
  int first;
  int last;  // of the group
};
DSV4_DEVICE WeightRows rows_of_tile(const ProductJob& job, int tile, int height) {
  const int rank = job.weight.rows / job.groups, tiles = (rank + height - 1) / height, group = tile / tiles;
  return {group, group * rank + tile % tiles * height, group * rank + rank - 1};
}

template <int kParts>
DSV4_KERNEL(kThreads)
stream_kernel(ProductJobs jobs) {
  constexpr int kSums = kParts * 8 * 16;  // of a warp
  SharedMemory shared;
  Shared<float> sums = shared.take<float>(kWarps * kSums);
  const int block = static_cast<int>(blockIdx.x);
  const ProductJob& job = jobs.job[job_of(jobs, block)];
  const int slices = job.slices, block_tiles = kWarps / slices, first_tile = (block - job.first_block) * block_tiles;
  const int tile = first_tile + warp() / slices;

  const WeightRows at = rows_of_tile(job, tile, 16);
  if (at.group < job.groups) {
    StreamLane<kParts> lanes;
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      lanes.x[p] = job.x + min(8 * p + lane() / 4, jobs.rows - 1) * job.x_stride +
                   static_cast<int64_t>(at.group) * job.weight.cols;
    }
    StreamSums<kParts> own = {};
    stream_tile(own, job.weight, lanes, at.first, at.last, job.paired, warp() % slices, slices);
    put_sums(sums.from(warp() * kSums), own);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < block_tiles * jobs.rows * 16; i += kThreads) {
    const int row = i / 16 % jobs.rows, in_block = i / 16 / jobs.rows;
    const WeightRows to = rows_of_tile(job, first_tile + in_block, 16);
    const int col = to.first + i % 16;
    if (to.group >= job.groups || col > to.last) continue;
    float sum = 0.0f;
    for (int s = 0; s < slices; ++s) sum += sums[(in_block * slices + s) * kSums + row * 16 + i % 16];
    put(job, row, col, sum);
  }
}

template <int kRows>
DSV4_KERNEL(kTileThreads)
tile_kernel(ProductJobs jobs) {
  SharedMemory shared;
  const TileMemory<kRows> memory(shared);
  const int block = static_cast<int>(blockIdx.y), first_row = static_cast<int>(blockIdx.x) * kRows;
  const ProductJob& job = jobs.job[job_of(jobs, block)];
  const WeightRows at = rows_of_tile(job, block - job.first_block, kTileWeights);
  const bf16* x = job.x + static_cast<int64_t>(at.group) * job.weight.cols;
  TileSums<kRows> sums = {};
  tile_product<kRows>(
      sums, memory, job.weight.dtype, job.paired, job.weight.cols, [&](int) -> const WeightView& { return job.weight; },
      [&](int r) { return min(at.first + r, at.last); },
      [&](int r) { return x + min(first_row + r, jobs.rows - 1) * job.x_stride; });

  const int g = lane() / 4, t = lane() % 4;
#pragma unroll
  for (int i = 0; i < kRows / 32; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int d = 0; d < 4; ++d) {
        const int row = first_row + warp() / 4 * (kRows / 2) + 16 * i + g + d / 2 * 8;
        const int col = at.first + warp() % 4 * 32 + 8 * j + 2 * t + d % 2;
        if (row < jobs.rows && col <= at.last) put(job, row, col, sums.d[i][j][d]);
      }
    }
  }
}

DSV4_KERNEL(kThreads) plain_kernel(ProductJobs jobs) {
  const int block = static_cast<int>(blockIdx.x), first_row = static_cast<int>(blockIdx.y) * kPlainRows;
  const ProductJob& job = jobs.job[job_of(jobs, block)];
  const int col = (block - job.first_block) * kWarps + warp(), count = min(kPlainRows, jobs.rows - first_row);
  if (col >= job.weight.rows) return;
  const int group = col / (job.weight.rows / job.groups);
  float sums[kPlainRows];
  plain_dots(sums, job.weight, col, job.paired, count, [&](int i) {
    return job.x + (first_row + i) * job.x_stride + static_cast<int64_t>(group) * job.weight.cols;
  });
#pragma unroll
  for (int i = 0; i < kPlainRows; ++i) {
    if (i < count && lane() == i) put(job, first_row + i, col, sums[i]);
  }
}

bool plain_only(const ProductJob& job) {
  const WeightView& w = job.weight;
  return w.dtype == DType::kF32 || !w.aligned || !job.aligned || (w.dtype == DType::kFP4 && !job.paired) ||
         (job.groups > 1 && w.rows / job.groups % 16 != 0);
}

int64_t tiles_of(const ProductJob& job, int64_t height) {
  return (job.weight.rows / job.groups + height - 1) / height * job.groups;
}

void multiply_streaming(const Gpu& gpu, ProductJobs& jobs) {
  int64_t tiles = 0, blocks = 0;
  for (int32_t j = 0; j < jobs.count; ++j) tiles += tiles_of(jobs.job[j], 16);
  for (int32_t j = 0; j < jobs.count; ++j) {
    ProductJob& job = jobs.job[j];
    // Columns are cut while there are too few warps to keep the memory busy, and a warp has a block of 128 left.
    while (job.slices < kWarps && tiles * job.slices < gpu.processors() * 32 && job.weight.cols > 128 * job.slices) {
      job.slices *= 2;
    }
    job.first_block = static_cast<int32_t>(blocks);
    const int64_t block_tiles = kWarps / job.slices;
    blocks += (tiles_of(job, 16) + block_tiles - 1) / block_tiles;
  }
  const auto start = [&](auto* kernel, int64_t parts) {
    launch(kernel, Grid{blocks}, kThreads, shared_total<float>(kWarps * parts * 8 * 16), gpu.stream(), jobs);
  };
  if (jobs.rows <= 8) return start(&stream_kernel<1>, 1);
  if (jobs.rows <= 16) return start(&stream_kernel<2>, 2);
  if (jobs.rows <= 32) return start(&stream_kernel<4>, 4);
  start(&stream_kernel<8>, 8);
}

void multiply_tiled(const Gpu& gpu, ProductJobs& jobs) {
  int64_t tiles = 0;
  for (int32_t j = 0; j < jobs.count; ++j) {
    jobs.job[j].first_block = static_cast<int32_t>(tiles);
    tiles += tiles_of(jobs.job[j], kTileWeights);
  }
  const auto start = [&](auto* kernel, int64_t rows, int64_t bytes) {
    launch(kernel, Grid{(jobs.rows + rows - 1) / rows, tiles}, kTileThreads, bytes, gpu.stream(), jobs);
  };
  // Lower tiles where the high ones would leave processors without one.
  if ((jobs.rows + 127) / 128 * tiles >= gpu.processors()) {
    start(&tile_kernel<128>, 128, tile_shared_bytes<128>());
  } else {
    start(&tile_kernel<64>, 64, tile_shared_bytes<64>());
  }
}

void multiply_plain(const Gpu& gpu, ProductJobs& jobs) {
  int64_t blocks = 0;
  for (int32_t j = 0; j < jobs.count; ++j) {
    jobs.job[j].first_block = static_cast<int32_t>(blocks);
    blocks += (jobs.job[j].weight.rows + kWarps - 1) / kWarps;
  }
  launch(&plain_kernel, Grid{blocks, (jobs.rows + kPlainRows - 1) / kPlainRows}, kThreads, 0, gpu.stream(), jobs);
}

constexpr int64_t kMostStreaming = 64;  // input rows up to which the weight streams

}  // namespace

WeightView view_of(const Weight& w) {
  WeightView v;
  v.data = w.as<uint8_t>();
  v.scale = w.scale;
  v.row_bytes = w.cols * dtype_bits(w.dtype) / 8;
  v.rows = static_cast<int32_t>(w.rows);
  v.cols = static_cast<int32_t>(w.cols);
  v.scale_cols = static_cast<int32_t>(w.scale_cols);
  v.dtype = w.dtype;
  v.aligned = v.row_bytes % 16 == 0 && reinterpret_cast<uintptr_t>(w.data) % 16 == 0;
  return v;
}

void ProductScratch::reserve(const Gpu& gpu, const Limits& limits) {
  const int64_t cols = quantised_stride(std::max(limits.inner, limits.hidden));
  quantised.grow(gpu, static_cast<size_t>(limits.rows * cols) * sizeof(bf16), "quantised inputs of products");
}

void quantise_rows(const Gpu& gpu, bf16* out, const bf16* x, int64_t x_stride, int64_t rows, int64_t cols) {
  const bool aligned = x_stride % 8 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
  const int64_t warps = rows * ((cols + 255) / 256);
  launch(&quantise_kernel, Grid{(warps + kWarps - 1) / kWarps}, kThreads, 0, gpu.stream(), out, x, x_stride, rows, cols,
         aligned);
}

void multiply(const Gpu& gpu, std::span<const ProductJob> all, int64_t rows) {
  ProductJobs fast, plain;
  fast.rows = plain.rows = static_cast<int32_t>(rows);
  for (const ProductJob& job : all) {
    ProductJobs& jobs = plain_only(job) ? plain : fast;
    jobs.job[jobs.count++] = job;
  }
  if (fast.count > 0) {
    if (rows <= kMostStreaming) {
      multiply_streaming(gpu, fast);
    } else {
      multiply_tiled(gpu, fast);
    }
  }
  if (plain.count > 0) multiply_plain(gpu, plain);
}

}  // namespace dsv4::cuda
