// The cpu backend against the reference: random inputs, every instruction set of this machine with one to three threads,
// and the comparison. Where both do the same arithmetic they must agree in every bit; where sums are taken in another
// order, to one BF16 step beyond what cancellation explains.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/base/error.h"
#include "tests/support/bf16_steps.h"
#include "tests/support/op_check_rig.h"
#include "tests/support/sanitizers.h"

namespace dsv4::test {

inline std::mt19937 generator(20260424);

inline float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(generator); }
inline float normal(float deviation = 1.0f) { return std::normal_distribution<float>(0.0f, deviation)(generator); }

inline std::vector<bf16> random_bf16(int64_t n, float deviation = 1.0f) {
  std::vector<bf16> x(static_cast<size_t>(n));
  for (bf16& v : x) v = to_bf16(normal(deviation));
  return x;
}
inline std::vector<float> random_floats(int64_t n, float deviation = 1.0f) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(deviation);
  return x;
}

// A weight of random bytes with the memory that it lies in; one byte off, since a checkpoint promises no alignment.
struct TestWeight {
  std::vector<uint8_t> bytes, scales;
  HostTensor tensor;

  TestWeight() = default;
  TestWeight(DType dtype, int64_t rows, int64_t cols, int low_scale = 115, int high_scale = 122) {
    tensor = {nullptr, nullptr, dtype, rows, cols};
    bytes.resize(static_cast<size_t>(rows * cols * dtype_bits(dtype) / 8 + 1));
    uint8_t* p = bytes.data() + (dtype == DType::kF32 ? 0 : 1);
    const int64_t n = rows * cols;
    if (dtype == DType::kF32) {
      const std::vector<float> v = random_floats(n, 0.05f);
      std::memcpy(p, v.data(), v.size() * 4);
    } else if (dtype == DType::kBF16) {
      if (reinterpret_cast<uintptr_t>(p) % 2 != 0) --p;
      const std::vector<bf16> v = random_bf16(n, 0.05f);
      std::memcpy(p, v.data(), v.size() * 2);
    } else {
      for (int64_t i = 0; i < n * dtype_bits(dtype) / 8; ++i) {
        p[i] = static_cast<uint8_t>(generator());
        if (dtype == DType::kF8E4M3 && (p[i] & 0x7f) == 0x7f) p[i] = 0;  // no NaN
      }
      const int64_t count = dtype == DType::kFP4 ? rows * (cols / 32) : (rows + 127) / 128 * ((cols + 127) / 128);
      for (int64_t i = 0; i < count; ++i) {
        scales.push_back(static_cast<uint8_t>(std::uniform_int_distribution<int>(low_scale, high_scale)(generator)));
      }
    }
    tensor.data = p;
    tensor.scale = scales.empty() ? nullptr : scales.data();
  }
};

inline Limits limits() {
  Limits l;
  l.rows = 520;
  l.streams = 4;
  l.hidden = 1024;
  l.inner = 2304;
  l.outer = 2304;
  l.vocab = 1000;
  l.heads = 8;
  l.head_dim = 512;
  l.index_heads = 20;
  l.index_dim = 128;
  l.index_topk = 64;
  l.experts = 12;
  l.experts_per_token = 3;
  l.expert_width = 512;
  l.context = 8192;
  return l;
}

struct Bench {
  std::string name;
  std::unique_ptr<Backend> backend;
  Rig rig;
  explicit Bench(const std::string& n, std::unique_ptr<Backend> b) : name(n), backend(std::move(b)), rig(*backend) {
    backend->reserve(limits());
  }
};

inline std::vector<CpuOptions> levels() {
  const std::vector<int> teams = kSanitized ? std::vector<int>{3} : std::vector<int>{1, 2, 3};
  std::vector<CpuOptions> all;
  for (const std::string& isa : cpu_isa_levels()) {
    for (const int threads : teams) all.push_back({threads, isa});
  }
  return all;
}

// body(bench) runs a verb on one backend and returns what it wrote; check(name, expected, got).
using Outputs = std::vector<std::vector<float>>;
using Body = std::function<Outputs(Bench&)>;

enum class Exactness { kBits, kBF16, kF32 };

// A verb that rounds to E4M3 in its middle, as experts does, sums such values to a whole row of output: where one rounding
// flips, some tens of that row's elements move, and of no other's. That is one event, however few rows there are.
inline size_t most_in_one_row(const std::vector<size_t>& beyond, int64_t cols) {
  std::map<size_t, size_t> rows;
  size_t most = 0;
  for (const size_t at : beyond) most = std::max(most, ++rows[at / static_cast<size_t>(cols)]);
  return most;
}

// kBF16: one step, except for at most 2 in 1000 elements, and those by three or by less than `slack` of the largest
// magnitude: a flipped rounding in the middle of a verb. With `flipped_cols`, the columns of a row, up to a sixth of one
// row is not counted among the 2 in 1000 (26 of 192 were seen); its magnitude is.
inline void compare(const std::vector<float>& want, const std::vector<float>& got, Exactness exactness, float slack,
             int64_t flipped_cols) {
  REQUIRE(want.size() == got.size());
  float largest = 0.0f;
  for (const float v : want) largest = std::max(largest, std::fabs(v));
  std::vector<size_t> beyond;
  float worst = 0.0f;
  for (size_t i = 0; i < want.size(); ++i) {
    const bool same = std::memcmp(&want[i], &got[i], 4) == 0 || want[i] == got[i];
    if (same) continue;
    REQUIRE(std::isfinite(got[i]));
    const float off = std::fabs(want[i] - got[i]);
    if (exactness == Exactness::kBits) beyond.push_back(i);
    if (exactness == Exactness::kF32 && off > 2e-5f * std::fabs(want[i]) + slack * largest) beyond.push_back(i);
    if (exactness == Exactness::kBF16 && bf16_steps(want[i], got[i]) > 1) {
      beyond.push_back(i);
      if (bf16_steps(want[i], got[i]) > 3) worst = std::max(worst, off);
    }
  }
  if (exactness == Exactness::kBF16) {
    size_t flipped = 0;
    if (flipped_cols > 0) {
      flipped = std::min(most_in_one_row(beyond, flipped_cols), static_cast<size_t>(flipped_cols / 6));
    }
    const size_t counted = beyond.size() - flipped;
    CHECK(static_cast<double>(counted) <= 0.002 * static_cast<double>(want.size()) + 1);
    CHECK(worst <= slack * largest);
  } else {
    CHECK(beyond.empty());
  }
}

inline void against_reference(const Body& body, Exactness exactness, float slack = 1e-6f, int64_t flipped_cols = 0) {
  Bench reference("reference", make_reference_backend());
  const Outputs want = body(reference);
  Outputs first;
  std::string first_isa;
  for (const CpuOptions& options : levels()) {
    Bench cpu("cpu " + options.isa, make_cpu_backend(options));
    const Outputs got = body(cpu);
    INFO(options.isa << ", " << options.threads << " threads");
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      INFO("output " << i);
      compare(want[i], got[i], exactness, slack, flipped_cols);
    }
    // The number of threads never shows in the bits.
    if (options.isa == first_isa) {
      CHECK((got == first));
    } else {
      first = got;
      first_isa = options.isa;
    }
  }
}

inline Outputs floats(Bench& b, std::initializer_list<Mat> mats) {
  Outputs out;
  for (const Mat& m : mats) out.push_back(b.rig.floats(m));
  return out;
}

Weight ready(Bench& b, const TestWeight& w) { return b.backend->prepare(w.tensor); }

inline std::vector<float> frequencies(int64_t pairs) {
  std::vector<float> f;
  for (int64_t i = 0; i < pairs; ++i) f.push_back(static_cast<float>(std::pow(10000.0, -double(i) / double(pairs))));
  return f;
}

}  // namespace dsv4::test
