#include "tests/ops/ops_attention_steps.h"

#include <algorithm>
#include <cstring>

#include "lib/base/kv_row.h"
#include "tests/support/bf16_steps.h"
#include "tests/support/op_check.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

std::vector<bf16> bf16_rows(const GoldenTensor& t) {
  std::vector<bf16> out(static_cast<size_t>(t.count()));
  std::memcpy(out.data(), t.data, out.size() * 2);
  return out;
}

template <class T>
std::vector<T> rotate_rows(const std::vector<T>& x, int64_t rows, int64_t by) {
  std::vector<T> out = x;
  std::rotate(out.begin(), out.begin() + static_cast<int64_t>(x.size()) / rows * by, out.end());
  return out;
}

bool same(const std::vector<bf16>& a, const std::vector<bf16>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 2) == 0);
}

class Runner {
 public:
  Runner(Backend& backend, const Micro& micro, const MicroLayer& layer, const std::vector<Content>& contents)
      : backend_(backend), c_(micro.config()), micro_(micro), layer_(layer), contents_(contents),
        weights_(micro, backend) {
    int64_t longest = 0, total = 0;
    for (const Content& content : contents) {
      longest = std::max(longest, content.rows);
      total += content.rows;
    }
    StateShape shape;
    shape.layers = {{layer.ratio, c_.head_dim, c_.rope_dim, layer.ratio == 4 ? c_.index_dim : 0}};
    shape.window = c_.window;
    shape.max_rows = longest;
    shape.context = 2 * longest;
    backend.reserve(micro.limits(total, shape.context));
    kv_ = {c_.head_dim - c_.rope_dim, c_.rope_dim};
    index_ = {c_.index_dim};
    for (const Content& content : contents) {
      states_.push_back(backend.make_state(shape));
      traces_.emplace_back();
      Trace& t = traces_.back();
      t.kv.resize(static_cast<size_t>(content.rows * kv_.bytes()));
      t.o.resize(content.q.size());
      if (layer.ratio != 4) continue;
      t.top.resize(static_cast<size_t>(content.rows * c_.index_topk));
      t.w.resize(static_cast<size_t>(content.rows * c_.index_heads));
    }
  }

  void step(const Step& step);
  std::vector<Trace> finish();

 private:
  Mat gather(Rig& rig, const Step& step, const std::vector<bf16> Content::*field);
  void state_verbs(Rig& rig, const Cache& cache, Mat x, Mat table, Mat top, Mat iq, Mat w);
  void keep(Rig& rig, const Step& step, Mat o, Mat top, Mat w);

  Backend& backend_;
  const MicroConfig& c_;
  const Micro& micro_;
  const MicroLayer& layer_;
  const std::vector<Content>& contents_;
  MicroWeights weights_;
  std::vector<std::unique_ptr<SequenceState>> states_;
  std::vector<Trace> traces_;
  KvRowLayout kv_;
  IndexRowLayout index_;
};

Mat Runner::gather(Rig& rig, const Step& step, const std::vector<bf16> Content::*field) {
  std::vector<bf16> rows;
  int64_t count = 0;
  for (const Piece& p : step.pieces) {
    const Content& content = contents_[p.sequence];
    const std::vector<bf16>& from = content.*field;
    const int64_t width = static_cast<int64_t>(from.size()) / content.rows;
    for (int64_t i = 0; i < p.rows; ++i) {
      const auto at = from.begin() + (p.first + p.shift + i) % content.rows * width;
      rows.insert(rows.end(), at, at + width);
    }
    count += p.rows;
  }
  return rig.put(DType::kBF16, count, static_cast<int64_t>(rows.size()) / count, rows.data());
}

void Runner::state_verbs(Rig& rig, const Cache& cache, Mat x, Mat table, Mat top, Mat iq, Mat w) {
  const std::string attn = layer_.name + ".attn.";
  const bool csa = layer_.ratio == 4;
  const int64_t overlap = csa ? 2 : 1;
  const Mat kv = rig.mat(DType::kBF16, x.rows, c_.head_dim);
  const Mat k = rig.mat(DType::kF32, x.rows, overlap * c_.head_dim), z = rig.mat(DType::kF32, x.rows, k.cols);
  const Mat ik = rig.mat(DType::kF32, x.rows, overlap * c_.index_dim), iz = rig.mat(DType::kF32, x.rows, ik.cols);
  std::vector<Product> products = {{kv, &weights_.get(attn + "wkv")}};
  if (layer_.ratio != 0) {
    products.push_back({k, &weights_.get(attn + "compressor.wkv")});
    products.push_back({z, &weights_.get(attn + "compressor.wgate")});
  }
  if (csa) {
    products.push_back({ik, &weights_.get(attn + "indexer.compressor.wkv")});
    products.push_back({iz, &weights_.get(attn + "indexer.compressor.wgate")});
    products.push_back({w, &weights_.get(attn + "indexer.weights_proj")});
  }
  backend_.linear(products, x);
  backend_.append(cache, kv, table, {weights_.get(attn + "kv_norm.weight"), c_.norm_eps});
  if (layer_.ratio == 0) return;
  const std::vector<float>& f = micro_.frequencies(layer_.ratio);
  Compressor options;
  options.ratio = layer_.ratio;
  options.width = c_.head_dim;
  options.ape = weights_.get(attn + "compressor.ape");
  options.norm = weights_.get(attn + "compressor.norm.weight");
  options.eps = c_.norm_eps;
  options.frequencies = rig.put(DType::kF32, 1, static_cast<int64_t>(f.size()), f.data());
  backend_.compress(cache, k, z, options);
  if (!csa) return;
  options.width = c_.index_dim;
  options.index = true;
  options.ape = weights_.get(attn + "indexer.compressor.ape");
  options.norm = weights_.get(attn + "indexer.compressor.norm.weight");
  backend_.compress(cache, ik, iz, options);
  backend_.index(top, cache, iq, w, {c_.index_heads, c_.index_dim});
}

void Runner::step(const Step& step) {
  Rig rig(backend_);
  std::vector<Run> runs;
  std::vector<int32_t> positions;
  for (const Piece& p : step.pieces) {
    runs.push_back({states_[p.sequence].get(), static_cast<int64_t>(positions.size()), p.rows, p.first});
    for (int64_t i = 0; i < p.rows; ++i) positions.push_back(static_cast<int32_t>(p.first + i));
  }
  const Cache cache{runs, 0};
  const Mat x = gather(rig, step, &Content::x), q = gather(rig, step, &Content::q);
  const bool csa = layer_.ratio == 4;
  const Mat iq = csa ? gather(rig, step, &Content::index_q) : Mat{};
  const Mat table = rig.rope_table(positions, micro_.frequencies(layer_.ratio));
  const Mat top = csa ? rig.mat(DType::kI32, x.rows, c_.index_topk) : Mat{};
  const Mat w = csa ? rig.mat(DType::kBF16, x.rows, c_.index_heads) : Mat{};
  state_verbs(rig, cache, x, table, top, iq, w);

  Mat used = top;  // by attend: the recorded choice, where there is one
  const Content& first = contents_[step.pieces[0].sequence];
  if (csa && step.commit && step.pieces.size() == 1 && !first.top.empty()) {
    used = rig.put(DType::kI32, x.rows, c_.index_topk, first.top.data() + step.pieces[0].first * c_.index_topk);
  }
  const Mat o = rig.mat(DType::kBF16, x.rows, q.cols);
  Attention options;
  options.heads = c_.heads;
  options.head_dim = c_.head_dim;
  options.window = c_.window;
  options.ratio = layer_.ratio;
  options.sink = weights_.get(layer_.name + ".attn.attn_sink");
  backend_.attend(o, cache, q, used, table, options);
  if (!step.commit) return;
  backend_.commit(runs);
  keep(rig, step, o, top, w);
}

void Runner::keep(Rig& rig, const Step& step, Mat o, Mat top, Mat w) {
  backend_.synchronize();
  const auto copy = [](auto& to, const auto& from, int64_t width, int64_t at, int64_t row, int64_t rows) {
    std::copy_n(from.begin() + row * width, rows * width, to.begin() + at * width);
  };
  const auto os = rig.get<bf16>(o), ws = rig.get<bf16>(w);
  const auto tops = rig.get<int32_t>(top);
  int64_t row = 0;
  for (const Piece& p : step.pieces) {
    Trace& t = traces_[p.sequence];
    copy(t.o, os, o.cols, p.first, row, p.rows);
    if (layer_.ratio == 4) {
      copy(t.w, ws, w.cols, p.first, row, p.rows);
      copy(t.top, tops, top.cols, p.first, row, p.rows);
    }
    states_[p.sequence]->export_rows(0, StateRows::kWindow, p.first, p.rows, t.kv.data() + p.first * kv_.bytes());
    row += p.rows;
  }
}

std::vector<Trace> Runner::finish() {
  for (size_t s = 0; s < traces_.size() && layer_.ratio != 0; ++s) {
    const int64_t entries = contents_[s].rows / layer_.ratio;
    traces_[s].compressed.resize(static_cast<size_t>(entries * kv_.bytes()));
    states_[s]->export_rows(0, StateRows::kCompressed, 0, entries, traces_[s].compressed.data());
    if (layer_.ratio != 4) continue;
    traces_[s].index.resize(static_cast<size_t>(entries * index_.bytes()));
    states_[s]->export_rows(0, StateRows::kIndex, 0, entries, traces_[s].index.data());
  }
  return std::move(traces_);
}

}  // namespace

Content Content::recorded(const Micro& micro, const MicroLayer& layer) {
  Content c;
  c.rows = micro.op(layer, "attn.in").rows();
  c.x = bf16_rows(micro.op(layer, "attn.in"));
  c.q = bf16_rows(micro.op(layer, "attn.q"));
  if (layer.ratio == 4) {
    c.index_q = bf16_rows(micro.op(layer, "attn.index.q"));
    c.top = micro.op(layer, "attn.index.top").ints();
  }
  return c;
}

Content Content::rotated(int64_t by) const {
  Content c;
  c.rows = rows;
  c.x = rotate_rows(x, rows, by);
  c.q = rotate_rows(q, rows, by);
  c.index_q = rotate_rows(index_q, rows, by);
  return c;
}

bool Trace::operator==(const Trace& other) const {
  return kv == other.kv && compressed == other.compressed && index == other.index && top == other.top &&
         same(o, other.o) && same(w, other.w);
}

double Trace::difference(const Trace& other) const {
  const auto share = [](const auto& a, const auto& b, auto differ) {
    if (a.size() != b.size()) return 1.0;
    size_t count = 0;
    for (size_t i = 0; i < a.size(); ++i) count += differ(a[i], b[i]);
    return a.empty() ? 0.0 : static_cast<double>(count) / static_cast<double>(a.size());
  };
  const auto unequal = [](auto a, auto b) { return a != b; };
  const auto apart = [](bf16 a, bf16 b) { return bf16_steps(to_float(a), to_float(b)) > 1; };
  return std::max({share(kv, other.kv, unequal), share(compressed, other.compressed, unequal),
                   share(index, other.index, unequal), share(top, other.top, unequal), share(o, other.o, apart),
                   share(w, other.w, apart)});
}

std::vector<Trace> run_attention(Backend& backend, const Micro& micro, const MicroLayer& layer,
                                 const std::vector<Content>& contents, const std::vector<Step>& steps) {
  Runner runner(backend, micro, layer, contents);
  for (const Step& s : steps) runner.step(s);
  return runner.finish();
}

std::vector<Step> in_chunks(int64_t rows, int64_t chunk) {
  std::vector<Step> steps;
  for (int64_t at = 0; at < rows; at += chunk) {
    steps.push_back({{{0, at, std::min(chunk, rows - at), 0}}, true});
  }
  return steps;
}

}  // namespace dsv4::test
