// One of the golden folders with recorded steps (micro, micro2): its config, weights by name, and what was recorded.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/backend/backend.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {

struct MicroConfig {
  int64_t hidden = 0, heads = 0, head_dim = 0, rope_dim = 0, groups = 0, window = 0, streams = 0, vocab = 0;
  int64_t index_heads = 0, index_dim = 0, index_topk = 0, experts = 0, picks = 0;
  int sinkhorn = 0;
  float norm_eps = 0, hc_eps = 0, routed_scale = 0, swiglu_limit = 0;
};

struct MicroLayer {
  std::string name;  // "layers.1", "mtp.0"
  int ratio = 0;
  bool mtp = false;
  bool hash = false;
};

class Micro {
 public:
  explicit Micro(const std::string& name);
  static const Micro& get(const std::string& name);  // read once

  const std::string& name() const { return name_; }
  const MicroConfig& config() const { return config_; }
  const std::vector<MicroLayer>& layers() const { return layers_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }
  const GoldenTensor& op(const MicroLayer& layer, const std::string& step) const {
    return ops_.get(layer.name + "." + step);
  }
  const GoldenTensor& op(const std::string& name) const { return ops_.get(name); }
  const GoldenTensor& golden(const std::string& name) const { return golden_.get(name); }

  bool has(const std::string& tensor) const { return model_.has(tensor); }
  // A tensor as a backend takes it; `name` is a matrix without ".weight", or a vector's whole name.
  HostTensor host(const std::string& name) const;
  // The same, widened [rows, cols].
  std::vector<float> widened(const std::string& name) const;
  Limits limits(int64_t rows, int64_t context) const;
  const std::vector<float>& frequencies(int ratio) const { return ratio == 0 ? plain_ : yarn_; }

 private:
  std::string name_;
  GoldenFile model_, ops_, golden_;
  MicroConfig config_;
  std::vector<MicroLayer> layers_;
  std::vector<int32_t> tokens_;
  std::vector<float> plain_, yarn_;  // rotary frequencies, as recorded
};

// The weights of a folder as one backend prepared them, by name.
class MicroWeights {
 public:
  MicroWeights(const Micro& micro, Backend& backend) : micro_(micro), backend_(backend) {}
  const Weight& get(const std::string& name);

 private:
  const Micro& micro_;
  Backend& backend_;
  std::map<std::string, Weight> weights_;
};

}  // namespace dsv4::test
