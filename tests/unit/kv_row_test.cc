// Packed key/value and index rows: their layout, and that packing and unpacking is the model's own quantisation.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "lib/base/kv_row.h"

namespace dsv4 {
namespace {

std::vector<float> random_row(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = round_bf16(normal(random));
  return x;
}

}  // namespace

TEST_CASE("kv row: the published model's rows take 583 and 68 bytes") {
  const KvRowLayout kv{448, 64};
  CHECK(kv.dim() == 512);
  CHECK(kv.codes() == 128);
  CHECK(kv.scales() == 576);
  CHECK(kv.bytes() == 583);
  CHECK(kv.stride() == 592);
  const IndexRowLayout index{128};
  CHECK(index.bytes() == 68);
  CHECK(index.stride() == 68);
  CHECK(IndexRowLayout{64}.bytes() == 34);
  CHECK(IndexRowLayout{64}.stride() == 36);
}

TEST_CASE("kv row: unpack(pack(x)) is code times scale, rope dims untouched, and packs to the same bytes again") {
  for (const KvRowLayout layout : {KvRowLayout{448, 64}, KvRowLayout{64, 64}, KvRowLayout{128, 64}}) {
    const std::vector<float> x = random_row(layout.dim(), 3);
    std::vector<uint8_t> row(static_cast<size_t>(layout.stride()), 0xcc), again = row;
    layout.pack(row.data(), x.data());
    for (int64_t i = layout.bytes(); i < layout.stride(); ++i) CHECK(row[static_cast<size_t>(i)] == 0xcc);
    std::vector<float> y(x.size());
    layout.unpack(y.data(), row.data());
    for (int64_t i = 0; i < layout.dim(); ++i) {
      const auto at = static_cast<size_t>(i);
      if (i >= layout.nope) {
        CHECK(y[at] == x[at]);
        continue;
      }
      const auto block = x.begin() + i / kKvBlock * kKvBlock;
      float amax = 1e-4f;
      for (auto v = block; v != block + kKvBlock; ++v) amax = std::max(amax, std::fabs(*v));
      const float scale = exp2i(e4m3_block_exponent(amax));
      CHECK(y[at] == kE4M3[to_e4m3(x[at] / scale)] * scale);
      CHECK(y[at] == round_bf16(y[at]));  // exact in BF16
    }
    layout.pack(again.data(), y.data());
    std::vector<float> z(x.size());
    layout.unpack(z.data(), again.data());
    CHECK(z == y);
  }
}

TEST_CASE("index row: unpack(pack(x)) is code times scale") {
  for (const int64_t dim : {int64_t{64}, int64_t{128}}) {
    const IndexRowLayout layout{dim};
    const std::vector<float> x = random_row(dim, 4);
    std::vector<uint8_t> row(static_cast<size_t>(layout.stride()), 0xcc);
    layout.pack(row.data(), x.data());
    for (int64_t i = layout.bytes(); i < layout.stride(); ++i) CHECK(row[static_cast<size_t>(i)] == 0xcc);
    std::vector<float> y(x.size());
    layout.unpack(y.data(), row.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const auto block = x.begin() + static_cast<int64_t>(i) / kIndexBlock * kIndexBlock;
      float amax = 0;
      for (auto v = block; v != block + kIndexBlock; ++v) amax = std::max(amax, std::fabs(*v));
      const float scale = exp2i(e2m1_block_exponent(amax));
      CHECK(y[i] == kE2M1[to_e2m1(x[i] / scale)] * scale);
    }
  }
}

}  // namespace dsv4
