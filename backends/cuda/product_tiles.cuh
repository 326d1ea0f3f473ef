// Many input rows: a block multiplies kRows of them with 128 weight rows, 64 columns at a time. Input rows come into
// shared memory by cp.async; weights come into registers a step ahead and are widened on their way into shared memory,
// scales included (exact). Two buffers of each, one barrier a step.
// Rows of 64 BF16 are eight units of 16 bytes; unit u of row r lies at u ^ (r % 8), so that ldmatrix, which takes one
// unit of eight rows, and the stores, which take neighbouring units, meet all banks.
// Eight warps in two rows of four: a warp has kRows / 2 input rows (mma's A) times 32 weight rows (its B).
#pragma once

#include "backends/cuda/device.cuh"
#include "backends/cuda/product_kernels.h"
#include "backends/cuda/product_widen.cuh"

namespace dsv4::cuda {

constexpr int kTileThreads = 256;
constexpr int kTileWeights = 128;  // weight rows of a tile
constexpr int kTileColumns = 64;   // columns of a step

template <int kRows>
struct TileSums {
  float d[kRows / 32][4][4];  // [16 input rows][8 weight rows] of mma
};

template <int kRows>
constexpr int64_t tile_shared_bytes() {
  return shared_total<bf16>(2 * kRows * kTileColumns) + shared_total<bf16>(2 * kTileWeights * kTileColumns);
}

template <int kRows>
struct TileMemory {
  Shared<bf16> x_both, w_both;  // [2, kRows, 64], [2, 128, 64]
  DSV4_DEVICE explicit TileMemory(SharedMemory& shared) {
    x_both = shared.take<bf16>(2 * kRows * kTileColumns);
    w_both = shared.take<bf16>(2 * kTileWeights * kTileColumns);
  }
  DSV4_DEVICE Shared<bf16> x(int buffer) const { return x_both.from(buffer * kRows * kTileColumns); }
  DSV4_DEVICE Shared<bf16> w(int buffer) const { return w_both.from(buffer * kTileWeights * kTileColumns); }
};

DSV4_DEVICE int tile_place(int row, int unit) { return row * kTileColumns + (unit ^ (row & 7)) * 8; }

// How a format's tile of 128 rows x 64 columns is shared out: units of 16 bytes, kEach of them to a thread.
template <DType kType>
struct TileFormat {
  static constexpr int kColumns = 8 * 16 / dtype_bits(kType);         // of a unit
  static constexpr int kUnits = kTileColumns / kColumns;              // of a row
  static constexpr int kEach = kTileWeights * kUnits / kTileThreads;  // of a thread
  static constexpr int kRowStep = kTileThreads / kUnits;              // rows from one to the next
};

// What a thread brings of the weight. Rows past the last are the last.
template <DType kType>
struct TileWeights {
  static constexpr int kEach = TileFormat<kType>::kEach;
  const uint8_t* row[kEach];
  const uint8_t* scale[kEach];
  uint4 codes[kEach];
  uint32_t factor[kEach];
};

template <DType kType>
DSV4_DEVICE void tile_load(TileWeights<kType>& w, Shared<bf16> to, int k, int cols) {
  using Format = TileFormat<kType>;
  const int unit = static_cast<int>(threadIdx.x) % Format::kUnits, col = k + unit * Format::kColumns;
#pragma unroll
  for (int i = 0; i < Format::kEach; ++i) {
    const bool valid = col < cols;
    const uint8_t* from = w.row[i] + static_cast<int64_t>(valid ? col : 0) / Format::kColumns * 16;
    if constexpr (kType == DType::kBF16) {
      const int row = static_cast<int>(threadIdx.x) / Format::kUnits + i * Format::kRowStep;
      copy_async16(to, tile_place(row, unit), from, valid);
    } else {
      w.codes[i] = {0, 0, 0, 0};
      w.factor[i] = 0;
      if (!valid) continue;
      w.codes[i] = *reinterpret_cast<const uint4*>(from);
      w.factor[i] = w.scale[i][kType == DType::kFP4 ? col / 32 : col / 128];
    }
  }
}

// Codes that tile_load brought, as BF16 into shared memory.
template <DType kType, bool kPaired>
DSV4_DEVICE void tile_store(const TileWeights<kType>& w, Shared<bf16> to) {
  using Format = TileFormat<kType>;
  if constexpr (kType != DType::kBF16) {
    const int unit = static_cast<int>(threadIdx.x) % Format::kUnits;
#pragma unroll
    for (int i = 0; i < Format::kEach; ++i) {
      const int row = static_cast<int>(threadIdx.x) / Format::kUnits + i * Format::kRowStep;
      const uint32_t scale = scale_as_pair(w.factor[i]);
#pragma unroll
      for (int e = 0; e < Format::kColumns / 8; ++e) {
        uint32_t pairs[4];
        if constexpr (kType == DType::kFP4) {
          widen_fp4(pairs, e == 0 ? w.codes[i].x : e == 1 ? w.codes[i].y : e == 2 ? w.codes[i].z : w.codes[i].w, scale);
        } else {
          widen_e4m3<kPaired>(pairs, e == 0 ? w.codes[i].x : w.codes[i].z, e == 0 ? w.codes[i].y : w.codes[i].w);
#pragma unroll
          for (int j = 0; j < 4; ++j) pairs[j] = scale_pair(pairs[j], scale);
        }
        const int place = tile_place(row, unit * (Format::kColumns / 8) + e);
        to.template as<uint4>()[place / 8] = uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
      }
    }
  }
}

// sums += one step's 64 columns.
template <int kRows>
DSV4_DEVICE void tile_multiply(TileSums<kRows>& sums, Shared<bf16> x, Shared<bf16> w) {
  const int l = lane(), m0 = warp() / 4 * (kRows / 2), n0 = warp() % 4 * 32;
#pragma unroll
  for (int k = 0; k < kTileColumns / 16; ++k) {
    uint32_t b[2][4];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      load_matrix_x4(b[j], w, tile_place(n0 + 16 * j + l % 8 + l / 16 * 8, 2 * k + l / 8 % 2));
    }
#pragma unroll
    for (int i = 0; i < kRows / 32; ++i) {
      uint32_t a[4];
      load_matrix_x4(a, x, tile_place(m0 + 16 * i + l % 16, 2 * k + l / 16));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t pair[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        mma_bf16(sums.d[i][j], a, pair);
      }
    }
  }
}

// The whole tile. weight_row(r) is the weight row (of `view(r)`) behind row r of the tile, x_row(r) the input row.
template <DType kType, bool kPaired, int kRows, class ViewOf, class WeightRow, class XRow>
DSV4_DEVICE void tile_product(TileSums<kRows>& sums, const TileMemory<kRows>& memory, int cols, ViewOf view_of_row,
                              WeightRow weight_row, XRow x_row) {
  using Format = TileFormat<kType>;
  constexpr int kXEach = kRows / 32;
  TileWeights<kType> weights;
#pragma unroll
  for (int i = 0; i < Format::kEach; ++i) {
    const int r = static_cast<int>(threadIdx.x) / Format::kUnits + i * Format::kRowStep, row = weight_row(r);
    const WeightView& view = view_of_row(r);
    weights.row[i] = view.data + row * view.row_bytes;
    weights.scale[i] =
        kType == DType::kBF16
            ? nullptr
            : view.scale + static_cast<int64_t>(kType == DType::kFP4 ? row : row / 128) * view.scale_cols;
  }
  const int unit = static_cast<int>(threadIdx.x) % 8;
  const bf16* x[kXEach];
#pragma unroll
  for (int i = 0; i < kXEach; ++i) x[i] = x_row(static_cast<int>(threadIdx.x) / 8 + 32 * i);

  const auto load = [&](int k, int buffer) {
    const bool valid = k + unit * 8 < cols;
#pragma unroll
    for (int i = 0; i < kXEach; ++i) {
      const int row = static_cast<int>(threadIdx.x) / 8 + 32 * i;
      copy_async16(memory.x(buffer), tile_place(row, unit), x[i] + (valid ? k + unit * 8 : 0), valid);
    }
    tile_load<kType>(weights, memory.w(buffer), k, cols);
    copy_async_commit();
  };
  load(0, 0);
  tile_store<kType, kPaired>(weights, memory.w(0));
  int buffer = 0;
  for (int k = 0; k < cols; k += kTileColumns, buffer ^= 1) {
    copy_async_wait<0>();
    __syncthreads();  // this buffer is full, and nobody reads the other one any more
    const bool more = k + kTileColumns < cols;
    if (more) load(k + kTileColumns, buffer ^ 1);
    tile_multiply<kRows>(sums, memory.x(buffer), memory.w(buffer));
    if (more) tile_store<kType, kPaired>(weights, memory.w(buffer ^ 1));
  }
}

// The same for a format that is known at run time only.
template <int kRows, class ViewOf, class WeightRow, class XRow>
DSV4_DEVICE void tile_product(TileSums<kRows>& sums, const TileMemory<kRows>& memory, DType dtype, bool paired,
                              int cols, ViewOf view_of_row, WeightRow weight_row, XRow x_row) {
  if (dtype == DType::kBF16) {
    tile_product<DType::kBF16, false, kRows>(sums, memory, cols, view_of_row, weight_row, x_row);
  } else if (dtype == DType::kFP4) {
    tile_product<DType::kFP4, true, kRows>(sums, memory, cols, view_of_row, weight_row, x_row);
  } else if (paired) {
    tile_product<DType::kF8E4M3, true, kRows>(sums, memory, cols, view_of_row, weight_row, x_row);
  } else {
    tile_product<DType::kF8E4M3, false, kRows>(sums, memory, cols, view_of_row, weight_row, x_row);
  }
}

}  // namespace dsv4::cuda
