// The cpu backend's products, residual streams and queries against the reference, on shapes that the goldens do not have:
// rows and columns that end in the middle of a vector, of a tile and of a block.
#include "tests/ops/cpu_reference_rig.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using namespace dsv4;
using namespace dsv4::test;

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

TEST_CASE("linear: a few rows, columns of less and of more than one part, pairs of weight rows and one left over") {
  for (const int64_t cols : {128, 512, 640, 1536}) {
    for (int64_t rows = 2; rows <= 8; ++rows) {
      CAPTURE(rows);
      CAPTURE(cols);
      const std::vector<bf16> x = random_bf16(rows * cols, uniform(0.01f, 30.0f));
      const TestWeight e4m3(DType::kF8E4M3, 131, cols), fp4(DType::kFP4, 67, cols), bf(DType::kBF16, 67, cols);
      against_reference(
          [&](Bench& b) {
            const Mat in = b.rig.put(DType::kBF16, rows, cols, x.data());
            const Weight w[3] = {ready(b, e4m3), ready(b, fp4), ready(b, bf)};
            const Mat out[3] = {b.rig.mat(DType::kF32, rows, 131), b.rig.mat(DType::kF32, rows, 67),
                                b.rig.mat(DType::kF32, rows, 67)};
            const Product products[3] = {{out[0], &w[0]}, {out[1], &w[1]}, {out[2], &w[2]}};
            b.backend->linear(products, in);
            return floats(b, {out[0], out[1], out[2]});
          },
          Exactness::kF32);
    }
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
    for (const int64_t rows : {1, 3, 8, 12, 40}) {
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
