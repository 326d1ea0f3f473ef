// The mixture of experts of the CUDA backend, run by the executor, against the reference: every format and mixture of
// formats, numbers of rows on both sides of every change of kernel, experts that everybody or nobody picks, and rows
// that name an expert twice.
#include "tests/simt/products_simt_rig.h"

using namespace dsv4;
using test::against_reference;
using test::RandomNumbers;
using test::RandomWeight;
using test::Side;

namespace {

struct Shape {
  int64_t rows, hidden, width, shared_width, experts, k;
  DType routed, shared;
  float limit;
};

// Which experts a row picks.
enum class Picks { kRandom, kPopular, kTwice, kFew };

struct Layer {
  std::vector<RandomWeight> weights;  // w1, w2, w3 of each, the shared one last

  Layer(RandomNumbers& random, const Shape& s) {
    for (int64_t e = 0; e <= s.experts; ++e) {
      const DType format = e < s.experts ? s.routed : s.shared;
      const int64_t width = e < s.experts ? s.width : s.shared_width;
      weights.emplace_back(random, format, width, s.hidden, 115, 4);
      weights.emplace_back(random, format, s.hidden, width, 115, 4);
      weights.emplace_back(random, format, width, s.hidden, 115, 4);
    }
  }
  Expert ready(Side& side, int64_t e) const {
    const auto at = static_cast<size_t>(3 * e);
    return {side.backend->prepare(weights[at].tensor), side.backend->prepare(weights[at + 1].tensor),
            side.backend->prepare(weights[at + 2].tensor)};
  }
};

Limits limits_for(const Shape& s) {
  Limits l;
  l.rows = s.rows;
  l.streams = 4;
  l.hidden = s.hidden;
  l.inner = l.outer = std::max({s.hidden, s.width, s.shared_width});
  l.vocab = 128;
  l.heads = 2;
  l.head_dim = 128;
  l.index_heads = 2;
  l.index_dim = 64;
  l.index_topk = 16;
  l.experts = s.experts;
  l.experts_per_token = s.k;
  l.expert_width = std::max(s.width, s.shared_width);
  l.context = 256;
  return l;
}

int32_t pick(RandomNumbers& random, const Shape& s, Picks picks, int64_t row, int64_t i, int32_t before) {
  const auto experts = static_cast<int>(s.experts);
  switch (picks) {
    case Picks::kPopular: return i == 0 ? experts - 2 : random.below(experts);
    case Picks::kTwice: return i % 2 == 1 && row % 2 == 0 ? before : random.below(experts);
    case Picks::kFew: return random.below(2);
    default: return random.below(experts);
  }
}

void check_experts(const Shape& s, Picks picks, uint32_t seed, float slack = 5e-3f) {
  CAPTURE(s.rows);
  CAPTURE(s.hidden);
  CAPTURE(s.width);
  CAPTURE(static_cast<int>(s.routed));
  CAPTURE(static_cast<int>(s.shared));
  CAPTURE(static_cast<int>(picks));
  RandomNumbers random(seed);
  const std::vector<bf16> x = random.row(s.rows * s.hidden, 2.0f);
  const Layer layer(random, s);
  std::vector<int32_t> ids;
  std::vector<float> route_weights;
  for (int64_t i = 0; i < s.rows * s.k; ++i) {
    ids.push_back(pick(random, s, picks, i / s.k, i % s.k, ids.empty() ? 0 : ids.back()));
    route_weights.push_back(0.05f + 0.01f * static_cast<float>(random.below(60)));
  }
  std::vector<Expert> routed[2];  // of both sides, each where it stays
  against_reference(
      limits_for(s),
      [&, side_count = 0](Side& side) mutable {
        std::vector<Expert>& experts = routed[side_count++ > 0];
        for (int64_t e = 0; experts.size() < static_cast<size_t>(s.experts); ++e) {
          experts.push_back(layer.ready(side, e));
        }
        const Experts all{experts, layer.ready(side, s.experts), s.limit};
        const Route route{side.rig.put(DType::kI32, s.rows, s.k, ids.data()),
                          side.rig.put(DType::kF32, s.rows, s.k, route_weights.data())};
        const std::vector<Mat> y = {side.rig.mat(DType::kBF16, s.rows, s.hidden)};
        side.backend->experts(y[0], side.rig.put(DType::kBF16, s.rows, s.hidden, x.data()), route, all);
        return y;
      },
      slack);
}

constexpr DType kFP8 = DType::kF8E4M3, kFP4 = DType::kFP4, kBF16 = DType::kBF16, kF32 = DType::kF32;

}  // namespace

TEST_CASE("experts: few rows") {
  uint32_t seed = 1;
  for (const int64_t rows : {1, 2, 3, 7, 8, 9, 17, 64}) {
    for (const Picks picks : {Picks::kRandom, Picks::kPopular, Picks::kTwice}) {
      check_experts({rows, 128, 128, 128, 12, 3, kFP4, kFP8, 4.0f}, picks, seed++);
    }
  }
}

TEST_CASE("experts: formats") {
  uint32_t seed = 100;
  for (const int64_t rows : {1, 5, 20}) {
    for (const DType routed : {kFP8, kFP4, kBF16, kF32}) {
      for (const DType shared : {kFP8, kBF16, kF32}) {
        check_experts({rows, 160, 96, 224, 5, 2, routed, shared, 3.0f}, Picks::kTwice, seed++);
      }
    }
  }
}

TEST_CASE("experts: shapes") {
  uint32_t seed = 200;
  for (const DType routed : {kFP8, kFP4, kBF16, kF32}) {
    check_experts({3, 32, 32, 32, 4, 2, routed, kFP8, 0.0f}, Picks::kRandom, seed++);
    check_experts({3, 1152, 384, 160, 4, 2, routed, kFP8, 10.0f}, Picks::kRandom, seed++);
    check_experts({3, 136, 70, 50, 4, 2, routed, kBF16, 10.0f}, Picks::kRandom, seed++);  // plain kernels
    check_experts({2, 256, 2048, 1040, 2, 1, routed, kFP8, 10.0f}, Picks::kRandom, seed++);
  }
}

TEST_CASE("experts: many rows") {
  uint32_t seed = 300;
  for (const DType routed : {kFP4, kFP8, kBF16}) {
    check_experts({70, 160, 96, 160, 4, 2, routed, kFP8, 4.0f}, Picks::kRandom, seed++);    // tiles of 64
    check_experts({130, 128, 128, 96, 3, 2, routed, kFP8, 4.0f}, Picks::kTwice, seed++);    // tiles of 128
    check_experts({150, 96, 160, 96, 8, 2, routed, kBF16, 4.0f}, Picks::kFew, seed++);      // most experts have none
    check_experts({100, 128, 64, 96, 20, 3, routed, kFP8, 4.0f}, Picks::kPopular, seed++);  // streaming, several items
  }
}

TEST_CASE("experts: ids that no route should hold, and what is not a number, stay inside") {
  const Shape s{5, 128, 128, 128, 6, 3, kFP4, kFP8, 4.0f};
  RandomNumbers random(400);
  const Layer layer(random, s);
  std::vector<bf16> x = random.row(s.rows * s.hidden);
  x[3].bits = 0x7fc0;
  const std::vector<int32_t> ids = {-1, 0, 6, INT32_MAX, INT32_MIN, 5, 1, 1, 1, 2, 3, 4, 99, -7, 0};
  std::vector<float> weights(ids.size(), 0.5f);
  weights[4] = NAN;
  Side side(make_cuda_backend({}), limits_for(s));
  std::vector<Expert> routed;
  for (int64_t e = 0; e < s.experts; ++e) routed.push_back(layer.ready(side, e));
  const Experts all{routed, layer.ready(side, s.experts), s.limit};
  const Route route{side.rig.put(DType::kI32, s.rows, s.k, ids.data()),
                    side.rig.put(DType::kF32, s.rows, s.k, weights.data())};
  const Mat y = side.rig.mat(DType::kBF16, s.rows, s.hidden);
  side.backend->experts(y, side.rig.put(DType::kBF16, s.rows, s.hidden, x.data()), route, all);
  const std::vector<float> out = side.rig.floats(y);
  for (int64_t i = 0; i < s.rows * s.hidden; ++i) {
    CHECK(std::isnan(out[static_cast<size_t>(i)]) == (i / s.hidden < 2));  // rows 0 (x) and 1 (a weight)
  }
}

TEST_CASE("experts: another model where an earlier one was") {
  const Shape s{2, 128, 128, 128, 4, 2, kFP4, kFP8, 4.0f};
  RandomNumbers random(500);
  const Layer layers[2] = {Layer(random, s), Layer(random, s)};
  const std::vector<bf16> x = random.row(s.rows * s.hidden);
  const std::vector<int32_t> ids = {0, 1, 2, 3};
  const std::vector<float> weights = {0.5f, 0.4f, 0.3f, 0.2f};
  Side shared_side(make_cuda_backend({}), limits_for(s));
  std::vector<Expert> place(static_cast<size_t>(s.experts));
  const auto run = [&](Side& side, const Layer& layer, std::vector<Expert>& experts) {
    for (int64_t e = 0; e < s.experts; ++e) experts[static_cast<size_t>(e)] = layer.ready(side, e);
    const Experts all{experts, layer.ready(side, s.experts), s.limit};
    const Route route{side.rig.put(DType::kI32, s.rows, s.k, ids.data()),
                      side.rig.put(DType::kF32, s.rows, s.k, weights.data())};
    const Mat y = side.rig.mat(DType::kBF16, s.rows, s.hidden);
    side.backend->experts(y, side.rig.put(DType::kBF16, s.rows, s.hidden, x.data()), route, all);
    return side.rig.floats(y);
  };
  for (const Layer& layer : layers) {
    Side alone(make_cuda_backend({}), limits_for(s));
    std::vector<Expert> experts(static_cast<size_t>(s.experts));
    const std::vector<float> want = run(alone, layer, experts);
    CHECK((run(shared_side, layer, place) == want));
  }
}
