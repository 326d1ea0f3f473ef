// index() of the cuda backend on the executor, against the reference backend: few entries and many (whose best are
// found chunk by chunk), any k, ties, NaN, and more rows than are scored at a time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cuda/cuda_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/base/kv_row.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

enum class Keys { kRandom, kEqual, kFew };    // kFew: of three kinds, so that nearly all scores are shared
enum class Weights { kRandom, kZero, kNaN };  // kNaN: in the second row of the step

struct Case {
  int64_t entries;  // finished for the first row
  int64_t rows, k, heads, dim;
  Keys keys = Keys::kRandom;
  Weights weights = Weights::kRandom;
  int64_t context = 0;  // 0: as much as it takes
};

Limits limits_of(const Case& c, int64_t context) {
  Limits l;
  l.rows = std::max<int64_t>(c.rows, 16);
  l.streams = 4;
  l.hidden = l.inner = l.outer = c.heads * c.dim;
  l.vocab = 16;
  l.heads = 2;
  l.head_dim = 128;
  l.index_heads = c.heads;
  l.index_dim = c.dim;
  l.index_topk = c.k;
  l.experts = l.experts_per_token = 1;
  l.expert_width = 128;
  l.context = context;
  return l;
}

struct Data {
  std::vector<uint8_t> rows;
  std::vector<bf16> q, w;
};

Data make_data(const Case& c, int64_t entries) {
  std::mt19937 g(static_cast<uint32_t>(c.entries * 31 + c.k));
  Data d;
  const IndexRowLayout layout{c.dim};
  std::vector<std::vector<uint8_t>> kinds;
  for (int i = 0; i < 3; ++i) {
    kinds.emplace_back();
    for (int64_t b = 0; b < layout.bytes(); ++b) {
      kinds.back().push_back(static_cast<uint8_t>(b < layout.scales() ? g() : 125 + g() % 4));
    }
  }
  for (int64_t e = 0; e < entries; ++e) {
    if (c.keys != Keys::kRandom) {
      const auto& row = kinds[c.keys == Keys::kEqual ? 0 : g() % 3];
      d.rows.insert(d.rows.end(), row.begin(), row.end());
      continue;
    }
    for (int64_t b = 0; b < layout.bytes(); ++b) {
      d.rows.push_back(static_cast<uint8_t>(b < layout.scales() ? g() : 120 + g() % 12));
    }
  }
  for (int64_t i = 0; i < c.rows * c.heads * c.dim; ++i) {
    d.q.push_back(to_bf16(kE2M1[g() % 16] * exp2i(static_cast<int>(i / 32 % 5) - 2)));
  }
  for (int64_t i = 0; i < c.rows * c.heads; ++i) {
    const float v = c.weights == Weights::kZero                      ? 0.0f
                    : c.weights == Weights::kNaN && i / c.heads == 1 ? std::numeric_limits<float>::quiet_NaN()
                                                                     : std::normal_distribution<float>()(g);
    d.w.push_back(to_bf16(v));
  }
  return d;
}

std::vector<int32_t> index_on(Backend& backend, const Case& c, const Data& data, int64_t entries) {
  StateShape shape;
  shape.layers = {{4, 128, 64, c.dim}};
  shape.window = 16;
  shape.max_rows = c.rows;
  shape.context = std::max(c.context, 4 * entries);
  backend.reserve(limits_of(c, shape.context));
  const auto state = backend.make_state(shape);
  state->import_rows(0, StateRows::kIndex, 0, entries, data.rows.data());
  Rig rig(backend);
  const Mat top = rig.mat(DType::kI32, c.rows, c.k);
  const std::vector<Run> runs = {{state.get(), 0, c.rows, std::max<int64_t>(4 * c.entries - 1, 0)}};
  backend.index(top, {runs, 0}, rig.put(DType::kBF16, c.rows, c.heads * c.dim, data.q.data()),
                rig.put(DType::kBF16, c.rows, c.heads, data.w.data()), {c.heads, c.dim});
  return rig.get<int32_t>(top);
}

}  // namespace

TEST_CASE("simt index: the best of all finished entries") {
  const std::vector<Case> cases = {
      {0, 3, 16, 2, 64},
      {3, 9, 16, 2, 64},
      {15, 8, 16, 4, 128},
      {700, 2, 20, 4, 128},
      {1500, 1, 512, 64, 128},
      {1000, 1, 1024, 3, 32},
      {2500, 1, 33, 1, 256},  // the block of 1024 threads
      {8300, 2, 100, 2, 64},  // two chunks, the second nearly empty
      {20000, 1, 512, 2, 32},
      {9000, 1, 8192, 1, 32},
      {17000, 1, 16, 2, 64, Keys::kEqual},
      {17000, 1, 1000, 2, 64, Keys::kFew},
      {600, 2, 50, 2, 64, Keys::kFew},
      {3000, 1, 70, 2, 64, Keys::kRandom, Weights::kZero},
      {3000, 2, 70, 2, 64, Keys::kRandom, Weights::kNaN},
      {40, 45, 16, 2, 64, Keys::kRandom, Weights::kRandom, int64_t{12} << 20},  // few rows at a time
  };
  for (const Case& c : cases) {
    const int64_t entries = c.entries + c.rows / 4 + 1;
    const Data data = make_data(c, entries);
    const std::unique_ptr<Backend> device = make_cuda_backend({}), reference = make_reference_backend();
    Case small = c;
    small.context = 0;
    const std::vector<int32_t> got = index_on(*device, c, data, entries);
    const std::vector<int32_t> want = index_on(*reference, small, data, entries);
    CAPTURE(c.entries);
    CAPTURE(c.k);
    int64_t different = 0;
    for (size_t i = 0; i < got.size(); ++i) different += got[i] != want[i] ? 1 : 0;
    // Near ties, where the order of the sum decides; none where whole rows are equal.
    CHECK(static_cast<double>(different) <= (c.keys == Keys::kRandom ? 0.004 : 0.0) * static_cast<double>(got.size()));
    for (int64_t r = 0; r < c.rows; ++r) {  // each entry once
      std::vector<int32_t> row(got.begin() + r * c.k, got.begin() + (r + 1) * c.k);
      std::sort(row.begin(), row.end());
      const auto first = std::find_if(row.begin(), row.end(), [](int32_t e) { return e >= 0; });
      CHECK(std::adjacent_find(first, row.end()) == row.end());
    }
  }
}

}  // namespace dsv4::test
