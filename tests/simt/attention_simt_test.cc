// The verbs of the cuda backend that touch a sequence's state, on the executor, held against the reference backend:
// random histories of several sequences in one step, with steps that are dropped and positions that are taken back;
// states as bytes, on their way between backends; and what the kernels refuse.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cuda/cuda_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/backend/state_parts.h"
#include "lib/base/error.h"
#include "tests/simt/fake_cuda.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

struct Layout {
  std::string name;
  int64_t heads, head_dim, window;
  int ratio;
  int64_t index_heads, index_dim, topk;
  int64_t rope = 64;

  LayerShape layer() const { return {ratio, head_dim, rope, ratio == 4 ? index_dim : 0}; }
  StateShape state(int64_t rows, int64_t context) const {
    StateShape shape;
    shape.layers = {layer()};
    shape.window = window;
    shape.max_rows = rows;
    shape.context = context;
    shape.carry = 24;
    return shape;
  }
  Limits limits(int64_t rows, int64_t context) const {
    Limits l;
    l.rows = rows;
    l.streams = 4;
    l.hidden = l.inner = l.outer = std::max(heads * head_dim, index_heads * index_dim);
    l.vocab = 16;
    l.heads = heads;
    l.head_dim = head_dim;
    l.index_heads = index_heads;
    l.index_dim = index_dim;
    l.index_topk = topk;
    l.experts = l.experts_per_token = 1;
    l.expert_width = 128;
    l.context = context;
    return l;
  }
};

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {
      {"micro, window only", 2, 128, 128, 0, 2, 64, 16},
      {"micro, CSA", 2, 128, 128, 4, 2, 64, 16},
      {"micro2, HCA", 3, 192, 64, 128, 4, 128, 20},
      {"micro2, CSA", 3, 192, 64, 4, 4, 128, 20},
      {"odd", 17, 72, 5, 4, 9, 32, 3, 8},
      {"wide index", 1, 256, 16, 4, 3, 256, 7, 128},
  };
  return all;
}

int64_t ulps(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b) ? 0 : 0x10000;
  const auto order = [](float x) {
    const int64_t u = to_bf16(x).bits;
    return (u & 0x8000) != 0 ? -(u & 0x7fff) : u;
  };
  return std::abs(order(a) - order(b));
}

struct Tally {
  int64_t total = 0, different = 0;
  double share() const { return static_cast<double>(different) / static_cast<double>(std::max<int64_t>(total, 1)); }
  template <class T, class Differ>
  void add(const std::vector<T>& a, const std::vector<T>& b, Differ differ) {
    REQUIRE(a.size() == b.size());
    total += static_cast<int64_t>(a.size());
    for (size_t i = 0; i < a.size(); ++i) different += differ(a[i], b[i]) ? 1 : 0;
  }
};

// A row of a step: what its sequence has at its position. The salt tells one future from another.
std::mt19937 random_of(size_t sequence, int64_t position, int64_t salt, int kind) {
  std::seed_seq seed{static_cast<int64_t>(sequence), position, salt, static_cast<int64_t>(kind)};
  return std::mt19937(seed);
}
float normal(std::mt19937& g) { return std::normal_distribution<float>()(g); }

struct Piece {
  size_t sequence;
  int64_t position, rows, salt;
};

// Everything that attention needs of one layer, on one backend, and the states of two sequences.
class Machine {
 public:
  Machine(std::unique_ptr<Backend> backend, const Layout& layout, int64_t rows, int64_t context)
      : backend_(std::move(backend)), constants_(*backend_), layout_(layout), shape_(layout.state(rows, context)) {
    backend_->reserve(layout.limits(2 * rows, context));
    for (int i = 0; i < 2; ++i) states_.push_back(backend_->make_state(shape_));
    std::mt19937 g(7);
    const int64_t wide = layout.ratio == 4 ? 2 : 1;
    append_ = {vector(layout.head_dim, true, g), 1e-6f};
    attention_ = {layout.heads, layout.head_dim, layout.window, layout.ratio, vector(layout.heads, false, g)};
    for (int i = 0; i < 2; ++i) {
      Compressor& c = compressors_[i];
      c.ratio = layout.ratio;
      c.width = i == 0 ? layout.head_dim : layout.index_dim;
      c.index = i == 1;
      c.ape = vector(std::max(layout.ratio, 1) * wide * c.width, false, g);
      c.norm = vector(c.width, true, g);
      c.frequencies = constants_.put(DType::kF32, 1, layout.rope / 2, frequencies().data());
    }
  }

  // Outputs of the step's rows: attention, picks, residual rows before.
  struct Out {
    std::vector<float> o;
    std::vector<int32_t> top;
    std::vector<uint16_t> previous;
  };
  Out step(const std::vector<Piece>& pieces, bool commit, const std::vector<int32_t>* given_top);
  std::vector<uint8_t> rows(size_t sequence, StateRows which, int64_t first, int64_t count) const {
    const int64_t bytes =
        which == StateRows::kCarry ? 2 * shape_.carry : static_cast<int64_t>(row_bytes(shape_.layers[0], which));
    std::vector<uint8_t> out(static_cast<size_t>(count * bytes));
    states_[sequence]->export_rows(0, which, first, count, out.data());
    return out;
  }

 private:
  std::vector<float> frequencies() const {
    std::vector<float> f;
    for (int64_t i = 0; i < layout_.rope / 2; ++i) {
      f.push_back(static_cast<float>(std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(layout_.rope))));
    }
    return f;
  }
  Weight vector(int64_t n, bool narrow, std::mt19937& g) {
    Mat m;
    if (narrow) {
      std::vector<bf16> x(static_cast<size_t>(n));
      for (bf16& v : x) v = to_bf16(1.0f + 0.3f * normal(g));
      m = constants_.put(DType::kBF16, 1, n, x.data());
    } else {
      std::vector<float> x(static_cast<size_t>(n));
      for (float& v : x) v = normal(g);
      m = constants_.put(DType::kF32, 1, n, x.data());
    }
    Weight w;
    w.data = m.data;
    w.dtype = m.dtype;
    w.rows = 1;
    w.cols = n;
    return w;
  }
  // Rows of random numbers, made by the value that fill(generator, column) gives.
  template <class T, class Fill>
  Mat fill(Rig& rig, const std::vector<Piece>& pieces, DType dtype, int64_t cols, int kind, Fill value) {
    std::vector<T> x;
    for (const Piece& p : pieces) {
      for (int64_t i = 0; i < p.rows; ++i) {
        std::mt19937 g = random_of(p.sequence, p.position + i, p.salt, kind);
        for (int64_t c = 0; c < cols; ++c) x.push_back(value(g, c));
      }
    }
    return rig.put(dtype, static_cast<int64_t>(x.size()) / cols, cols, x.data());
  }
  Mat bf16_rows(Rig& rig, const std::vector<Piece>& pieces, int64_t cols, int kind) {
    return fill<bf16>(rig, pieces, DType::kBF16, cols, kind,
                      [](std::mt19937& g, int64_t) { return to_bf16(normal(g)); });
  }
  Mat f32_rows(Rig& rig, const std::vector<Piece>& pieces, int64_t cols, int kind) {
    return fill<float>(rig, pieces, DType::kF32, cols, kind, [](std::mt19937& g, int64_t) { return normal(g); });
  }
  Mat rope_table(Rig& rig, const std::vector<Piece>& pieces);

  std::unique_ptr<Backend> backend_;
  Rig constants_;
  Layout layout_;
  StateShape shape_;
  std::vector<std::unique_ptr<SequenceState>> states_;
  Append append_;
  Compressor compressors_[2];
  Attention attention_;
};

Mat Machine::rope_table(Rig& rig, const std::vector<Piece>& pieces) {
  const std::vector<float> f = frequencies();
  std::vector<float> table;
  int64_t rows = 0;
  for (const Piece& p : pieces) {
    for (int64_t i = 0; i < p.rows; ++i, ++rows) {
      for (const bool sine : {false, true}) {
        for (const float frequency : f) {
          const double angle = static_cast<float>(p.position + i) * frequency;
          table.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
        }
      }
    }
  }
  return rig.put(DType::kF32, rows, layout_.rope, table.data());
}

Machine::Out Machine::step(const std::vector<Piece>& pieces, bool commit, const std::vector<int32_t>* given_top) {
  Rig rig(*backend_);
  std::vector<Run> runs;
  int64_t rows = 0;
  for (const Piece& p : pieces) {
    runs.push_back({states_[p.sequence].get(), rows, p.rows, p.position});
    rows += p.rows;
  }
  const Cache cache{runs, 0};
  const Mat table = rope_table(rig, pieces);
  const Mat kv = bf16_rows(rig, pieces, layout_.head_dim, 1),
            q = bf16_rows(rig, pieces, attention_.heads * attention_.head_dim, 2);
  const Mat o = rig.mat(DType::kBF16, rows, q.cols);
  Mat top;
  Out out;
  backend_->append(cache, kv, table, append_);
  const int64_t wide = layout_.ratio == 4 ? 2 : 1;
  for (int i = 0; layout_.ratio != 0 && i < wide; ++i) {
    const int64_t cols = wide * compressors_[i].width;
    backend_->compress(cache, f32_rows(rig, pieces, cols, 3 + i), f32_rows(rig, pieces, cols, 5 + i), compressors_[i]);
  }
  if (layout_.ratio == 4) {
    // Queries as the verb gets them: E2M1 times a power of two for each 32.
    const Mat iq = fill<bf16>(rig, pieces, DType::kBF16, layout_.index_heads * layout_.index_dim, 7,
                              [scale = 1.0f](std::mt19937& g, int64_t c) mutable {
                                if (c % 32 == 0) scale = exp2i(static_cast<int>(g() % 5) - 2);
                                return to_bf16(kE2M1[g() % 16] * scale);
                              });
    top = rig.mat(DType::kI32, rows, layout_.topk);
    backend_->index(top, cache, iq, bf16_rows(rig, pieces, layout_.index_heads, 8),
                    {layout_.index_heads, layout_.index_dim});
    out.top = rig.get<int32_t>(top);
    if (given_top != nullptr) top = rig.put(DType::kI32, rows, layout_.topk, given_top->data());
  }
  backend_->attend(o, cache, q, top, table, attention_);
  out.o = rig.floats(o);
  const Mat X = bf16_rows(rig, pieces, shape_.carry, 9), previous = rig.mat(DType::kBF16, rows, shape_.carry);
  backend_->carry(previous, X, runs);
  for (const bf16 v : rig.get<bf16>(previous)) out.previous.push_back(v.bits);
  if (commit) backend_->commit(runs);
  return out;
}

std::unique_ptr<Backend> cuda() { return make_cuda_backend({}); }

// Both backends through the same steps.
class Twins {
 public:
  Twins(const Layout& layout, int64_t rows, int64_t context)
      : layout_(layout),
        reference_(make_reference_backend(), layout, rows, context),
        cuda_(cuda(), layout, rows, context) {}

  void step(const std::vector<Piece>& pieces, bool commit) {
    const Machine::Out want = reference_.step(pieces, commit, nullptr);
    const Machine::Out got = cuda_.step(pieces, commit, &want.top);
    outputs.add(got.o, want.o, [](float a, float b) { return ulps(a, b) > 1; });
    unequal.add(got.o, want.o, [](float a, float b) { return ulps(a, b) > 0; });
    picks.add(got.top, want.top, std::not_equal_to<int32_t>());
    copies.add(got.previous, want.previous, std::not_equal_to<uint16_t>());
  }
  // The state of a sequence of so many positions, and its tails, which are copies.
  void compare_state(size_t sequence, int64_t positions) {
    for (const StatePart& p : state_parts(layout_.state(1, positions), positions, StateExtent::kAll)) {
      const bool copied =
          p.rows != StateRows::kWindow && p.rows != StateRows::kCompressed && p.rows != StateRows::kIndex;
      (copied ? copies : rows)
          .add(cuda_.rows(sequence, p.rows, p.first, p.count), reference_.rows(sequence, p.rows, p.first, p.count),
               std::not_equal_to<uint8_t>());
    }
  }

  Tally outputs, unequal, picks, copies, rows;

 private:
  Layout layout_;
  Machine reference_, cuda_;
};

void check_twins(const Twins& twins, const Layout& layout) {
  CAPTURE(layout.name);
  MESSAGE(layout.name << ": outputs beyond 1 ulp " << twins.outputs.share() << ", unequal " << twins.unequal.share()
                      << ", picks " << twins.picks.share() << ", bytes of rows " << twins.rows.share() << " of "
                      << twins.rows.total);
  CHECK(twins.outputs.share() < 0.002);
  CHECK(twins.picks.share() < 0.002);
  CHECK(twins.rows.share() < 0.002);
  CHECK(twins.rows.total > 0);
  CHECK(twins.copies.different == 0);
}

}  // namespace

TEST_CASE("simt attention: histories of two sequences, dropped steps and rollbacks") {
  constexpr int64_t kRows = 200, kContext = 1500;
  for (const Layout& layout : layouts()) {
    Twins twins(layout, kRows, kContext);
    std::mt19937 random(3);
    int64_t at[2] = {0, 0};
    const int64_t lengths[] = {1, 2, 7, 16, 17, 40, 1, 130, 1, 33, 200, 3};
    for (size_t i = 0; i < 14; ++i) {
      const bool both = i % 3 != 0;
      const auto pieces = [&](size_t salt, int64_t most) {
        std::vector<Piece> out;
        for (const size_t s : {i % 2, 1 - i % 2}) {
          const int64_t n = std::min(lengths[(i + salt + 5 * s) % 12], most);
          if (s == i % 2 || both) out.push_back({s, at[s], n, static_cast<int64_t>(salt)});
        }
        return out;
      };
      const auto move = [&](const std::vector<Piece>& taken) {
        for (const Piece& p : taken) at[p.sequence] += p.rows;
      };
      if (i % 4 == 1) twins.step(pieces(1, kRows), false);  // dropped
      if (i % 4 == 2) {                                     // committed, then taken back after another was dropped
        const std::vector<Piece> wrong = pieces(2, kRollback);
        const int64_t before[2] = {at[0], at[1]};
        twins.step(wrong, true);
        move(wrong);
        twins.step(pieces(4, 60), false);
        std::copy_n(before, 2, at);
      }
      const std::vector<Piece> right = pieces(0, kRows);
      twins.step(right, true);
      move(right);
      for (const Piece& p : right) twins.compare_state(p.sequence, at[p.sequence]);
    }
    check_twins(twins, layout);
  }
}

TEST_CASE("simt attention: 64 heads of 512 dims, one token and as many as fill the device") {
  const Layout csa{"flash, CSA", 64, 512, 128, 4, 64, 128, 64}, hca{"flash, HCA", 64, 512, 128, 128, 64, 128, 64};
  for (const Layout& layout : {csa, hca}) {
    Twins twins(layout, 160, 1024);
    twins.step({{0, 0, 3, 0}}, true);
    twins.step({{0, 3, 129, 0}}, true);
    twins.step({{0, 132, 140, 0}, {1, 0, 2, 0}}, true);  // a block for 64 heads each
    twins.step({{0, 272, 1, 0}}, true);
    twins.compare_state(0, 273);
    check_twins(twins, layout);
  }
}

TEST_CASE("simt attention: a tile of 64 heads where the device is small, with heads and keys that do not fill it") {
  const int processors = simt::fake_device().processors;
  simt::fake_device().processors = 4;
  const Layout layout{"small device", 70, 448, 40, 4, 4, 128, 12};
  Twins twins(layout, 20, 256);
  twins.step({{0, 0, 17, 0}, {1, 0, 3, 0}}, true);
  twins.step({{0, 17, 20, 0}, {1, 3, 9, 0}}, true);
  twins.step({{1, 12, 1, 0}}, true);
  simt::fake_device().processors = processors;
  twins.compare_state(0, 37);
  check_twins(twins, layout);
}

TEST_CASE("simt attention: states move between the backends byte for byte") {
  Layout layout = layouts()[1];
  StateShape shape = layout.state(100, 40000);
  shape.layers = {{0, 128, 64, 0}, {4, 192, 64, 128}, {128, 128, 64, 0}};
  shape.carry = 256;
  const std::unique_ptr<Backend> reference = make_reference_backend(), device = cuda();
  device->reserve(layout.limits(100, 40000));
  for (const int64_t positions : {int64_t{3}, int64_t{1001}, int64_t{40000}}) {
    const auto from = reference->make_state(shape), there = device->make_state(shape),
               back = reference->make_state(shape);
    CHECK(there->bytes() == device->state_bytes(shape));
    std::mt19937 random(1);
    for (const StatePart& p : state_parts(shape, positions, StateExtent::kAll)) {
      std::vector<uint8_t> content(p.bytes()), got(p.bytes()), again(p.bytes());
      for (uint8_t& b : content) b = static_cast<uint8_t>(random());
      from->import_rows(p.layer, p.rows, p.first, p.count, content.data());
      from->export_rows(p.layer, p.rows, p.first, p.count, got.data());
      there->import_rows(p.layer, p.rows, p.first, p.count, got.data());
      std::fill(got.begin(), got.end(), uint8_t{0});
      there->export_rows(p.layer, p.rows, p.first, p.count, got.data());
      back->import_rows(p.layer, p.rows, p.first, p.count, got.data());
      back->export_rows(p.layer, p.rows, p.first, p.count, again.data());
      CHECK(got == content);
      CHECK(again == content);
    }
  }
}

TEST_CASE("simt attention: what cannot be is said") {
  const std::unique_ptr<Backend> device = cuda();
  const auto message = [&](const StateShape& shape, Status status) {
    try {
      device->make_state(shape);
    } catch (const Error& e) {
      CHECK(e.status() == status);
      return std::string(e.what());
    }
    return std::string();
  };
  StateShape shape = layouts()[1].state(100, 1000);
  shape.context = int64_t{1} << 61;
  CHECK(device->state_bytes(shape) == SIZE_MAX / 2);
  CHECK(message(shape, Status::kOutOfMemoryDevice).find(std::to_string(shape.context)) != std::string::npos);
  shape.context = int64_t{1} << 30;
  const std::string full = message(shape, Status::kOutOfMemoryDevice);
  CHECK(full.find(std::to_string(shape.context)) != std::string::npos);
  CHECK(full.find(std::to_string(device->state_bytes(shape))) != std::string::npos);
  shape = layouts()[1].state(100, 1000);
  shape.layers[0].head_dim = 576;
  CHECK(message(shape, Status::kUnsupported).find("576") != std::string::npos);
  shape.layers[0] = {4, 128, 60, 64};
  CHECK(message(shape, Status::kUnsupported).find("60 rotary") != std::string::npos);
  shape.layers[0] = {4, 128, 64, 96};
  CHECK(message(shape, Status::kUnsupported).find("96") != std::string::npos);
}

TEST_CASE("simt attention: a recorded step runs again with other positions and states") {
  const Layout& layout = layouts()[3];
  const std::unique_ptr<Backend> device = cuda();
  device->reserve(layout.limits(8, 64));
  const auto state = [&] { return device->make_state(layout.state(8, 64)); };
  const auto a = state(), b = state();
  Rig rig(*device);
  std::vector<float> x(2 * static_cast<size_t>(layout.rope), 0.5f);
  std::vector<bf16> ones(2 * static_cast<size_t>(layout.head_dim), to_bf16(1.0f));
  const Mat table = rig.put(DType::kF32, 2, layout.rope, x.data());
  const Mat kv = rig.put(DType::kBF16, 2, layout.head_dim, ones.data());
  Append append;
  append.norm.data = kv.data;
  append.norm.dtype = DType::kBF16;
  int bodies = 0;
  const auto row = [&](const SequenceState& s, int64_t position) {
    std::vector<uint8_t> out(row_bytes(layout.layer(), StateRows::kWindow));
    s.export_rows(0, StateRows::kWindow, position, 1, out.data());
    return out;
  };
  const auto step = [&](SequenceState& first, int64_t p, SequenceState& second, int64_t r) {
    const std::vector<Run> runs = {{&first, 0, 1, p}, {&second, 1, 1, r}};
    device->run(2 << 16 | 2, runs, [&] {
      ++bodies;
      device->append({runs, 0}, kv, table, append);
    });
    device->commit(runs);
  };
  step(*a, 0, *b, 7);
  const std::vector<uint8_t> want = row(*a, 0), empty = row(*a, 9);
  CHECK(want != empty);
  step(*b, 3, *a, 9);
  step(*a, 21, *b, 30);
  CHECK(bodies < 3);
  for (const int64_t p : {0, 9, 21}) CHECK(row(*a, p) == want);
  for (const int64_t p : {7, 3, 30}) CHECK(row(*b, p) == want);
  CHECK(row(*a, 3) == empty);
}

}  // namespace dsv4::test
