// Embedding, weighted norm, merge of the draft head's inputs, and rotary angles: one pass over memory each, eight BF16
// (16 bytes) a thread and step.
#include "backends/cuda/row_kernels.h"

#include <algorithm>

#include "backends/cuda/row_device.cuh"

namespace dsv4::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kNormThreads = 512;

int64_t blocks_for(int64_t units) { return (units + kThreads - 1) / kThreads; }

// --------------------------------------------------------------------------------------------------------- embedding

struct Table {
  const uint8_t* data = nullptr;
  const uint8_t* scale = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t scale_cols = 0;
  DType dtype = DType::kBF16;
};

// Elements [i, i + 8) of a row, in any format, times its scales -> BF16.
DSV4_DEVICE uint4 table_eight(const Table& t, int64_t row, int64_t i) {
  const int64_t at = row * t.cols + i;
  if (t.dtype == DType::kBF16) return read_as<uint4>(t.data + 2 * at);
  float x[8];
  if (t.dtype == DType::kF32) {
#pragma unroll
    for (int e = 0; e < 8; ++e) x[e] = read_as<float>(t.data + 4 * (at + e));
  } else if (t.dtype == DType::kF8E4M3) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      x[e] = e4m3_value(t.data[at + e]) * e8m0_value(t.scale[row / 128 * t.scale_cols + (i + e) / 128]);
    }
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int code = t.data[(at + e) / 2] >> (e % 2 * 4) & 15;
      x[e] = e2m1_value(code) * e8m0_value(t.scale[row * t.scale_cols + (i + e) / 32]);
    }
  }
  return pack8(x);
}

// A thread copies eight columns of a token's row to every stream.
DSV4_KERNEL(kThreads)
embed_kernel(Rows<bf16> X, int64_t rows, int64_t width, Rows<const int32_t> tokens, Table table) {
  const int64_t units = table.cols / 8;
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (unit >= rows * units) return;
  const int64_t r = unit / units, i = unit % units * 8;
  int64_t token = *tokens.row(r);
  token = token < 0 ? 0 : token < table.rows ? token : table.rows - 1;
  const uint4 v = table_eight(table, token, i);
  for (int64_t to = i; to < width; to += table.cols) write_as(X.row(r) + to, v);
}

// -------------------------------------------------------------------------------------------------------------- norm

// One block a row. A thread reads its eights again before it writes them, so y may be x.
DSV4_KERNEL(kNormThreads)
norm_kernel(Rows<bf16> y, Rows<const bf16> x, int32_t cols, Vector weight, double inverse_cols, float eps) {
  SharedMemory shared;
  const Shared<double> scratch = shared.take<double>(32);
  const bf16* from = x.row(blockIdx.x);
  bf16* to = y.row(blockIdx.x);
  const int step = static_cast<int>(blockDim.x) * 8, first = static_cast<int>(threadIdx.x) * 8;
  double sum = 0.0;
  float v[8];
  for (int i = first; i < cols; i += step) {
    unpack8(v, read_as<uint4>(from + i));
    sum += static_cast<double>(sum_squares8(v));
  }
  const NormScale scale = norm_scale(sum_of_block(sum, scratch), inverse_cols, eps);
  for (int i = first; i < cols; i += step) {
    float w[8];
    elements8(w, weight, i);
    unpack8(v, read_as<uint4>(from + i));
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] = times(v[e], w[e], scale);
    write_as(to + i, pack8(v));
  }
}

// ------------------------------------------------------------------------------------------------------ merge, rope

DSV4_KERNEL(kThreads)
merge_kernel(Rows<bf16> X, Rows<const bf16> e, Rows<const bf16> h, int64_t rows, int64_t width, int64_t n) {
  const int64_t units = width / 8;
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (unit >= rows * units) return;
  const int64_t r = unit / units, i = unit % units * 8;
  float a[8], b[8];
  unpack8(a, read_as<uint4>(e.row(r) + i % n));
  unpack8(b, read_as<uint4>(h.row(r) + i));
#pragma unroll
  for (int k = 0; k < 8; ++k) a[k] += b[k];
  write_as(X.row(r) + i, pack8(a));
}

// The angle is one FP32 product, as the published program has it; its cosine and sine are those of that very float.
DSV4_KERNEL(kThreads)
rope_kernel(Rows<float> table, Rows<const int32_t> positions, const float* frequencies, int64_t rows, int64_t pairs) {
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (unit >= rows * pairs) return;
  const int64_t r = unit / pairs, i = unit % pairs;
  const float angle = __fmul_rn(static_cast<float>(*positions.row(r)), frequencies[i]);
  table.row(r)[i] = static_cast<float>(cos(static_cast<double>(angle)));
  table.row(r)[pairs + i] = static_cast<float>(sin(static_cast<double>(angle)));
}

}  // namespace

void embed_rows(const Gpu& gpu, const Mat& X, const Mat& tokens, const Weight& table) {
  if (X.empty()) return;
  const Table t{table.as<uint8_t>(), table.scale, table.rows, table.cols, table.scale_cols, table.dtype};
  launch(embed_kernel, Grid{blocks_for(X.rows * (table.cols / 8))}, kThreads, 0, gpu.stream(), rows_of<bf16>(X), X.rows,
         X.cols, rows_of<const int32_t>(tokens), t);
}

void norm_rows(const Gpu& gpu, const Mat& y, const Mat& x, const Weight& weight, float eps) {
  if (x.empty()) return;
  const int threads = static_cast<int>(std::clamp<int64_t>((x.cols / 8 + 31) / 32 * 32, 32, kNormThreads));
  launch(norm_kernel, Grid{x.rows}, threads, shared_total<double>(32), gpu.stream(), rows_of<bf16>(y),
         rows_of<const bf16>(x), static_cast<int32_t>(x.cols), vector_of(weight), 1.0 / static_cast<double>(x.cols),
         eps);
}

void merge_streams(const Gpu& gpu, const Mat& X, const Mat& e, const Mat& h) {
  if (X.empty()) return;
  launch(merge_kernel, Grid{blocks_for(X.rows * (X.cols / 8))}, kThreads, 0, gpu.stream(), rows_of<bf16>(X),
         rows_of<const bf16>(e), rows_of<const bf16>(h), X.rows, X.cols, e.cols);
}

void rope_angles(const Gpu& gpu, const Mat& table, const Mat& positions, const Mat& frequencies) {
  if (table.empty()) return;
  launch(rope_kernel, Grid{blocks_for(table.rows * frequencies.cols)}, kThreads, 0, gpu.stream(), rows_of<float>(table),
         rows_of<const int32_t>(positions), static_cast<const float*>(frequencies.data), table.rows, frequencies.cols);
}

}  // namespace dsv4::cuda
