// The kernels of rows, residual streams and routing on the executor, held against the reference backend on random
// input of odd shapes: BF16 to 1 ulp on 99.8 % of the elements (nearly all are equal bit for bit), FP32 to 1e-6.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cuda/row_kernels.h"
#include "backends/reference/reference_backend.h"
#include "lib/base/error.h"
#include "tests/simt/fake_cuda.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

// Distance in BF16 values; a NaN is as far from a number as can be, and no distance from a NaN.
int64_t ulps(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b) ? 0 : 0x10000;
  const auto order = [](float x) {
    const int64_t u = to_bf16(x).bits;
    return (u & 0x8000) != 0 ? -(u & 0x7fff) : u;
  };
  return std::abs(order(a) - order(b));
}

// The fake device's memory is the host's, so both sides work on matrices of one rig.
class Bench {
 public:
  explicit Bench(const Limits& limits) : reference(make_reference_backend()), rig(*reference), gpu(0) {
    reference->reserve(limits);
    scratch.reserve(gpu, limits);
  }

  float normal() { return normal_(random_); }
  Mat values(DType dtype, int64_t rows, int64_t cols, const std::function<float()>& next) {
    std::vector<float> x(static_cast<size_t>(rows * cols));
    for (float& v : x) v = next();
    if (dtype == DType::kF32) return rig.put(dtype, rows, cols, x.data());
    std::vector<bf16> narrow(x.size());
    for (size_t i = 0; i < x.size(); ++i) narrow[i] = to_bf16(x[i]);
    return rig.put(dtype, rows, cols, narrow.data());
  }
  Mat random(DType dtype, int64_t rows, int64_t cols, float scale = 1.0f) {
    return values(dtype, rows, cols, [&] { return scale * normal(); });
  }
  Mat integers(int64_t rows, int64_t cols, int32_t below) {
    std::vector<int32_t> x(static_cast<size_t>(rows * cols));
    for (int32_t& v : x) v = static_cast<int32_t>(random_() % static_cast<uint32_t>(below));
    return rig.put(DType::kI32, rows, cols, x.data());
  }
  Mat copy(const Mat& m) { return rig.put(m.dtype, m.rows, m.cols, m.data); }
  static Weight weight(const Mat& m) {
    Weight w;
    w.data = m.data;
    w.dtype = m.dtype;
    w.rows = m.rows;
    w.cols = m.cols;
    return w;
  }
  Weight random_weight(DType dtype, int64_t rows, int64_t cols, float scale = 1.0f) {
    return weight(random(dtype, rows, cols, scale));
  }
  std::mt19937& engine() { return random_; }

  std::unique_ptr<Backend> reference;
  Rig rig;
  cuda::Gpu gpu;
  cuda::RowScratch scratch;

 private:
  std::mt19937 random_{11};
  std::normal_distribution<float> normal_;
};

void same_bytes(Bench& b, const Mat& got, const Mat& want) {
  b.gpu.synchronize();
  const size_t bytes = static_cast<size_t>(want.rows * want.cols * dtype_bits(want.dtype) / 8);
  CHECK(std::memcmp(got.data, want.data, bytes) == 0);
}

// `differing`: elements that may be another BF16 than the reference's.
void close_bf16(Bench& b, const Mat& got, const Mat& want, double differing = 0.002) {
  b.gpu.synchronize();
  const std::vector<float> x = b.rig.floats(got), y = b.rig.floats(want);
  int64_t other = 0, beyond = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const int64_t distance = ulps(x[i], y[i]);
    other += distance != 0 ? 1 : 0;
    beyond += distance > 1 ? 1 : 0;
  }
  CHECK(static_cast<double>(beyond) <= 0.002 * static_cast<double>(y.size()));
  CHECK_MESSAGE(static_cast<double>(other) <= differing * static_cast<double>(y.size()) + 1,
                other << " of " << y.size() << " differ");
}

void close_f32(Bench& b, const Mat& got, const Mat& want) {
  b.gpu.synchronize();
  const std::vector<float> x = b.rig.floats(got), y = b.rig.floats(want);
  float largest = 0, worst = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    largest = std::max(largest, std::fabs(y[i]));
    worst = std::isnan(x[i]) == std::isnan(y[i]) ? std::max(worst, std::fabs(x[i] - y[i])) : INFINITY;
  }
  CHECK_MESSAGE(worst <= 1e-6f * largest, worst << " off, of " << largest);
}

Limits limits(int64_t rows, int64_t hidden, int64_t streams = 4, int64_t experts = 8, int64_t picks = 2) {
  Limits l;
  l.rows = rows;
  l.streams = streams;
  l.hidden = l.inner = l.outer = hidden;
  l.vocab = 64;
  l.heads = 8;
  l.head_dim = 512;
  l.index_dim = 128;
  l.experts = experts;
  l.experts_per_token = picks;
  return l;
}

}  // namespace

TEST_CASE("simt rows: embedding, every format") {
  for (const int64_t n : {64, 96, 256}) {
    Bench b(limits(17, n));
    std::vector<uint8_t> codes(static_cast<size_t>(200 * n)), scales(static_cast<size_t>(200 * n));
    for (uint8_t& c : codes) c = static_cast<uint8_t>(b.engine()() % 127 + (b.engine()() % 2) * 128);
    for (uint8_t& s : scales) s = static_cast<uint8_t>(110 + b.engine()() % 30);
    Weight e4m3{codes.data(), scales.data(), DType::kF8E4M3, 200, n, (n + 127) / 128};
    Weight fp4{codes.data(), scales.data(), DType::kFP4, 200, n, (n + 31) / 32};
    for (const Weight& table :
         {b.random_weight(DType::kBF16, 200, n), b.random_weight(DType::kF32, 200, n), e4m3, fp4}) {
      for (const int64_t m : {1, 4}) {
        CAPTURE(n);
        CAPTURE(dtype_name(table.dtype));
        const Mat tokens = b.integers(17, 1, 200), X = b.rig.mat(DType::kBF16, 17, m * n), want = b.copy(X);
        cuda::embed_rows(b.gpu, X, tokens, table);
        b.reference->embed(want, tokens, table);
        same_bytes(b, X, want);
      }
    }
  }
}

TEST_CASE("simt rows: weighted norm, in place too") {
  for (const int64_t n : {8, 64, 96, 1536, 4096, 7168}) {
    for (const int64_t rows : {1, 3, 17}) {
      CAPTURE(n);
      CAPTURE(rows);
      Bench b(limits(rows, n));
      for (const DType dtype : {DType::kBF16, DType::kF32}) {
        const Weight w = b.random_weight(dtype, 1, n);
        const Mat x = b.random(DType::kBF16, rows, n, 3.0f), y = b.copy(x), want = b.copy(x);
        b.reference->norm(want, x, w, 1e-6f);
        cuda::norm_rows(b.gpu, y, x, w, 1e-6f);
        close_bf16(b, y, want, 1e-4);
        cuda::norm_rows(b.gpu, x, x, w, 1e-6f);
        same_bytes(b, x, y);
      }
    }
  }
}

TEST_CASE("simt rows: merge") {
  Bench b(limits(17, 96));
  for (const int64_t m : {1, 4}) {
    const Mat e = b.random(DType::kBF16, 17, 96), h = b.random(DType::kBF16, 17, m * 96);
    const Mat X = b.rig.mat(DType::kBF16, 17, m * 96), want = b.copy(X);
    cuda::merge_streams(b.gpu, X, e, h);
    b.reference->merge(want, e, h);
    same_bytes(b, X, want);
  }
}

TEST_CASE("simt rows: angles as far as a million") {
  Bench b(limits(64, 64));
  const Mat positions = b.integers(64, 1, 1048576), frequencies = b.values(DType::kF32, 1, 32, [&] {
    return std::pow(10000.0f, -static_cast<float>(b.engine()() % 1000) / 1000.0f);
  });
  const Mat table = b.rig.mat(DType::kF32, 64, 64), want = b.copy(table);
  cuda::rope_angles(b.gpu, table, positions, frequencies);
  b.reference->rope(want, positions, frequencies);
  b.gpu.synchronize();
  const std::vector<float> x = b.rig.floats(table), y = b.rig.floats(want);
  float worst = 0;
  for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::fabs(x[i] - y[i]));
  CHECK(worst <= 1e-7f);
}

TEST_CASE("simt rows: queries") {
  struct Shape {
    int64_t rows, heads, dim, turned;
    bool rms, hadamard;
  };
  for (const Shape& s :
       {Shape{3, 2, 512, 64, true, false}, Shape{17, 3, 192, 64, true, false}, Shape{1, 5, 128, 64, true, false},
        Shape{3, 7, 384, 96, true, false}, Shape{3, 5, 256, 10, true, false}, Shape{3, 5, 72, 64, false, false},
        Shape{17, 4, 128, 64, false, true}, Shape{3, 3, 64, 64, false, true}, Shape{3, 3, 16, 8, false, true},
        Shape{3, 2, 512, 64, true, true}}) {
    CAPTURE(s.dim);
    CAPTURE(s.hadamard);
    Limits l = limits(s.rows, 64);
    l.heads = s.heads;
    l.head_dim = s.dim;
    Bench b(l);
    const Mat q = b.random(DType::kBF16, s.rows, s.heads * s.dim), want = b.copy(q);
    const Mat frequencies = b.values(DType::kF32, 1, s.turned / 2, [&] { return std::fabs(b.normal()); });
    const Mat rope = b.rig.mat(DType::kF32, s.rows, s.turned);
    b.reference->rope(rope, b.integers(s.rows, 1, 5000), frequencies);
    const Query options{s.heads, s.dim, s.rms, s.hadamard, 1e-6f};
    b.reference->query(want, rope, options);
    cuda::turn_queries(b.gpu, q, rope, options);
    if (s.rms) {
      close_bf16(b, q, want, 1e-3);
    } else {
      same_bytes(b, q, want);
    }
  }
}

namespace {

struct StreamCase {
  int64_t rows, n, m;
};

HyperConnection connection(Bench& b, const StreamCase& c, int64_t mixes, bool normed) {
  HyperConnection hc;
  hc.fn = b.random_weight(DType::kF32, mixes, c.m * c.n, 1.5f / std::sqrt(static_cast<float>(c.m * c.n)));
  hc.base = b.random_weight(DType::kF32, 1, mixes);
  hc.scale = b.random_weight(DType::kF32, 1, 3);
  if (normed) hc.norm = b.random_weight(DType::kBF16, 1, c.n);
  return hc;
}

void check_streams(const StreamCase& c) {
  CAPTURE(c.rows);
  CAPTURE(c.n);
  CAPTURE(c.m);
  Bench b(limits(c.rows, c.n, c.m));
  const int64_t m = c.m, mixed = m + m * m;
  const Mat X = b.random(DType::kBF16, c.rows, m * c.n), y = b.random(DType::kBF16, c.rows, c.n);
  const Mat x = b.rig.mat(DType::kBF16, c.rows, c.n), want_x = b.copy(x);
  const Mat mix = b.rig.mat(DType::kF32, c.rows, mixed), want_mix = b.copy(mix);
  for (const bool normed : {false, true}) {
    const HyperConnection hc = connection(b, c, m + mixed, normed);
    cuda::mix_streams(b.gpu, b.scratch, x, mix, X, Mat{}, hc);
    b.reference->hc_pre(want_x, want_mix, X, hc);
    close_bf16(b, x, want_x);
    close_f32(b, mix, want_mix);
  }
  // One verb, or two: the same bits.
  const HyperConnection next = connection(b, c, m + mixed, true);
  const Mat spread = b.copy(X), fused = b.copy(X), want = b.copy(X), fused_x = b.copy(x), fused_mix = b.copy(mix);
  cuda::spread_streams(b.gpu, spread, y, mix);
  b.gpu.synchronize();
  b.reference->hc_post(want, y, mix);
  same_bytes(b, spread, want);
  cuda::mix_streams(b.gpu, b.scratch, fused_x, fused_mix, fused, y, next);
  cuda::mix_streams(b.gpu, b.scratch, x, mix, spread, Mat{}, next);
  same_bytes(b, fused, want);
  same_bytes(b, fused_x, x);
  same_bytes(b, fused_mix, mix);

  const HyperConnection head = connection(b, c, m, true);
  cuda::head_streams(b.gpu, b.scratch, x, X, head);
  b.reference->hc_head(want_x, X, head);
  close_bf16(b, x, want_x);
}

}  // namespace

TEST_CASE("simt rows: residual streams") {
  for (const int64_t n : {8, 64, 96, 160}) {
    for (const int64_t rows : {1, 3, 16, 17, 40}) check_streams({rows, n, 4});
  }
  for (const int64_t m : {1, 2, 3, 5, 8}) {
    check_streams({3, 96, m});
    check_streams({35, 96, m});
  }
}

TEST_CASE("simt rows: residual streams as wide as Flash and Pro") {
  check_streams({1, 4096, 4});
  check_streams({2, 7168, 4});
  check_streams({33, 4096, 4});
}

TEST_CASE("simt rows: columns cut coarsely where rows are many") {
  simt::fake_device().processors = 1;
  check_streams({70, 520, 4});
  check_streams({40, 304, 8});
  simt::reset_fake_cuda();
}

namespace {

struct RouteCase {
  int64_t rows, n, experts, picks;
};

// compare_weights: not where they are NaN.
void check_route(Bench& b, const RouteCase& c, const Gate& gate, const Mat& x) {
  const Mat tokens = b.integers(c.rows, 1, 64);
  const Route got{b.rig.mat(DType::kI32, c.rows, c.picks), b.rig.mat(DType::kF32, c.rows, c.picks)};
  const Route want{b.copy(got.experts), b.copy(got.weights)};
  cuda::route_rows(b.gpu, b.scratch, got, x, tokens, gate);
  b.reference->route(want, x, tokens, gate);
  same_bytes(b, got.experts, want.experts);
  close_f32(b, got.weights, want.weights);
}

}  // namespace

TEST_CASE("simt rows: routing by what is learned") {
  for (const RouteCase& c : {RouteCase{1, 64, 4, 2}, RouteCase{3, 96, 6, 3}, RouteCase{17, 160, 33, 6},
                             RouteCase{20, 64, 512, 16}, RouteCase{70, 200, 256, 6}, RouteCase{1, 4096, 256, 6},
                             RouteCase{2, 7168, 384, 8}, RouteCase{130, 96, 100, 6}}) {
    Bench b(limits(c.rows, c.n, 4, c.experts, c.picks));
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      for (const Scoring scoring : {Scoring::kSqrtSoftplus, Scoring::kSigmoid, Scoring::kSoftmax}) {
        CAPTURE(c.rows);
        CAPTURE(c.experts);
        CAPTURE(static_cast<int>(scoring));
        Gate gate;
        gate.weight = b.random_weight(dtype, c.experts, c.n, 1.5f / std::sqrt(static_cast<float>(c.n)));
        if (scoring != Scoring::kSigmoid) gate.bias = b.random_weight(DType::kF32, 1, c.experts, 0.3f);
        gate.scoring = scoring;
        gate.normalise = dtype == DType::kBF16;
        gate.scale = 2.5f;
        check_route(b, c, gate, b.random(DType::kBF16, c.rows, c.n));
      }
    }
  }
}

TEST_CASE("simt rows: routing by the token") {
  const RouteCase c{20, 64, 40, 6};
  Bench b(limits(c.rows, c.n, 4, c.experts, c.picks));
  Gate gate;
  gate.weight = b.random_weight(DType::kBF16, c.experts, c.n, 0.2f);
  std::vector<int64_t> wide(64 * 6);
  std::vector<int32_t> slim(64 * 6);
  for (size_t i = 0; i < wide.size(); ++i)
    slim[i] = static_cast<int32_t>(wide[i] = b.engine()() % 44 - 2);  // hostile too
  gate.hash = {wide.data(), nullptr, DType::kI64, 64, 6, 0};
  check_route(b, c, gate, b.random(DType::kBF16, c.rows, c.n));
  gate.hash = {slim.data(), nullptr, DType::kI32, 64, 6, 0};
  check_route(b, c, gate, b.random(DType::kBF16, c.rows, c.n));
}

TEST_CASE("simt rows: routing among equals and NaN") {
  for (const int64_t rows : {3, 40}) {
    const RouteCase c{rows, 64, 40, 6};
    Bench b(limits(c.rows, c.n, 4, c.experts, c.picks));
    Gate gate;
    gate.weight = b.weight(b.values(DType::kBF16, c.experts, c.n, [] { return 0.125f; }));  // all equal
    const Mat x = b.random(DType::kBF16, c.rows, c.n);
    check_route(b, c, gate, x);
    std::vector<float> bias(40, 0.0f);
    bias[2] = bias[7] = std::numeric_limits<float>::quiet_NaN();
    bias[4] = -std::numeric_limits<float>::infinity();
    gate.bias = {bias.data(), nullptr, DType::kF32, 1, 40, 0};
    check_route(b, c, gate, x);
    std::fill(bias.begin() + 3, bias.end(), std::numeric_limits<float>::quiet_NaN());
    check_route(b, c, gate, x);
    x.row<bf16>(1)[5] = to_bf16(std::numeric_limits<float>::quiet_NaN());  // all scores of a row
    check_route(b, c, gate, x);
  }
}

TEST_CASE("simt rows: shapes that there is no room for are refused") {
  const cuda::Gpu gpu(0);
  cuda::RowScratch scratch;
  const auto status = [&](Limits l) {
    try {
      scratch.reserve(gpu, l);
    } catch (const Error& e) {
      return e.status();
    }
    return Status::kOk;
  };
  CHECK(status(limits(4, 64)) == Status::kOk);
  CHECK(status(limits(4, 64, 9)) == Status::kUnsupported);
  CHECK(status(limits(4, 60)) == Status::kUnsupported);
  CHECK(status(limits(4, 64, 4, 513)) == Status::kUnsupported);
  CHECK(status(limits(4, 64, 4, 64, 17)) == Status::kUnsupported);
  Limits l = limits(4, 64);
  l.head_dim = 576;
  CHECK(status(l) == Status::kUnsupported);
}

}  // namespace dsv4::test
