// Attention with recorded inputs, step by step, and the verbs with state in steps of several lengths.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <doctest/doctest.h>

#include "lib/base/kv_row.h"
#include "tests/ops/ops_attention_steps.h"
#include "tests/ops/ops_oracle.h"
#include "tests/support/backends_under_test.h"
#include "tests/support/op_check.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

std::vector<float> widen(const std::vector<bf16>& x) {
  std::vector<float> out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = to_float(x[i]);
  return out;
}

template <class Layout>
std::vector<float> unpack(const Layout& layout, int64_t dim, const std::vector<uint8_t>& rows) {
  std::vector<float> out(rows.size() / static_cast<size_t>(layout.bytes()) * static_cast<size_t>(dim));
  for (size_t r = 0; r < out.size() / static_cast<size_t>(dim); ++r) {
    layout.unpack(out.data() + r * static_cast<size_t>(dim), rows.data() + r * static_cast<size_t>(layout.bytes()));
  }
  return out;
}

class AttentionOps {
 public:
  AttentionOps(OpTable& table, const BackendUnderTest& under_test, const Micro& micro, const MicroLayer& layer)
      : table_(table), micro_(micro), layer_(layer), c_(micro.config()), backend_(under_test.make()),
        weights_(micro, *backend_), oracle_(micro), where_(micro.name() + " " + layer.name),
        rows_(micro.op(layer, "x_in").rows()), x_(recorded("attn.in")), qr_(recorded("attn.qr")) {
    backend_->reserve(micro.limits(rows_, 1024));
  }

  void queries();
  void output();
  void state(const Trace& trace);  // what run_attention() left

 private:
  std::vector<float> recorded(const std::string& step) const { return micro_.op(layer_, step).floats(); }
  std::string weight(const std::string& name) const { return layer_.name + ".attn." + name; }
  void check(const std::string& op, const std::vector<float>& got, const std::string& step, int64_t cols,
             const std::function<Balls(int64_t)>& explain) {
    table_.check(op, where_, got, recorded(step), cols, explain);
  }
  void check_top(const Trace& trace);
  std::vector<Balls> keys_of(int64_t t, const std::vector<float>& kv, const std::vector<float>& entries) const;

  OpTable& table_;
  const Micro& micro_;
  const MicroLayer& layer_;
  const MicroConfig& c_;
  std::unique_ptr<Backend> backend_;
  MicroWeights weights_;
  Oracle oracle_;
  std::string where_;
  int64_t rows_;
  std::vector<float> x_, qr_;
};

void AttentionOps::queries() {
  Rig rig(*backend_);
  const GoldenTensor& qr = micro_.op(layer_, "attn.qr");
  const int64_t rank = qr.cols();
  const Mat low = rig.mat(DType::kBF16, rows_, rank);
  backend_->linear({{Product{low, &weights_.get(weight("wq_a"))}}}, rig.put(micro_.op(layer_, "attn.in")));
  backend_->norm(low, low, weights_.get(weight("q_norm.weight")), c_.norm_eps);
  check("qr", rig.floats(low), "attn.qr", rank, [&](int64_t r) {
    return oracle_.normed_product(weight("wq_a"), weight("q_norm.weight"), x_.data() + r * c_.hidden);
  });

  const Mat table = rig.rope_table(0, rows_, micro_.frequencies(layer_.ratio));
  const Mat q = rig.mat(DType::kBF16, rows_, c_.heads * c_.head_dim);
  const Mat iq = rig.mat(DType::kBF16, rows_, c_.index_heads * c_.index_dim);
  std::vector<Product> products = {{q, &weights_.get(weight("wq_b"))}};
  if (layer_.ratio == 4) products.push_back({iq, &weights_.get(weight("indexer.wq_b"))});
  backend_->linear(products, rig.put(qr));
  backend_->query(q, table, {c_.heads, c_.head_dim, true, false, c_.norm_eps});
  check("q", rig.floats(q), "attn.q", q.cols, [&](int64_t r) { return oracle_.q(layer_, qr_.data() + r * rank, r); });
  if (layer_.ratio != 4) return;
  backend_->query(iq, table, {c_.index_heads, c_.index_dim, false, true, c_.norm_eps});
  check("index.q", rig.floats(iq), "attn.index.q", iq.cols,
        [&](int64_t r) { return oracle_.index_q(layer_, qr_.data() + r * rank, r); });
}

void AttentionOps::output() {
  Rig rig(*backend_);
  const GoldenTensor& o = micro_.op(layer_, "attn.o");
  const int64_t rank = micro_.op(layer_, "attn.o_a").cols();
  const std::vector<float> from = o.floats();
  const Mat low = rig.mat(DType::kBF16, rows_, rank), y = rig.mat(DType::kBF16, rows_, c_.hidden);
  backend_->project_out(y, low, rig.put(o), weights_.get(weight("wo_a")), weights_.get(weight("wo_b")), c_.groups);
  const auto explain_low = [&](int64_t r) { return oracle_.low(layer_, from.data() + r * o.cols()); };
  check("o_a", rig.floats(low), "attn.o_a", rank, explain_low);
  check("attn.out", rig.floats(y), "attn.out", c_.hidden,
        [&](int64_t r) { return oracle_.product(weight("wo_b"), explain_low(r)); });
}

// Scores in float64 from the rows as they are in the state: another choice than the recorded one must be a near tie.
void AttentionOps::check_top(const Trace& trace) {
  const std::vector<float> q = recorded("attn.index.q"), w = recorded("attn.index.w");
  const std::vector<float> k = unpack(IndexRowLayout{c_.index_dim}, c_.index_dim, trace.index);
  const std::vector<int32_t> want = micro_.op(layer_, "attn.index.top").ints();
  int64_t different = 0, explained = 0;
  for (int64_t t = 0; t < rows_; ++t) {
    const auto score = [&](int32_t entry) {
      Ball sum;
      for (int64_t h = 0; h < c_.index_heads; ++h) {
        double dot = 0;
        for (int64_t i = 0; i < c_.index_dim; ++i) {
          dot += static_cast<double>(q[static_cast<size_t>((t * c_.index_heads + h) * c_.index_dim + i)]) *
                 k[static_cast<size_t>(entry * c_.index_dim + i)];
        }
        sum = add(sum, {std::max(dot, 0.0) * w[static_cast<size_t>(t * c_.index_heads + h)], 0});
      }
      return sum;
    };
    for (int64_t i = 0; i < c_.index_topk; ++i) {
      const int32_t got = trace.top[static_cast<size_t>(t * c_.index_topk + i)];
      const int32_t recorded = want[static_cast<size_t>(t * c_.index_topk + i)];
      if (got == recorded) continue;
      ++different;
      if (got < 0 || recorded < 0 || got >= (t + 1) / 4) continue;
      const Ball a = score(got), b = score(recorded);
      if (std::fabs(a.v - b.v) <= a.r + b.r) ++explained;
    }
  }
  table_.count("index.top", where_, static_cast<int64_t>(want.size()), different, explained);
}

// The keys of token t. A row of the state that is not the recorded one (a flip, shown by its own check) is a ball.
std::vector<Balls> AttentionOps::keys_of(int64_t t, const std::vector<float>& kv,
                                         const std::vector<float>& entries) const {
  static const std::vector<float> none;
  const std::vector<float> want_kv = recorded("attn.kv");
  const std::vector<float> want_entries = layer_.ratio != 0 ? recorded("attn.compressed") : none;
  std::vector<Balls> keys;
  const auto take = [&](const std::vector<float>& got, const std::vector<float>& want, int64_t row) {
    keys.emplace_back();
    for (int64_t i = row * c_.head_dim; i < (row + 1) * c_.head_dim; ++i) {
      keys.back().push_back(hull({got[static_cast<size_t>(i)], 0}, {want[static_cast<size_t>(i)], 0}));
    }
  };
  for (int64_t p = std::max<int64_t>(t - c_.window + 1, 0); p <= t; ++p) take(kv, want_kv, p);
  if (layer_.ratio == 4) {
    const std::vector<int32_t> top = micro_.op(layer_, "attn.index.top").ints();
    for (int64_t i = 0; i < c_.index_topk; ++i) {
      const int32_t j = top[static_cast<size_t>(t * c_.index_topk + i)];
      if (j >= 0) take(entries, want_entries, j);
    }
  } else if (layer_.ratio != 0) {
    for (int64_t j = 0; j < (t + 1) / layer_.ratio; ++j) take(entries, want_entries, j);
  }
  return keys;
}

void AttentionOps::state(const Trace& trace) {
  const KvRowLayout layout{c_.head_dim - c_.rope_dim, c_.rope_dim};
  const std::vector<float> kv = unpack(layout, c_.head_dim, trace.kv);
  check("kv", kv, "attn.kv", c_.head_dim,
        [&](int64_t r) { return oracle_.kv(layer_, x_.data() + r * c_.hidden, r); });
  const std::vector<float> entries = unpack(layout, c_.head_dim, trace.compressed);
  if (layer_.ratio != 0) {
    check("compressed", entries, "attn.compressed", c_.head_dim,
          [&](int64_t j) { return oracle_.entry(layer_, "attn.compressor", false, j, x_); });
  }
  if (layer_.ratio == 4) {
    check("index.k", unpack(IndexRowLayout{c_.index_dim}, c_.index_dim, trace.index), "attn.index.k", c_.index_dim,
          [&](int64_t j) { return oracle_.entry(layer_, "attn.indexer.compressor", true, j, x_); });
    std::vector<float> w = widen(trace.w);
    const float factor = 1.0f / std::sqrt(static_cast<float>(c_.index_dim * c_.index_heads));
    for (float& v : w) v *= factor;
    check("index.w", w, "attn.index.w", c_.index_heads, [&](int64_t r) {
      Balls b = oracle_.product(weight("indexer.weights_proj"), points(x_.data() + r * c_.hidden, c_.hidden));
      for (Ball& v : b) v = mul(v, {factor, 0});
      return b;
    });
    check_top(trace);
  }
  const std::vector<float> q = recorded("attn.q");
  check("o", widen(trace.o), "attn.o", c_.heads * c_.head_dim, [&](int64_t t) {
    return oracle_.attend(layer_, q.data() + t * c_.heads * c_.head_dim, keys_of(t, kv, entries), t);
  });
}

}  // namespace

TEST_CASE("ops: attention agrees with the recorded steps, in one step and in chunks") {
  for (const BackendUnderTest& under_test : backends_under_test()) {
    OpTable table(under_test.name);
    for (const std::string golden : {"micro", "micro2"}) {
      const Micro& micro = Micro::get(golden);
      for (const MicroLayer& layer : micro.layers()) {
        AttentionOps ops(table, under_test, micro, layer);
        ops.queries();
        ops.output();
        const std::vector<Content> contents = {Content::recorded(micro, layer)};
        const int64_t rows = contents[0].rows;
        Trace whole;
        for (const int64_t chunk : {rows, int64_t{1}, int64_t{3}, int64_t{7}, int64_t{128}}) {
          const std::unique_ptr<Backend> backend = under_test.make();
          const Trace trace = run_attention(*backend, micro, layer, contents, in_chunks(rows, chunk))[0];
          if (chunk == rows) whole = trace;
          if (chunk == rows || !under_test.same_bits_in_any_step) {
            ops.state(trace);
          } else {
            CHECK_MESSAGE(trace == whole, golden << " " << layer.name << ": chunks of " << chunk);
          }
        }
      }
    }
    table.print();
  }
}

}  // namespace dsv4::test
