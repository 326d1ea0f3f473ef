#include "backends/reference/reference_math.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace dsv4::reference {

float dot(const float* a, const float* b, int64_t n) {
  double sum[4] = {0, 0, 0, 0};  // four chains only because one would wait for every addition
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int64_t j = 0; j < 4; ++j) sum[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
  }
  for (; i < n; ++i) sum[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return static_cast<float>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

double inverse_rms(const float* x, int64_t n, float eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return 1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps));
}

void read_row(float* out, const Mat& m, int64_t row) {
  if (m.dtype == DType::kF32) {
    std::memcpy(out, m.row<float>(row), static_cast<size_t>(m.cols) * 4);
    return;
  }
  const bf16* x = m.row<bf16>(row);
  for (int64_t i = 0; i < m.cols; ++i) out[i] = to_float(x[i]);
}

void write_row(const Mat& m, int64_t row, const float* x) {
  if (m.dtype == DType::kF32) {
    std::memcpy(m.row<float>(row), x, static_cast<size_t>(m.cols) * 4);
    return;
  }
  bf16* out = m.row<bf16>(row);
  for (int64_t i = 0; i < m.cols; ++i) out[i] = to_bf16(x[i]);
}

const float* weight_row(const Weight& w, int64_t row, float* scratch) {
  switch (w.dtype) {
    case DType::kF32: return w.as<float>() + row * w.cols;
    case DType::kBF16: {
      const bf16* x = w.as<bf16>() + row * w.cols;
      for (int64_t i = 0; i < w.cols; ++i) scratch[i] = to_float(x[i]);
      return scratch;
    }
    case DType::kF8E4M3: {  // one scale per 128 x 128 tile
      const uint8_t* x = w.as<uint8_t>() + row * w.cols;
      const uint8_t* scale = w.scale + row / 128 * w.scale_cols;
      for (int64_t i = 0; i < w.cols; ++i) scratch[i] = kE4M3[x[i]] * e8m0_to_float(scale[i / 128]);
      return scratch;
    }
    default: {  // FP4: two a byte, the even one in the low nibble; one scale per 32
      const uint8_t* x = w.as<uint8_t>() + row * (w.cols / 2);
      const uint8_t* scale = w.scale + row * w.scale_cols;
      for (int64_t i = 0; i < w.cols; ++i) {
        const int code = i % 2 != 0 ? x[i / 2] >> 4 : x[i / 2] & 15;
        scratch[i] = kE2M1[code] * e8m0_to_float(scale[i / 32]);
      }
      return scratch;
    }
  }
}

float weight_at(const Weight& w, int64_t i) {
  return w.dtype == DType::kF32 ? w.as<float>()[i] : to_float(w.as<bf16>()[i]);
}

void round_row(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = round_bf16(x[i]);
}

void weighted_norm(float* x, int64_t n, const Weight& weight, float eps) {
  const double scale = inverse_rms(x, n, eps);
  for (int64_t i = 0; i < n; ++i) x[i] = round_bf16(static_cast<float>(x[i] * scale * weight_at(weight, i)));
}

namespace {

void turn(float* x, int64_t width, const float* cos, const float* sin, int64_t dims, float direction) {
  float* pair = x + width - dims;
  for (int64_t i = 0; i < dims / 2; ++i, pair += 2) {
    const float c = cos[i], s = direction * sin[i];
    const float even = pair[0] * c - pair[1] * s;
    const float odd = pair[0] * s + pair[1] * c;
    pair[0] = round_bf16(even);
    pair[1] = round_bf16(odd);
  }
}

}  // namespace

void rotate(float* x, int64_t width, const float* cos, const float* sin, int64_t dims) {
  turn(x, width, cos, sin, dims, 1.0f);
}
void rotate_back(float* x, int64_t width, const float* cos, const float* sin, int64_t dims) {
  turn(x, width, cos, sin, dims, -1.0f);
}

void hadamard(float* x, int64_t n) {
  for (int64_t half = 1; half < n; half *= 2) {
    for (int64_t block = 0; block < n; block += 2 * half) {
      for (int64_t i = block; i < block + half; ++i) {
        const float a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(n));
  for (int64_t i = 0; i < n; ++i) x[i] = round_bf16(x[i] * scale);
}

void quantise_e4m3(float* x, int64_t n, int64_t block) {
  for (int64_t from = 0; from < n; from += block) {
    const int64_t to = std::min(from + block, n);
    float amax = 0.0f;
    for (int64_t i = from; i < to; ++i) amax = std::max(amax, std::fabs(x[i]));
    const int e = e4m3_block_exponent(amax);
    for (int64_t i = from; i < to; ++i) x[i] = kE4M3[to_e4m3(x[i] * exp2i(-e))] * exp2i(e);
  }
}

void quantise_e2m1(float* x, int64_t n) {
  for (int64_t from = 0; from < n; from += 32) {
    const int64_t to = std::min(from + 32, n);
    float amax = 0.0f;
    for (int64_t i = from; i < to; ++i) amax = std::max(amax, std::fabs(x[i]));
    const int e = e2m1_block_exponent(amax);
    for (int64_t i = from; i < to; ++i) x[i] = kE2M1[to_e2m1(x[i] * exp2i(-e))] * exp2i(e);
  }
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

void pick_best(int32_t* order, const float* score, int64_t n, int64_t k) {
  for (int64_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(i);
  // A NaN (out of a damaged checkpoint) counts as the lowest: the order must stay one, or sorting is undefined.
  const auto value = [&](int32_t i) { return std::isnan(score[i]) ? -INFINITY : score[i]; };
  std::partial_sort(order, order + std::min(k, n), order + n, [&](int32_t a, int32_t b) {
    const float x = value(a), y = value(b);
    return x != y ? x > y : a < b;
  });
}

}  // namespace dsv4::reference
