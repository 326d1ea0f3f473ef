// The cpu backend's attention, compressor and indexer against the reference: several runs, ring ends, ties.
#include "backends/cpu/cpu_isa.h"
#include "backends/cpu/kernels.h"
#include "lib/base/kv_row.h"
#include "tests/ops/cpu_reference_rig.h"

using namespace dsv4;
using namespace dsv4::test;

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

// Keys of a state that a snapshot has brought may have any scales, also ones that a kernel cannot fold into values.
TEST_CASE("the indexer's scores of keys with scales of any size") {
  constexpr int64_t dim = 128, keys = 70;
  constexpr double values[16] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};
  constexpr uint8_t scales[] = {2, 9, 10, 11, 64, 127, 190, 246, 247};
  const IndexRowLayout layout{dim};
  std::vector<uint8_t> rows(static_cast<size_t>(keys * layout.stride()));
  for (int64_t j = 0; j < keys; ++j) {
    uint8_t* row = rows.data() + j * layout.stride();
    for (int64_t i = 0; i < dim / 2; ++i) row[i] = static_cast<uint8_t>(generator());
    for (int64_t b = 0; b < dim / 32; ++b) {
      row[dim / 2 + b] = scales[j < 9 ? static_cast<size_t>(j) : generator() % std::size(scales)];
    }
  }
  for (const std::string& isa : cpu_isa_levels()) {
    const cpu::Kernels& k = cpu::choose_kernels(isa);
    if (k.pack_index_query == nullptr) continue;
    for (const int64_t heads : {int64_t{20}, int64_t{7}, int64_t{64}}) {
      CAPTURE(isa);
      CAPTURE(heads);
      const int64_t wide = (heads + 15) / 16 * 16;
      std::vector<bf16> q(static_cast<size_t>(heads * dim));
      for (size_t i = 0; i < q.size(); i += 1 + generator() % 20) q[i] = to_bf16(generator() % 2 == 0 ? 0.5f : -0.5f);
      std::vector<float> w(static_cast<size_t>(wide), 0.0f), scores(keys);
      for (int64_t h = 0; h < heads; ++h) w[static_cast<size_t>(h)] = normal(0.01f);
      std::vector<uint8_t> packed(static_cast<size_t>(2 * wide * dim)), scratch(4 * (cpu::kIndexTile + 1) * dim);
      REQUIRE(k.pack_index_query(packed.data(), reinterpret_cast<const uint16_t*>(q.data()), heads, wide, dim));
      k.index_code_scores(scores.data(), packed.data(), w.data(), wide, rows.data(), layout.stride(), keys, dim,
                          scratch.data());
      for (int64_t j = 0; j < keys; ++j) {
        const uint8_t* row = rows.data() + j * layout.stride();
        double want = 0, most = 0;
        for (int64_t h = 0; h < heads; ++h) {
          double sum = 0, size = 0;
          for (int64_t c = 0; c < dim; ++c) {
            const double term = to_float(q[static_cast<size_t>(h * dim + c)]) *
                                std::ldexp(values[row[c / 2] >> (c % 2 * 4) & 15], row[dim / 2 + c / 32] - 127);
            sum += term, size += std::abs(term);
          }
          want += std::max(sum, 0.0) * w[static_cast<size_t>(h)];
          most += size * std::abs(w[static_cast<size_t>(h)]);
        }
        CAPTURE(j);
        CHECK(std::abs(scores[static_cast<size_t>(j)] - want) <= 1e-5 * most + 1e-36);
      }
    }
  }
}
