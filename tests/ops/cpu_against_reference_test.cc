// The cpu backend against the reference on shapes that the goldens do not have: rows and columns that end in the middle
// of a vector, of a tile and of a block; several runs; every instruction set of this machine; one to three threads.
// Both are fed the same random inputs. Where both do the same arithmetic they must agree in every bit; where sums are
// taken in another order, to one BF16 step beyond what cancellation explains.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/base/error.h"
#include "tests/support/op_check_rig.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using namespace dsv4;

namespace {

std::mt19937 generator(20260424);

float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(generator); }
float normal(float deviation = 1.0f) { return std::normal_distribution<float>(0.0f, deviation)(generator); }

std::vector<bf16> random_bf16(int64_t n, float deviation = 1.0f) {
  std::vector<bf16> x(static_cast<size_t>(n));
  for (bf16& v : x) v = to_bf16(normal(deviation));
  return x;
}
std::vector<float> random_floats(int64_t n, float deviation = 1.0f) {
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

Limits limits() {
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
  test::Rig rig;
  explicit Bench(const std::string& n, std::unique_ptr<Backend> b) : name(n), backend(std::move(b)), rig(*backend) {
    backend->reserve(limits());
  }
};

std::vector<CpuOptions> levels() {
  std::vector<CpuOptions> all;
  for (const std::string& isa : cpu_isa_levels()) {
    for (int threads = 1; threads <= 3; ++threads) all.push_back({threads, isa});
  }
  return all;
}

// body(bench) runs a verb on one backend and returns what it wrote; check(name, expected, got).
using Outputs = std::vector<std::vector<float>>;
using Body = std::function<Outputs(Bench&)>;

int64_t steps(float a, float b) {
  const auto order = [](float x) {
    const int32_t u = to_bf16(x).bits;
    return (u & 0x8000) != 0 ? -(u & 0x7fff) : u & 0x7fff;
  };
  return std::abs(order(a) - order(b));
}

enum class Exactness { kBits, kBF16, kF32 };

// kBF16: one step, except for at most 2 in 1000 elements, and those by three or by less than `slack` of the largest
// magnitude: a flipped rounding in the middle of a verb.
void compare(const std::vector<float>& want, const std::vector<float>& got, Exactness exactness, float slack) {
  REQUIRE(want.size() == got.size());
  float largest = 0.0f;
  for (const float v : want) largest = std::max(largest, std::fabs(v));
  size_t beyond = 0;
  float worst = 0.0f;
  for (size_t i = 0; i < want.size(); ++i) {
    const bool same = std::memcmp(&want[i], &got[i], 4) == 0 || want[i] == got[i];
    if (same) continue;
    REQUIRE(std::isfinite(got[i]));
    const float off = std::fabs(want[i] - got[i]);
    if (exactness == Exactness::kBits) ++beyond;
    if (exactness == Exactness::kF32 && off > 2e-5f * std::fabs(want[i]) + slack * largest) ++beyond;
    if (exactness == Exactness::kBF16 && steps(want[i], got[i]) > 1) {
      ++beyond;
      if (steps(want[i], got[i]) > 3) worst = std::max(worst, off);
    }
  }
  if (exactness == Exactness::kBF16) {
    CHECK(static_cast<double>(beyond) <= 0.002 * static_cast<double>(want.size()) + 1);
    CHECK(worst <= slack * largest);
  } else {
    CHECK(beyond == 0);
  }
}

void against_reference(const Body& body, Exactness exactness, float slack = 1e-6f) {
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
      compare(want[i], got[i], exactness, slack);
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

Outputs floats(Bench& b, std::initializer_list<Mat> mats) {
  Outputs out;
  for (const Mat& m : mats) out.push_back(b.rig.floats(m));
  return out;
}

Weight ready(Bench& b, const TestWeight& w) { return b.backend->prepare(w.tensor); }

std::vector<float> frequencies(int64_t pairs) {
  std::vector<float> f;
  for (int64_t i = 0; i < pairs; ++i) f.push_back(static_cast<float>(std::pow(10000.0, -double(i) / double(pairs))));
  return f;
}

}  // namespace

TEST_CASE("linear: formats, rows and columns") {
  const std::vector<int64_t> row_counts = {1, 2, 3, 4, 5, 7, 8, 9, 13, 17, 64, 129, 300, 512};
  const std::vector<int64_t> col_counts = {192, 1024, 96, 1344, 128, 32, 2304};
  size_t turn = 0;
  for (const int64_t rows : row_counts) {
    const int64_t cols = rows == 512 ? 192 : col_counts[turn++ % col_counts.size()];
    CAPTURE(rows);
    CAPTURE(cols);
    const std::vector<bf16> x = random_bf16(rows * cols, uniform(0.01f, 30.0f));
    const TestWeight e4m3(DType::kF8E4M3, 131, cols), fp4(DType::kFP4, 70, cols), bf(DType::kBF16, 37, cols),
        f32(DType::kF32, 24, cols);
    against_reference(
        [&](Bench& b) {
          const Mat in = b.rig.put(DType::kBF16, rows, cols, x.data());
          const Weight w[4] = {ready(b, e4m3), ready(b, fp4), ready(b, bf), ready(b, f32)};
          const Mat out[5] = {b.rig.mat(DType::kBF16, rows, 131), b.rig.mat(DType::kF32, rows, 70),
                              b.rig.mat(DType::kF32, rows, 37), b.rig.mat(DType::kF32, rows, 24),
                              b.rig.mat(DType::kF32, rows, 131)};
          const Product products[5] = {{out[0], &w[0]}, {out[1], &w[1]}, {out[2], &w[2]}, {out[3], &w[3]},
                                       {out[4], &w[0]}};
          b.backend->linear(products, in);
          return floats(b, {out[1], out[2], out[3], out[4]});
        },
        Exactness::kF32);
    against_reference(
        [&](Bench& b) {
          const Mat in = b.rig.put(DType::kBF16, rows, cols, x.data());
          const Weight w = ready(b, e4m3);
          const Mat out = b.rig.mat(DType::kBF16, rows, 131);
          const Product product{out, &w};
          b.backend->linear({&product, 1}, in);
          return floats(b, {out});
        },
        Exactness::kBF16);
  }
}

TEST_CASE("linear: input rows in blocks, some of them and weights that end within a tile") {
  const std::vector<int64_t> row_counts = {5, 6, 11, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 100, 513};
  const std::vector<int64_t> heights = {33, 1, 16, 300, 31, 64}, col_counts = {32, 544, 288, 1056, 160, 640, 256};
  size_t turn = 0;
  for (const int64_t rows : row_counts) {
    const int64_t height = heights[turn % heights.size()], cols = col_counts[turn % col_counts.size()];
    ++turn;
    CAPTURE(rows);
    CAPTURE(height);
    CAPTURE(cols);
    const std::vector<bf16> x = random_bf16(rows * cols);
    const TestWeight w[3] = {{DType::kF8E4M3, height, cols}, {DType::kFP4, height, cols}, {DType::kBF16, height, cols}};
    against_reference(
        [&](Bench& b) {
          const Mat in = b.rig.put(DType::kBF16, rows, cols, x.data());
          std::vector<Mat> out;
          std::vector<Weight> weights;
          std::vector<Product> products;
          for (const TestWeight& t : w) {
            weights.push_back(ready(b, t));
            out.push_back(b.rig.mat(DType::kF32, rows, height));
          }
          for (size_t i = 0; i < 3; ++i) products.push_back({out[i], &weights[i]});
          b.backend->linear(products, in);
          return floats(b, {out[0], out[1], out[2]});
        },
        Exactness::kF32);
  }
}

// The levels that widen by shifts alone take the code for 480.
TEST_CASE("linear: where codes are looked up, a NaN among E4M3's makes its row's products NaN, and no other") {
  for (const int64_t rows : {1, 4, 12, 40, 80}) {
    TestWeight e4m3(DType::kF8E4M3, 40, 256);
    const_cast<uint8_t*>(static_cast<const uint8_t*>(e4m3.tensor.data))[17 * 256 + 131] = 0xff;
    const std::vector<bf16> x(static_cast<size_t>(rows) * 256, to_bf16(1.0f));
    for (const CpuOptions& options : levels()) {
      if (options.isa != "avx512-bf16" && options.isa != "amx") continue;
      INFO(options.isa << ", " << options.threads << " threads, " << rows << " rows");
      Bench b("cpu " + options.isa, make_cpu_backend(options));
      const Mat in = b.rig.put(DType::kBF16, rows, 256, x.data()), out = b.rig.mat(DType::kF32, rows, 40);
      const Weight w = ready(b, e4m3);
      const Product product{out, &w};
      b.backend->linear({&product, 1}, in);
      const std::vector<float> got = b.rig.floats(out);
      int64_t wrong = 0;
      for (size_t i = 0; i < got.size(); ++i) wrong += std::isnan(got[i]) != (i % 40 == 17);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("linear: every code of both formats is exact, subnormal ones included") {
  // A row that picks one column out makes the product one weight: no sum, so every bit must be right. Weights of
  // E4M3's subnormals and scales at both ends of what is sane and beyond it.
  for (const int scale : {1, 9, 10, 79, 80, 127, 180, 246}) {
    for (const int64_t rows : {1, 3, 12, 40}) {
      CAPTURE(scale);
      CAPTURE(rows);
      TestWeight e4m3(DType::kF8E4M3, 256, 128, scale, scale), fp4(DType::kFP4, 16, 128, scale, scale);
      auto* codes = const_cast<uint8_t*>(static_cast<const uint8_t*>(e4m3.tensor.data));
      for (int i = 0; i < 256; ++i) codes[i * 128 + 77] = static_cast<uint8_t>((i & 0x7f) == 0x7f ? 0 : i);
      auto* nibbles = const_cast<uint8_t*>(static_cast<const uint8_t*>(fp4.tensor.data));
      for (int i = 0; i < 16; ++i) nibbles[i * 64 + 38] = static_cast<uint8_t>(i << 4 | 3);
      std::vector<bf16> x(static_cast<size_t>(rows) * 128);
      for (int64_t r = 0; r < rows; ++r) x[static_cast<size_t>(r) * 128 + 77] = to_bf16(r == 0 ? 1.0f : -1.5f);
      against_reference(
          [&](Bench& b) {
            const Mat in = b.rig.put(DType::kBF16, rows, 128, x.data());
            const Weight w[2] = {ready(b, e4m3), ready(b, fp4)};
            const Mat out[2] = {b.rig.mat(DType::kF32, rows, 256), b.rig.mat(DType::kF32, rows, 16)};
            const Product products[2] = {{out[0], &w[0]}, {out[1], &w[1]}};
            b.backend->linear(products, in);
            return floats(b, {out[0], out[1]});
          },
          Exactness::kBits);
    }
  }
}

TEST_CASE("linear: one row times FP4, whatever the sizes of the row's blocks") {
  struct Case {
    int64_t cols;
    std::vector<float> deviations;  // of one block of 128 columns after the other, in turns; 0: zeros
  };
  const std::vector<Case> cases = {{128, {1.0f}},
                                   {1152, {1.0f}},
                                   {2304, {0x1p-30f, 0.0f, 1.0f, 0x1p20f}},
                                   {2048, {0.0f}},
                                   {1024, {1e-30f}},
                                   {1024, {1.0f, 1e-36f}},
                                   {1024, {1e15f, 1e-30f}},
                                   {512, {1e18f, 1.0f}},
                                   {1024, {0x1p-12f, 0x1p-9f}}};
  for (const Case& c : cases) {
    CAPTURE(c.cols);
    CAPTURE(c.deviations.front());
    std::vector<bf16> x;
    for (int64_t block = 0; block < c.cols / 128; ++block) {
      const std::vector<bf16> part = random_bf16(128, c.deviations[static_cast<size_t>(block) % c.deviations.size()]);
      x.insert(x.end(), part.begin(), part.end());
    }
    const TestWeight fp4(DType::kFP4, 70, c.cols);
    against_reference(
        [&](Bench& b) {
          const Mat in = b.rig.put(DType::kBF16, 1, c.cols, x.data());
          const Weight w = ready(b, fp4);
          const Mat out = b.rig.mat(DType::kF32, 1, 70);
          const Product product{out, &w};
          b.backend->linear({&product, 1}, in);
          return floats(b, {out});
        },
        Exactness::kF32);
  }
}

TEST_CASE("logits and project_out") {
  for (const int64_t rows : {1, 2, 6, 33}) {
    CAPTURE(rows);
    const int64_t heads = 3, dim = 192, groups = 3, rank = 96, hidden = 192;
    const std::vector<bf16> o = random_bf16(rows * heads * dim), x = random_bf16(rows * hidden);
    const TestWeight wo_a(DType::kF8E4M3, groups * rank, heads * dim / groups),
        wo_b(DType::kF8E4M3, hidden, groups * rank), plain(DType::kBF16, groups * rank, heads * dim / groups),
        head(DType::kBF16, 1000, hidden);
    against_reference(
        [&](Bench& b) {
          const Mat out = b.rig.mat(DType::kF32, rows, 1000);
          b.backend->logits(out, b.rig.put(DType::kBF16, rows, hidden, x.data()), ready(b, head));
          return floats(b, {out});
        },
        Exactness::kF32);
    for (const TestWeight* first : {&wo_a, &plain}) {
      against_reference(
          [&](Bench& b) {
            const Mat in = b.rig.put(DType::kBF16, rows, heads * dim, o.data());
            const Mat low = b.rig.mat(DType::kBF16, rows, groups * rank), y = b.rig.mat(DType::kBF16, rows, hidden);
            b.backend->project_out(y, low, in, ready(b, *first), ready(b, wo_b), groups);
            return floats(b, {low});
          },
          Exactness::kBF16);
    }
  }
}

TEST_CASE("residual streams") {
  for (const int64_t rows : {1, 2, 5, 17, 129}) {
    for (const int64_t n : {192, 1024, 40}) {
      CAPTURE(rows);
      CAPTURE(n);
      const int64_t m = 4;
      const std::vector<bf16> X = random_bf16(rows * m * n), y = random_bf16(rows * n), h = random_bf16(rows * m * n);
      const TestWeight fn(DType::kF32, 24, m * n), base(DType::kF32, 1, 24), scale(DType::kF32, 1, 3),
          norm(DType::kBF16, 1, n), head_fn(DType::kF32, 4, m * n);
      against_reference(
          [&](Bench& b) {
            HyperConnection hc;
            hc.fn = ready(b, fn), hc.base = ready(b, base), hc.scale = ready(b, scale), hc.norm = ready(b, norm);
            const Mat in = b.rig.put(DType::kBF16, rows, m * n, X.data()), out = b.rig.mat(DType::kBF16, rows, n);
            const Mat mix = b.rig.mat(DType::kF32, rows, 20);
            b.backend->hc_pre(out, mix, in, hc);
            HyperConnection head = hc;
            head.fn = ready(b, head_fn);
            const Mat last = b.rig.mat(DType::kBF16, rows, n);
            b.backend->hc_head(last, in, head);
            const Mat merged = b.rig.mat(DType::kBF16, rows, m * n),
                      rows_y = b.rig.put(DType::kBF16, rows, n, y.data());
            b.backend->merge(merged, rows_y, b.rig.put(DType::kBF16, rows, m * n, h.data()));
            const Mat normed = b.rig.mat(DType::kBF16, rows, n);
            b.backend->norm(normed, rows_y, hc.norm, 1e-6f);
            return floats(b, {out, last, merged, normed});
          },
          Exactness::kBF16, 1e-5f);
      const std::vector<float> mix = random_floats(rows * 20, 0.5f);
      against_reference(
          [&](Bench& b) {
            const Mat in = b.rig.put(DType::kBF16, rows, m * n, X.data());
            b.backend->hc_post(in, b.rig.put(DType::kBF16, rows, n, y.data()),
                               b.rig.put(DType::kF32, rows, 20, mix.data()));
            return floats(b, {in});
          },
          Exactness::kBF16, 1e-5f);
      against_reference(
          [&](Bench& b) {
            HyperConnection hc;
            hc.fn = ready(b, fn), hc.base = ready(b, base), hc.scale = ready(b, scale);
            const Mat in = b.rig.put(DType::kBF16, rows, m * n, X.data()), out = b.rig.mat(DType::kBF16, rows, n);
            const Mat to = b.rig.mat(DType::kF32, rows, 20);
            b.backend->hc_pre(out, to, in, hc);
            return floats(b, {to});
          },
          Exactness::kF32, 1e-5f);
    }
  }
}

TEST_CASE("queries") {
  for (const int64_t rows : {1, 3, 40}) {
    for (const bool index : {false, true}) {
      const int64_t heads = index ? 20 : 3, dim = index ? 128 : 192;
      CAPTURE(rows);
      CAPTURE(index);
      const std::vector<bf16> q = random_bf16(rows * heads * dim);
      against_reference(
          [&](Bench& b) {
            const Mat in = b.rig.put(DType::kBF16, rows, heads * dim, q.data());
            Query options;
            options.heads = heads, options.head_dim = dim, options.rms = !index, options.hadamard = index;
            b.backend->query(in, b.rig.rope_table(70000, rows, frequencies(32)), options);
            return floats(b, {in});
          },
          // A flip at a quantisation of E2M1 is as large as the grid is coarse, but rare.
          Exactness::kBF16, index ? 0.3f : 1e-2f);
    }
  }
}

namespace {

struct Shape {
  int ratio;
  int64_t heads, dim, index_dim, index_heads, window;
};

// Two sequences in steps of different lengths through append, compress, index and attend.
Outputs attention(Bench& b, const Shape& s, const std::vector<std::vector<int64_t>>& lengths, uint32_t seed) {
  std::mt19937 before = generator;
  generator.seed(seed);
  StateShape shape;
  shape.layers = {{s.ratio, s.dim, 64, s.index_dim}};
  shape.window = s.window;
  shape.max_rows = 520;
  shape.context = 2048;
  std::vector<std::unique_ptr<SequenceState>> states;
  for (size_t i = 0; i < lengths[0].size(); ++i) states.push_back(b.backend->make_state(shape));
  const TestWeight norm(DType::kBF16, 1, s.dim), index_norm(DType::kBF16, 1, 128), sink(DType::kF32, 1, s.heads),
      ape(DType::kF32, std::max(s.ratio, 1), s.ratio == 4 ? 2 * s.dim : s.dim), index_ape(DType::kF32, 4, 2 * 128);
  const std::vector<float> f = frequencies(32);
  std::vector<int64_t> position(states.size(), 0);
  Outputs out;
  for (const std::vector<int64_t>& step : lengths) {
    std::vector<Run> runs;
    std::vector<int32_t> positions;
    int64_t rows = 0;
    for (size_t i = 0; i < step.size(); ++i) {
      runs.push_back({states[i].get(), rows, step[i], position[i]});
      for (int64_t p = 0; p < step[i]; ++p) positions.push_back(static_cast<int32_t>(position[i] + p));
      rows += step[i];
      position[i] += step[i];
    }
    const Cache cache{runs, 0};
    const auto bf = [&](int64_t cols) { return b.rig.put(DType::kBF16, rows, cols, random_bf16(rows * cols).data()); };
    const auto f32 = [&](int64_t cols) {
      return b.rig.put(DType::kF32, rows, cols, random_floats(rows * cols).data());
    };
    const Mat table = b.rig.rope_table(positions, f);
    Append append;
    append.norm = ready(b, norm);
    b.backend->append(cache, bf(s.dim), table, append);
    Mat top;
    if (s.ratio != 0) {
      Compressor c;
      c.ratio = s.ratio, c.width = s.dim, c.ape = ready(b, ape), c.norm = ready(b, norm);
      c.frequencies = b.rig.put(DType::kF32, 1, 32, f.data());
      const int64_t width = s.ratio == 4 ? 2 * s.dim : s.dim;
      const Mat k = f32(width), z = f32(width);
      b.backend->compress(cache, k, z, c);
      if (s.ratio == 4) {
        c.index = true, c.width = 128, c.ape = ready(b, index_ape), c.norm = ready(b, index_norm);
        const Mat ik = f32(256), iz = f32(256);
        b.backend->compress(cache, ik, iz, c);
        top = b.rig.mat(DType::kI32, rows, 64);
        const Mat iq = bf(s.index_heads * 128), iw = bf(s.index_heads);
        Query query;
        query.heads = s.index_heads, query.head_dim = 128, query.hadamard = true;
        b.backend->query(iq, table, query);
        b.backend->index(top, cache, iq, iw, {s.index_heads, 128});
      }
    }
    Attention options;
    options.heads = s.heads, options.head_dim = s.dim, options.window = s.window, options.ratio = s.ratio;
    options.sink = ready(b, sink);
    const Mat o = b.rig.mat(DType::kBF16, rows, s.heads * s.dim);
    b.backend->attend(o, cache, bf(s.heads * s.dim), top, table, options);
    out.push_back(b.rig.floats(o));
    b.backend->commit(runs);
  }
  generator = before;
  return out;
}

}  // namespace

TEST_CASE("attention, compressor and indexer over several sequences and steps") {
  const std::vector<std::vector<int64_t>> lengths = {{129, 5}, {1, 1}, {1, 300}, {17, 0}, {3, 64}, {127, 1}, {1, 2}};
  // A flip in a stored key moves what attends to it, so a few elements may be off by more than a step.
  SUBCASE("window only, 3 heads of 192") {
    against_reference(
        [&](Bench& b) {
          return attention(b, {0, 3, 192, 0, 0, 64}, lengths, 1);
        },
        Exactness::kBF16, 0.02f);
  }
  SUBCASE("CSA, 8 heads of 512") {
    against_reference([&](Bench& b) { return attention(b, {4, 8, 512, 128, 20, 128}, lengths, 2); }, Exactness::kBF16,
                      0.05f);
  }
  SUBCASE("HCA, 5 heads of 128") {
    against_reference([&](Bench& b) { return attention(b, {128, 5, 128, 0, 0, 128}, lengths, 3); }, Exactness::kBF16,
                      0.02f);
  }
}

TEST_CASE("the indexer's order: falling score, ties by lower index") {
  // Keys that repeat every seven entries, so that most scores tie exactly.
  StateShape shape;
  shape.layers = {{4, 128, 64, 128}};
  shape.window = 128;
  shape.max_rows = 520;
  shape.context = 2048;
  const int64_t rows = 512, heads = 20;
  const std::vector<bf16> q = random_bf16(heads * 128), w = random_bf16(heads);
  std::vector<float> k, z(static_cast<size_t>(rows) * 256, 0.0f);
  const std::vector<float> pattern = random_floats(7 * 256);
  for (int64_t t = 0; t < rows; ++t)
    k.insert(k.end(), pattern.begin() + t / 4 % 7 * 256, pattern.begin() + (t / 4 % 7 + 1) * 256);
  const TestWeight norm(DType::kBF16, 1, 128);
  TestWeight ape(DType::kF32, 4, 256);
  // Queries as the model has them, of extreme scales, and such as no quantisation gives: integers, or not.
  std::string kind;
  SUBCASE("E2M1") { kind = "E2M1"; }
  SUBCASE("E2M1, tiny") { kind = "tiny"; }
  SUBCASE("plain") { kind = "plain"; }
  CAPTURE(kind);
  std::vector<bf16> from = q;
  for (bf16& v : from) v = to_bf16(to_float(v) * (kind == "tiny" ? 0x1p-70f : 1.0f));
  against_reference(
      [&](Bench& b) {
        const std::unique_ptr<SequenceState> state = b.backend->make_state(shape);
        Run run{state.get(), 0, rows, 0};
        Compressor c;
        c.ratio = 4, c.width = 128, c.index = true, c.ape = ready(b, ape), c.norm = ready(b, norm);
        const std::vector<float> still(32, 0.0f);  // no rotation: equal groups stay equal
        c.frequencies = b.rig.put(DType::kF32, 1, 32, still.data());
        b.backend->compress({{&run, 1}, 0}, b.rig.put(DType::kF32, rows, 256, k.data()),
                            b.rig.put(DType::kF32, rows, 256, z.data()), c);
        b.backend->commit({&run, 1});
        const Run one{state.get(), 0, 1, rows};
        const Mat top = b.rig.mat(DType::kI32, 1, 64), iq = b.rig.put(DType::kBF16, 1, heads * 128, from.data());
        Query query;
        query.heads = heads, query.head_dim = 128, query.hadamard = true;
        if (kind != "plain") b.backend->query(iq, b.rig.rope_table(0, 1, still), query);
        b.backend->index(top, {{&one, 1}, 0}, iq, b.rig.put(DType::kBF16, 1, heads, w.data()), {heads, 128});
        const std::vector<int32_t> picked = b.rig.get<int32_t>(top);
        return Outputs{{picked.begin(), picked.end()}};
      },
      Exactness::kBits);
}

TEST_CASE("routing and experts") {
  for (const int64_t rows : {1, 2, 3, 8, 9, 65, 300}) {
    for (const DType dtype : {DType::kFP4, DType::kF8E4M3, DType::kBF16}) {
      if (rows > 9 && dtype == DType::kBF16) continue;
      CAPTURE(rows);
      CAPTURE(dtype_name(dtype));
      const int64_t n = 192, width = 160, shared_width = 320, count = 12, k = 3, vocab = 50;
      std::vector<TestWeight> w;
      for (int64_t e = 0; e <= count; ++e) {
        const int64_t wide = e < count ? width : shared_width;
        const DType type = e < count ? dtype : DType::kF8E4M3;
        w.emplace_back(type, wide, n);
        w.emplace_back(type, n, wide);
        w.emplace_back(type, wide, n);
      }
      const TestWeight gate(DType::kBF16, count, n), bias(DType::kF32, 1, count);
      std::vector<int64_t> table;
      for (int64_t i = 0; i < vocab * k; ++i) table.push_back(i * 7 % (count - 2));
      const HostTensor hash{table.data(), nullptr, DType::kI64, vocab, k};
      std::vector<int32_t> tokens;
      for (int64_t r = 0; r < rows; ++r) tokens.push_back(static_cast<int32_t>(r * 11 % vocab));
      const std::vector<bf16> x = random_bf16(rows * n, 2.0f);
      for (const bool hashed : {false, true}) {
        against_reference(
            [&](Bench& b) {
              Gate g;
              g.weight = ready(b, gate);
              if (hashed) {
                g.hash = b.backend->prepare(hash);
              } else {
                g.bias = ready(b, bias);
              }
              g.scoring = rows % 3 == 0   ? Scoring::kSoftmax
                          : rows % 3 == 1 ? Scoring::kSqrtSoftplus
                                          : Scoring::kSigmoid;
              g.scale = 1.5f;
              const Route route{b.rig.mat(DType::kI32, rows, k), b.rig.mat(DType::kF32, rows, k)};
              const Mat in = b.rig.put(DType::kBF16, rows, n, x.data()), y = b.rig.mat(DType::kBF16, rows, n);
              b.backend->route(route, in, b.rig.put(tokens), g);
              std::vector<Expert> experts;
              for (int64_t e = 0; e <= count; ++e) {
                const size_t at = static_cast<size_t>(e) * 3;
                experts.push_back({ready(b, w[at]), ready(b, w[at + 1]), ready(b, w[at + 2])});
              }
              b.backend->experts(y, in, route, {{experts.data(), static_cast<size_t>(count)}, experts.back(), 10.0f});
              const std::vector<int32_t> picked = b.rig.get<int32_t>(route.experts);
              Outputs out = floats(b, {y});
              out.emplace_back(picked.begin(), picked.end());
              return out;
            },
            Exactness::kBF16, 0.02f);
      }
    }
  }
}

TEST_CASE("a level that this machine lacks is refused by name") {
  CHECK_THROWS_AS(make_cpu_backend({1, "avx1024"}), Error);
  const std::vector<std::string> here = cpu_isa_levels();
  CHECK(here.front() == "scalar");
#if defined(__aarch64__)
  CHECK(here.at(1) == "neon");
#endif
  for (const std::string level : {"avx2", "avx512", "avx512-bf16", "amx", "neon", "neon-dotprod"}) {
    if (std::find(here.begin(), here.end(), level) != here.end()) continue;
    std::string said;
    try {
      make_cpu_backend({1, level});
    } catch (const Error& e) {
      said = e.what();
    }
    CHECK(said.find("cpu backend: " + level + ": this machine lacks ") == 0);
  }
}

TEST_CASE("the description names oneDNN where it computes") {
  for (const std::string& isa : cpu_isa_levels()) {
    const std::string said = make_cpu_backend({1, isa})->description();
    CAPTURE(said);
    const bool expected = isa != "scalar" && isa != "amx" && !cpu_onednn_version().empty();
    CHECK((said.find("oneDNN " + cpu_onednn_version()) != std::string::npos) == expected);
  }
}

#if defined(__x86_64__) || defined(__aarch64__)
#if defined(__x86_64__)
constexpr uint64_t kFlush = 0x8040, kHappened = 0x3f;  // operands and results; exceptions, which are no mode
uint64_t float_mode() { return _mm_getcsr(); }
void set_float_mode(uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#else
constexpr uint64_t kFlush = 1 << 24, kHappened = 0;
uint64_t float_mode() {
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
  return mode;
}
void set_float_mode(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#endif

TEST_CASE("a host that flushes subnormal numbers changes no bit, and keeps its mode") {
  const int64_t rows = 200, n = 192;  // enough for every thread
  std::vector<bf16> small(static_cast<size_t>(rows * n));
  for (bf16& v : small) v.bits = static_cast<uint16_t>(generator() % 0x7f + 1);  // subnormal, every one
  const TestWeight norm(DType::kBF16, 1, n), f32(DType::kF32, 24, n);
  const auto run = [&](const CpuOptions& options) {
    Bench b("cpu " + options.isa, make_cpu_backend(options));
    const Mat in = b.rig.put(DType::kBF16, rows, n, small.data()), y = b.rig.mat(DType::kBF16, rows, n),
              product = b.rig.mat(DType::kF32, rows, 24);
    b.backend->norm(y, in, ready(b, norm), 1e-6f);
    const Weight w = ready(b, f32);
    const Product p{product, &w};
    b.backend->linear({&p, 1}, in);
    return floats(b, {y, product});
  };
  const auto zeros = [](const std::vector<float>& v) { return std::count(v.begin(), v.end(), 0.0f); };
  for (const CpuOptions& options : levels()) {
    INFO(options.isa << ", " << options.threads << " threads");
    const Outputs want = run(options);
    const uint64_t before = float_mode(), flushing = before | kFlush;
    set_float_mode(flushing);
    const Outputs got = run(options);
    const uint64_t after = float_mode();
    set_float_mode(before);
    CHECK((after & ~kHappened) == (flushing & ~kHappened));
    for (size_t i = 0; i < 2; ++i) {
      CHECK(std::memcmp(want[i].data(), got[i].data(), want[i].size() * 4) == 0);
      CHECK(zeros(want[i]) < static_cast<int64_t>(want[i].size()) / 10);  // there was something to lose
    }
  }
}
#endif
