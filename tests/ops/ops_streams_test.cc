// The residual streams with recorded inputs: embedding, hyper-connections, heads, and the draft head's input.
#include <cmath>
#include <cstring>

#include <doctest/doctest.h>

#include "tests/ops/ops_oracle.h"
#include "tests/support/backends_under_test.h"
#include "tests/support/golden_micro.h"
#include "tests/support/op_check.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

class Streams {
 public:
  Streams(const BackendUnderTest& under_test, const std::string& golden)
      : micro_(Micro::get(golden)), backend_(under_test.make()), weights_(micro_, *backend_), oracle_(micro_),
        rig_(*backend_), c_(micro_.config()) {
    backend_->reserve(micro_.limits(static_cast<int64_t>(micro_.tokens().size()), 1024));
  }

  void embedding(const BackendUnderTest& under_test);
  void sub_layer(OpTable& table, const MicroLayer& layer, const std::string& part);
  void draft_input(OpTable& table);
  void head(OpTable& table, const std::string& x_out, const std::string& hc, const std::string& norm,
            const std::string& logits);
  const Micro& micro() const { return micro_; }

 private:
  HyperConnection connection(const std::string& prefix, const std::string& norm) {
    HyperConnection hc;
    hc.fn = weights_.get(prefix + "_fn");
    hc.base = weights_.get(prefix + "_base");
    hc.scale = weights_.get(prefix + "_scale");
    if (!norm.empty()) hc.norm = weights_.get(norm);
    hc.sinkhorn = c_.sinkhorn;
    hc.eps = c_.hc_eps;
    hc.norm_eps = c_.norm_eps;
    return hc;
  }
  Mat recorded_mix(const MicroLayer& layer, const std::string& part);

  const Micro& micro_;
  std::unique_ptr<Backend> backend_;
  MicroWeights weights_;
  Oracle oracle_;
  Rig rig_;
  const MicroConfig& c_;
};

// [rows, m + m·m]: post, then comb.
Mat Streams::recorded_mix(const MicroLayer& layer, const std::string& part) {
  const std::vector<float> post = micro_.op(layer, part + ".post").floats();
  const std::vector<float> comb = micro_.op(layer, part + ".comb").floats();
  const auto m = static_cast<size_t>(c_.streams);
  std::vector<float> mix;
  for (size_t r = 0; r < post.size() / m; ++r) {
    mix.insert(mix.end(), post.begin() + r * m, post.begin() + (r + 1) * m);
    mix.insert(mix.end(), comb.begin() + r * m * m, comb.begin() + (r + 1) * m * m);
  }
  return rig_.put(DType::kF32, static_cast<int64_t>(post.size() / m), c_.streams * (c_.streams + 1), mix.data());
}

// part "attn" or "ffn": hc_pre without and with its norm, the mixes, hc_post, and both in one verb.
void Streams::sub_layer(OpTable& table, const MicroLayer& layer, const std::string& part) {
  const bool attn = part == "attn";
  const GoldenTensor& before = micro_.op(layer, attn ? "x_in" : "x_mid");
  const GoldenTensor& after = micro_.op(layer, attn ? "x_mid" : "x_out");
  const GoldenTensor& y = micro_.op(layer, part + ".out");
  const std::string prefix = layer.name + ".hc_" + part, norm = layer.name + "." + part + "_norm.weight";
  const std::vector<float> X = before.floats();
  const int64_t rows = before.rows(), width = before.cols();
  const std::string where = micro_.name() + " " + layer.name;
  const auto explain = [&](const std::string& with) {
    return [&, with](int64_t r) { return oracle_.hc(prefix, X.data() + r * width, with); };
  };

  const Mat x = rig_.mat(DType::kBF16, rows, c_.hidden);
  const Mat mix = rig_.mat(DType::kF32, rows, c_.streams * (c_.streams + 1));
  backend_->hc_pre(x, mix, rig_.put(before), connection(prefix, ""));
  table.check(part + ".pre_out", where, rig_.floats(x), micro_.op(layer, part + ".pre_out").floats(), c_.hidden,
              explain(""));
  backend_->hc_pre(x, mix, rig_.put(before), connection(prefix, norm));
  const std::vector<float> in = rig_.floats(x), mixed = rig_.floats(mix);
  table.check(part + ".in", where, in, micro_.op(layer, part + ".in").floats(), c_.hidden, explain(norm));
  const std::vector<float> want = rig_.floats(recorded_mix(layer, part));
  float worst = 0;
  for (size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::fabs(mixed[i] - want[i]));
  CHECK_MESSAGE(worst < 2e-6f, where << " " << part << " post and comb: " << worst);

  const std::vector<float> post = micro_.op(layer, part + ".post").floats();
  const std::vector<float> comb = micro_.op(layer, part + ".comb").floats(), out = y.floats();
  const Mat streams = rig_.put(before);
  backend_->hc_post(streams, rig_.put(y), recorded_mix(layer, part));
  const int64_t m = c_.streams;
  table.check(attn ? "x_mid" : "x_out", where, rig_.floats(streams), after.floats(), width, [&](int64_t r) {
    return oracle_.hc_post(post.data() + r * m, comb.data() + r * m * m, X.data() + r * width,
                           out.data() + r * c_.hidden);
  });

  // hc_post_pre is those two, in one verb.
  const HyperConnection next = connection(prefix, norm);
  const Mat fused = rig_.put(before), fused_mix = recorded_mix(layer, part);
  backend_->hc_post_pre(x, fused_mix, fused, rig_.put(y), next);
  CHECK(rig_.floats(fused) == rig_.floats(streams));
  const Mat x_alone = rig_.mat(DType::kBF16, rows, c_.hidden);
  backend_->hc_pre(x_alone, mix, streams, next);
  CHECK(rig_.floats(x) == rig_.floats(x_alone));
  CHECK(rig_.floats(fused_mix) == rig_.floats(mix));
}

void Streams::embedding(const BackendUnderTest& under_test) {
  const GoldenTensor& want = micro_.op("layers.0.x_in");
  const Mat X = rig_.mat(DType::kBF16, want.rows(), want.cols());
  backend_->embed(X, rig_.put(micro_.tokens()), weights_.get("embed"));
  CHECK_MESSAGE(std::memcmp(rig_.get<bf16>(X).data(), want.data, static_cast<size_t>(want.count()) * 2) == 0,
                under_test.name << " " << micro_.name());
}

void Streams::draft_input(OpTable& table) {
  const std::string last = micro_.layers()[micro_.layers().size() - 2].name;
  const GoldenTensor& want = micro_.op("mtp.0.x_in");
  const int64_t rows = want.rows(), n = c_.hidden, m = c_.streams;
  const std::vector<int32_t> next(micro_.tokens().begin() + 1, micro_.tokens().end());
  const Mat e = rig_.mat(DType::kBF16, rows, n), e_out = rig_.mat(DType::kBF16, rows, n);
  backend_->embed(e, rig_.put(next), weights_.get("embed"));
  backend_->norm(e, e, weights_.get("mtp.0.enorm.weight"), c_.norm_eps);
  backend_->linear({{Product{e_out, &weights_.get("mtp.0.e_proj")}}}, e);
  const Mat X = rig_.put(micro_.op(last + ".x_out")).slice(0, rows);
  const Mat h = rig_.mat(DType::kBF16, rows, m * n), h_out = rig_.mat(DType::kBF16, rows, m * n);
  backend_->norm(h.reshape(rows * m, n), X.reshape(rows * m, n), weights_.get("mtp.0.hnorm.weight"), c_.norm_eps);
  for (int64_t k = 0; k < m; ++k) {  // a stream at a time, as wide steps of rows would be m times as long
    const auto stream = [&](Mat all) {
      all.data = static_cast<uint8_t*>(all.data) + 2 * k * n;
      all.cols = n;
      return all;
    };
    backend_->linear({{Product{stream(h_out), &weights_.get("mtp.0.h_proj")}}}, stream(h));
  }
  const Mat out = rig_.mat(DType::kBF16, rows, m * n);
  backend_->merge(out, e_out, h_out);
  const std::vector<float> from = rig_.floats(X);
  table.check("mtp.x_in", micro_.name() + " mtp.0", rig_.floats(out), want.floats(), m * n, [&](int64_t r) {
    return oracle_.draft_input(next[static_cast<size_t>(r)], from.data() + r * m * n);
  });
}

void Streams::head(OpTable& table, const std::string& x_out, const std::string& hc, const std::string& norm,
                   const std::string& logits) {
  const GoldenTensor& X = micro_.op(x_out);
  const GoldenTensor& want = micro_.golden(logits);
  const Mat x = rig_.mat(DType::kBF16, X.rows(), c_.hidden), out = rig_.mat(DType::kF32, X.rows(), c_.vocab);
  backend_->hc_head(x, rig_.put(X), connection(hc, norm));
  backend_->logits(out, x, weights_.get("head"));
  const std::vector<float> from = X.floats();
  table.check(logits, micro_.name(), rig_.floats(out), want.floats(), c_.vocab,
              [&](int64_t r) { return oracle_.logits(oracle_.hc(hc, from.data() + r * X.cols(), norm)); });
}

}  // namespace

TEST_CASE("ops: residual streams and heads agree with the recorded steps") {
  for (const BackendUnderTest& under_test : backends_under_test()) {
    OpTable table(under_test.name);
    for (const std::string golden : {"micro", "micro2"}) {
      Streams streams(under_test, golden);
      streams.embedding(under_test);
      for (const MicroLayer& layer : streams.micro().layers()) {
        streams.sub_layer(table, layer, "attn");
        streams.sub_layer(table, layer, "ffn");
      }
      streams.draft_input(table);
      streams.head(table, "layers.2.x_out", "hc_head", "norm.weight", "logits");
      streams.head(table, "mtp.0.x_out", "mtp.0.hc_head", "mtp.0.norm.weight", "draft_logits");
    }
    table.print();
  }
}

}  // namespace dsv4::test
