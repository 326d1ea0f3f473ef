// What the tests of products and experts share: random weights in every format, two backends fed the same, and how far
// the CUDA backend's kernels (run by the executor) may be from the reference's loops.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cuda/cuda_backend.h"
#include "backends/reference/reference_backend.h"
#include "tests/support/bf16_steps.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {

class RandomNumbers {
 public:
  explicit RandomNumbers(uint32_t seed) : generator_(seed) {}
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(generator_); }
  float normal(float deviation) { return std::normal_distribution<float>(0.0f, deviation)(generator_); }
  std::vector<bf16> row(int64_t n, float deviation = 1.0f) {
    std::vector<bf16> x(static_cast<size_t>(n));
    for (bf16& v : x) v = to_bf16(normal(deviation));
    return x;
  }

 private:
  std::mt19937 generator_;
};

// A weight with its bytes.
struct RandomWeight {
  std::vector<uint8_t> bytes, scales;
  HostTensor tensor;

  RandomWeight() = default;
  // Scales 2^(low_scale - 127) and the `scale_count` - 1 powers of two above.
  RandomWeight(RandomNumbers& random, DType dtype, int64_t rows, int64_t cols, int low_scale = 114,
               int scale_count = 7) {
    bytes.resize(static_cast<size_t>(rows * cols * dtype_bits(dtype) / 8));
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(random.below(256));
      if (dtype == DType::kF8E4M3 && (bytes[i] & 0x7f) == 0x7f) bytes[i] = 0;  // no NaN
    }
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float value = random.normal(0.05f);
      if (dtype == DType::kF32) std::memcpy(bytes.data() + i * 4, &value, 4);
      const bf16 narrow = to_bf16(value);
      if (dtype == DType::kBF16) std::memcpy(bytes.data() + i * 2, &narrow, 2);
    }
    const int64_t count = dtype == DType::kFP4      ? rows * ((cols + 31) / 32)
                          : dtype == DType::kF8E4M3 ? (rows + 127) / 128 * ((cols + 127) / 128)
                                                    : 0;
    for (int64_t i = 0; i < count; ++i) scales.push_back(static_cast<uint8_t>(low_scale + random.below(scale_count)));
    tensor = {bytes.data(), scales.empty() ? nullptr : scales.data(), dtype, rows, cols};
  }
  RandomWeight(RandomWeight&&) = default;  // moving a vector leaves its bytes where they are
  RandomWeight& operator=(RandomWeight&&) = default;
};

struct Side {
  std::unique_ptr<Backend> backend;
  Rig rig;
  Side(std::unique_ptr<Backend> made, const Limits& limits) : backend(std::move(made)), rig(*backend) {
    backend->reserve(limits);
  }
};

// BF16: one step on 99.8 % of the elements, and what is beyond it less than `slack` of the largest magnitude, which is
// what the order of sums explains where terms cancel (or, inside experts, a flipped rounding of h). F32: slack only.
inline void check_close(const std::vector<float>& want, const std::vector<float>& got, bool is_f32, float slack) {
  REQUIRE(want.size() == got.size());
  float largest = 0.0f, worst = 0.0f;
  for (const float v : want) largest = std::max(largest, std::isfinite(v) ? std::fabs(v) : 0.0f);
  size_t beyond = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == got[i]) continue;  // infinite ones too
    if (!std::isfinite(got[i])) {
      worst = INFINITY;
    } else if (is_f32 || bf16_steps(want[i], got[i]) > 1) {
      ++beyond;
      worst = std::max(worst, std::fabs(want[i] - got[i]));
    }
  }
  if (!is_f32) CHECK(static_cast<double>(beyond) <= 0.002 * static_cast<double>(want.size()) + 1);
  CHECK(worst <= slack * largest);
}

// A model of these widths, as reserve() is told.
inline Limits product_limits(int64_t rows, int64_t inner, int64_t outer) {
  Limits l;
  l.rows = rows;
  l.streams = 4;
  l.hidden = l.inner = inner;
  l.outer = l.vocab = outer;
  l.heads = 2;
  l.head_dim = 128;
  l.index_heads = 2;
  l.index_dim = 64;
  l.index_topk = 16;
  l.experts = 4;
  l.experts_per_token = 2;
  l.expert_width = 128;
  l.context = 256;
  return l;
}

// All weights in one linear(), by turns to BF16 and to F32.
inline std::vector<Mat> linear_outputs(Side& side, const std::vector<RandomWeight>& weights, const std::vector<bf16>& x,
                                       int64_t rows, int64_t cols) {
  const Mat in = side.rig.put(DType::kBF16, rows, cols, x.data());
  std::vector<Weight> ready;
  std::vector<Product> products;
  std::vector<Mat> outs;
  for (const RandomWeight& w : weights) ready.push_back(side.backend->prepare(w.tensor));
  for (size_t i = 0; i < ready.size(); ++i) {
    outs.push_back(side.rig.mat(i % 2 == 0 ? DType::kBF16 : DType::kF32, rows, ready[i].rows));
    products.push_back({outs.back(), &ready[i]});
  }
  side.backend->linear(products, in);
  return outs;
}

// body(side) -> outputs, on the reference and on the CUDA backend; the latter twice, for the same bits.
template <class Body>
void against_reference(const Limits& limits, Body body, float slack, const CudaOptions& options = {}) {
  Side reference(make_reference_backend(), limits), device(make_cuda_backend(options), limits);
  const std::vector<Mat> want = body(reference), got = body(device), again = body(device);
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    const std::vector<float> values = device.rig.floats(got[i]);
    check_close(reference.rig.floats(want[i]), values, want[i].dtype == DType::kF32, slack);
    CHECK((values == device.rig.floats(again[i])));
  }
}

}  // namespace dsv4::test
