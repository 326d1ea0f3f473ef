// model.md §3, one row of one step at a time, in balls (tests/support/op_check_ball.h): what OpTable::check asks when
// an element is more than 1 ulp off. Written from the page, like tools for the goldens, and apart from any backend.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/support/golden_micro.h"
#include "tests/support/op_check_ball.h"

namespace dsv4::test {

class Oracle {
 public:
  explicit Oracle(const Micro& micro) : micro_(micro), c_(micro.config()) {}

  // x of a hyper-connection ("layers.0.hc_attn", "hc_head"); normed by the tensor `norm` unless that is "".
  Balls hc(const std::string& prefix, const float* X, const std::string& norm);
  Balls hc_post(const float* post, const float* comb, const float* X, const float* y) const;
  Balls normed_product(const std::string& weight, const std::string& norm, const float* x);
  Balls q(const MicroLayer& layer, const float* qr, int64_t position);
  Balls kv(const MicroLayer& layer, const float* x, int64_t position);
  // Entry j of the compressor `name` (index: of the indexer); x [rows, hidden] are the inputs of all positions.
  Balls entry(const MicroLayer& layer, const std::string& name, bool index, int64_t j, const std::vector<float>& x);
  Balls index_q(const MicroLayer& layer, const float* qr, int64_t position);
  Balls product(const std::string& weight, const Balls& x);  // quantised as the weight asks; -> BF16
  Balls attend(const MicroLayer& layer, const float* q, const std::vector<Balls>& keys, int64_t position);
  Balls low(const MicroLayer& layer, const float* o);
  Balls ffn(const MicroLayer& layer, const float* x, const int32_t* experts, const float* weights);
  Balls draft_input(int32_t token, const float* X);
  Balls logits(const Balls& x);  // not rounded

  const std::vector<float>& tensor(const std::string& name);

 private:
  Balls expert(const std::string& name, const Balls& x, float weight);
  int64_t nope(int64_t dim) const { return dim - c_.rope_dim; }

  const Micro& micro_;
  const MicroConfig& c_;
  std::map<std::string, std::vector<float>> tensors_;
};

}  // namespace dsv4::test
