// linear, project_out and logits of the CUDA backend, run by the executor, against the reference: every format, numbers
// of rows on both sides of every change of kernel, and shapes that end inside a chunk, a tile and a block.
#include "tests/simt/fake_cuda.h"
#include "tests/simt/products_simt_rig.h"

using namespace dsv4;
using test::against_reference;
using test::RandomNumbers;
using test::RandomWeight;
using test::Side;

namespace {

constexpr DType kFormats[] = {DType::kF8E4M3, DType::kFP4, DType::kBF16, DType::kF32};
constexpr float kOrder = 2e-6f;  // what the order of FP32 sums may move, of the largest output

Limits limits_for(int64_t rows, int64_t widest) { return test::product_limits(rows, widest, widest); }

// All four formats of these shapes in one call, E4M3 and BF16 to both kinds of output.
void check_linear(int64_t rows, int64_t cols, const std::vector<int64_t>& tall, uint32_t seed) {
  CAPTURE(rows);
  CAPTURE(cols);
  RandomNumbers random(seed);
  const std::vector<bf16> x = random.row(rows * cols, 3.0f);
  std::vector<RandomWeight> weights;
  for (const DType format : kFormats) {
    if (format == DType::kFP4 && cols % 2 != 0) continue;
    for (const int64_t n : tall) weights.emplace_back(random, format, n, cols);
  }
  against_reference(
      limits_for(rows, std::max<int64_t>(cols, 2048)),
      [&](Side& side) { return test::linear_outputs(side, weights, x, rows, cols); }, kOrder);
}

}  // namespace

TEST_CASE("linear: few rows, and shapes of every kind") {
  uint32_t seed = 1;
  for (const int64_t rows : {1, 2, 3, 7, 8, 9, 17, 33, 64}) check_linear(rows, 256, {48, 131}, seed++);
  for (const int64_t cols : {16, 32, 64, 96, 128, 160, 192, 400, 1040, 1152, 2048}) {
    check_linear(cols % 3 + 1, cols, {35, 16}, seed++);
  }
}

TEST_CASE("linear: many rows") {
  uint32_t seed = 100;
  for (const int64_t rows : {65, 128, 130}) check_linear(rows, 192, {48, 131}, seed++);
  for (const int64_t cols : {32, 80, 96, 400}) check_linear(70, cols, {130}, seed++);
  simt::fake_device().processors = 8;  // few enough for high tiles
  for (const int64_t rows : {128, 260}) check_linear(rows, 144, {140, 515}, seed++);
  simt::reset_fake_cuda();
}

TEST_CASE("linear: columns that no fast kernel takes") {
  uint32_t seed = 200;
  for (const int64_t cols : {1, 2, 10, 20, 130, 260}) {
    check_linear(3, cols, {20}, seed++);
    check_linear(70, cols, {20}, seed++);
  }
}

TEST_CASE("linear: every code is exact, whatever the scale") {
  // A row that picks one column out makes the product one weight.
  for (const int scale : {1, 9, 80, 127, 128, 129, 180, 246}) {
    CAPTURE(scale);
    RandomNumbers random(9);
    RandomWeight e4m3(random, DType::kF8E4M3, 256, 128, scale, 1), fp4(random, DType::kFP4, 16, 128, scale, 1);
    for (size_t i = 0; i < 256; ++i) e4m3.bytes[i * 128 + 77] = static_cast<uint8_t>((i & 0x7f) == 0x7f ? 0 : i);
    for (size_t i = 0; i < 16; ++i) fp4.bytes[i * 64 + 38] = static_cast<uint8_t>(i << 4 | 3);
    std::vector<bf16> x(3 * 128);
    for (size_t r = 0; r < 3; ++r) x[r * 128 + 77] = to_bf16(r == 0 ? 1.0f : -1.5f);
    against_reference(
        limits_for(3, 2048),
        [&](Side& side) {
          const Weight w[2] = {side.backend->prepare(e4m3.tensor), side.backend->prepare(fp4.tensor)};
          const std::vector<Mat> outs = {side.rig.mat(DType::kF32, 3, 256), side.rig.mat(DType::kF32, 3, 16)};
          const Product products[2] = {{outs[0], &w[0]}, {outs[1], &w[1]}};
          side.backend->linear(products, side.rig.put(DType::kBF16, 3, 128, x.data()));
          return outs;
        },
        0.0f);
  }
}

TEST_CASE("project_out: groups of their own columns") {
  uint32_t seed = 300;
  for (const DType format : kFormats) {
    for (const int64_t rows : {1, 5, 20, 70}) {
      for (const int64_t rank : {64, 128, 40}) {
        CAPTURE(static_cast<int>(format));
        CAPTURE(rows);
        CAPTURE(rank);
        RandomNumbers random(seed++);
        const int64_t groups = 3, width = 192, hidden = 96;
        const std::vector<bf16> o = random.row(rows * groups * width);
        const RandomWeight wo_a(random, format, groups * rank, width);
        const RandomWeight wo_b(random, DType::kBF16, hidden, groups * rank);
        against_reference(
            limits_for(rows, 2048),
            [&](Side& side) {
              const Mat low = side.rig.mat(DType::kBF16, rows, groups * rank);
              const Mat y = side.rig.mat(DType::kBF16, rows, hidden);
              side.backend->project_out(y, low, side.rig.put(DType::kBF16, rows, groups * width, o.data()),
                                        side.backend->prepare(wo_a.tensor), side.backend->prepare(wo_b.tensor), groups);
              return std::vector<Mat>{low, y};
            },
            2e-3f);  // y: a flip in low
      }
    }
  }
}

TEST_CASE("logits: the input as it is, whatever the format") {
  uint32_t seed = 400;
  for (const DType format : kFormats) {
    for (const int64_t rows : {1, 3, 16}) {
      CAPTURE(static_cast<int>(format));
      CAPTURE(rows);
      RandomNumbers random(seed++);
      const std::vector<bf16> x = random.row(rows * 128);
      const RandomWeight head(random, format, 333, 128);
      against_reference(
          limits_for(rows, 2048),
          [&](Side& side) {
            const std::vector<Mat> out = {side.rig.mat(DType::kF32, rows, 333)};
            side.backend->logits(out[0], side.rig.put(DType::kBF16, rows, 128, x.data()),
                                 side.backend->prepare(head.tensor));
            return out;
          },
          kOrder);
    }
  }
}

TEST_CASE("linear: what is not a number stays where it is") {
  RandomNumbers random(500);
  std::vector<bf16> x = random.row(2 * 128);
  x[5].bits = 0x7fc0;
  RandomWeight e4m3(random, DType::kF8E4M3, 32, 128), fp4(random, DType::kFP4, 32, 128);
  const Limits limits = limits_for(2, 2048);
  Side side(make_cuda_backend({}), limits);
  const Weight w[2] = {side.backend->prepare(e4m3.tensor), side.backend->prepare(fp4.tensor)};
  const Mat outs[2] = {side.rig.mat(DType::kF32, 2, 32), side.rig.mat(DType::kF32, 2, 32)};
  const Product products[2] = {{outs[0], &w[0]}, {outs[1], &w[1]}};
  side.backend->linear(products, side.rig.put(DType::kBF16, 2, 128, x.data()));
  for (const Mat& out : outs) {
    const std::vector<float> y = side.rig.floats(out);
    for (size_t i = 0; i < 64; ++i) CHECK(std::isnan(y[i]) == (i < 32));
  }
}
