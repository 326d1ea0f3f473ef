// Routing and experts with recorded inputs.
#include <algorithm>
#include <cmath>

#include <doctest/doctest.h>

#include "tests/ops/ops_oracle.h"
#include "tests/support/backends_under_test.h"
#include "tests/support/op_check.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

class ExpertOps {
 public:
  ExpertOps(OpTable& table, const BackendUnderTest& under_test, const Micro& micro, const MicroLayer& layer)
      : table_(table), micro_(micro), layer_(layer), c_(micro.config()), backend_(under_test.make()),
        weights_(micro, *backend_), oracle_(micro), where_(micro.name() + " " + layer.name), rig_(*backend_),
        in_(micro.op(layer, "ffn.in")) {
    backend_->reserve(micro.limits(in_.rows(), 1024));
  }

  void route();
  void experts(int64_t chunk);

 private:
  Expert expert(const std::string& name) {
    return {weights_.get(name + ".w1"), weights_.get(name + ".w2"), weights_.get(name + ".w3")};
  }

  OpTable& table_;
  const Micro& micro_;
  const MicroLayer& layer_;
  const MicroConfig& c_;
  std::unique_ptr<Backend> backend_;
  MicroWeights weights_;
  Oracle oracle_;
  std::string where_;
  Rig rig_;
  const GoldenTensor& in_;
};

void ExpertOps::route() {
  const std::string prefix = layer_.name + ".ffn.gate";
  Gate gate;
  gate.weight = weights_.get(prefix);
  if (layer_.hash) {
    gate.hash = weights_.get(prefix + ".tid2eid");
  } else {
    gate.bias = weights_.get(prefix + ".bias");
  }
  gate.scale = c_.routed_scale;
  // The draft head's row t goes with token t + 1.
  std::vector<int32_t> tokens(micro_.tokens().begin() + (layer_.mtp ? 1 : 0), micro_.tokens().end());
  const Route out{rig_.mat(DType::kI32, in_.rows(), c_.picks), rig_.mat(DType::kF32, in_.rows(), c_.picks)};
  backend_->route(out, rig_.put(in_), rig_.put(tokens), gate);

  const std::vector<int32_t> got = rig_.get<int32_t>(out.experts);
  const std::vector<int32_t> want = micro_.op(layer_, "ffn.route.experts").ints();
  const std::vector<float> weights = rig_.floats(out.weights);
  const std::vector<float> want_weights = micro_.op(layer_, "ffn.route.weights").floats();
  const auto k = static_cast<size_t>(c_.picks);
  // The recorded scores have no near ties (the smallest gap is far above FP32's reach): the sets must be equal.
  int64_t different = 0;
  float worst = 0;
  for (size_t r = 0; r < got.size() / k; ++r) {
    const auto first = got.begin() + static_cast<int64_t>(r * k), end = first + c_.picks;
    for (size_t i = r * k; i < (r + 1) * k; ++i) {
      const auto at = std::find(first, end, want[i]);
      if (at == end) {
        ++different;
        continue;
      }
      const float weight = weights[static_cast<size_t>(at - got.begin())];
      worst = std::max(worst, std::fabs(weight - want_weights[i]) / want_weights[i]);
    }
  }
  table_.count("route.experts", where_, static_cast<int64_t>(want.size()), different, 0);
  CHECK_MESSAGE(worst < 2e-6f, where_ << " route.weights: " << worst);
}

void ExpertOps::experts(int64_t chunk) {
  std::vector<Expert> routed;
  for (int64_t e = 0; e < c_.experts; ++e) routed.push_back(expert(layer_.name + ".ffn.experts." + std::to_string(e)));
  Experts options;
  options.routed = routed;
  options.shared = expert(layer_.name + ".ffn.shared_experts");
  options.limit = c_.swiglu_limit;
  const GoldenTensor& picks = micro_.op(layer_, "ffn.route.experts");
  const GoldenTensor& weights = micro_.op(layer_, "ffn.route.weights");
  const Route route{rig_.put(picks), rig_.put(weights)};
  const Mat x = rig_.put(in_), y = rig_.mat(DType::kBF16, in_.rows(), c_.hidden);
  for (int64_t at = 0; at < in_.rows(); at += chunk) {
    const int64_t rows = std::min(chunk, in_.rows() - at);
    const Route part{route.experts.slice(at, rows), route.weights.slice(at, rows)};
    backend_->experts(y.slice(at, rows), x.slice(at, rows), part, options);
  }
  const std::vector<float> from = in_.floats(), scale = weights.floats();
  const std::vector<int32_t> chosen = picks.ints();
  table_.check("ffn.out", where_, rig_.floats(y), micro_.op(layer_, "ffn.out").floats(), c_.hidden, [&](int64_t r) {
    return oracle_.ffn(layer_, from.data() + r * c_.hidden, chosen.data() + r * c_.picks, scale.data() + r * c_.picks);
  });
}

}  // namespace

TEST_CASE("ops: routing and experts agree with the recorded steps") {
  for (const BackendUnderTest& under_test : backends_under_test()) {
    OpTable table(under_test.name);
    for (const std::string golden : {"micro", "micro2"}) {
      const Micro& micro = Micro::get(golden);
      for (const MicroLayer& layer : micro.layers()) {
        ExpertOps ops(table, under_test, micro, layer);
        ops.route();
        for (const int64_t chunk : {int64_t{1024}, int64_t{1}, int64_t{5}}) ops.experts(chunk);
      }
    }
    table.print();
  }
}

}  // namespace dsv4::test
