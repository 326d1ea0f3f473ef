#include "tests/support/golden_micro.h"

#include <algorithm>
#include <fstream>

#include <nlohmann/json.hpp>

namespace dsv4::test {
namespace {

std::string golden_path(const std::string& rest) { return std::string(DSV4_TEST_DATA) + "/golden/" + rest; }

}  // namespace

Micro::Micro(const std::string& name)
    : name_(name),
      model_(golden_path(name + "/model.safetensors")),
      ops_(golden_path(name + "/ops.safetensors")),
      golden_(golden_path(name + "/golden.safetensors")) {
  std::ifstream in(golden_path(name + "/config.json"));
  const auto json = nlohmann::json::parse(in);
  const auto integer = [&](const char* key) { return json.at(key).get<int64_t>(); };
  const auto real = [&](const char* key) { return json.at(key).get<float>(); };
  MicroConfig& c = config_;
  c.hidden = integer("hidden_size");
  c.heads = integer("num_attention_heads");
  c.head_dim = integer("head_dim");
  c.rope_dim = integer("qk_rope_head_dim");
  c.groups = integer("o_groups");
  c.window = integer("sliding_window");
  c.streams = integer("hc_mult");
  c.vocab = integer("vocab_size");
  c.index_heads = integer("index_n_heads");
  c.index_dim = integer("index_head_dim");
  c.index_topk = integer("index_topk");
  c.experts = integer("n_routed_experts");
  c.picks = integer("num_experts_per_tok");
  c.sinkhorn = static_cast<int>(integer("hc_sinkhorn_iters"));
  c.norm_eps = real("rms_norm_eps");
  c.hc_eps = real("hc_eps");
  c.routed_scale = real("routed_scaling_factor");
  c.swiglu_limit = real("swiglu_limit");

  const auto ratios = json.at("compress_ratios").get<std::vector<int>>();
  const int64_t layers = integer("num_hidden_layers"), hash_layers = integer("num_hash_layers");
  for (int64_t i = 0; i < layers; ++i) {
    layers_.push_back({"layers." + std::to_string(i), ratios[static_cast<size_t>(i)], false, i < hash_layers});
  }
  layers_.push_back({"mtp.0", ratios[static_cast<size_t>(layers)], true, false});
  tokens_ = golden_.get("tokens").ints();
  const GoldenFile rope(golden_path("rope.safetensors"));
  plain_ = rope.get("plain.freq").floats();
  yarn_ = rope.get("yarn.freq").floats();
}

const Micro& Micro::get(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Micro>> cache;
  std::unique_ptr<Micro>& m = cache[name];
  if (m == nullptr) m = std::make_unique<Micro>(name);
  return *m;
}

HostTensor Micro::host(const std::string& name) const {
  const GoldenTensor& t = model_.get(model_.has(name) ? name : name + ".weight");
  HostTensor h;
  h.data = t.data;
  h.dtype = t.dtype;
  h.rows = t.rows();
  h.cols = t.cols();
  if (t.dtype == DType::kI8) {  // two FP4 a byte
    h.dtype = DType::kFP4;
    h.cols *= 2;
  }
  if (h.dtype == DType::kFP4 || h.dtype == DType::kF8E4M3) h.scale = model_.get(name + ".scale").data;
  return h;
}

std::vector<float> Micro::widened(const std::string& name) const {
  const HostTensor h = host(name);
  std::vector<float> out(static_cast<size_t>(h.rows * h.cols));
  const auto* bytes = static_cast<const uint8_t*>(h.data);
  for (int64_t r = 0; r < h.rows; ++r) {
    for (int64_t c = 0; c < h.cols; ++c) {
      const int64_t i = r * h.cols + c;
      float& v = out[static_cast<size_t>(i)];
      switch (h.dtype) {
        case DType::kF32: v = static_cast<const float*>(h.data)[i]; break;
        case DType::kBF16: v = to_float(static_cast<const bf16*>(h.data)[i]); break;
        case DType::kF8E4M3:
          v = kE4M3[bytes[i]] * e8m0_to_float(h.scale[r / 128 * ((h.cols + 127) / 128) + c / 128]);
          break;
        default:
          v = kE2M1[bytes[i / 2] >> (c % 2 * 4) & 15] * e8m0_to_float(h.scale[r * (h.cols / 32) + c / 32]);
      }
    }
  }
  return out;
}

Limits Micro::limits(int64_t rows, int64_t context) const {
  Limits l;
  l.rows = rows;
  l.streams = config_.streams;
  l.hidden = config_.hidden;
  for (const auto& [name, t] : model_.all()) {
    l.inner = std::max(l.inner, t.cols() * (t.dtype == DType::kI8 ? 2 : 1));
    if (name.find("tid2eid") == std::string::npos) l.outer = std::max(l.outer, t.rows());
  }
  l.vocab = config_.vocab;
  l.heads = config_.heads;
  l.head_dim = config_.head_dim;
  l.index_heads = config_.index_heads;
  l.index_dim = config_.index_dim;
  l.index_topk = config_.index_topk;
  l.experts = config_.experts;
  l.experts_per_token = config_.picks;
  l.expert_width = host("layers.0.ffn.experts.0.w1").rows;
  l.context = context;
  return l;
}

const Weight& MicroWeights::get(const std::string& name) {
  const auto it = weights_.find(name);
  if (it != weights_.end()) return it->second;
  return weights_[name] = backend_.prepare(micro_.host(name));
}

}  // namespace dsv4::test
