// Config: what config.json says of a model, checked. Names in comments are the file's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/number.h"

namespace dsv4 {

enum class ScoringFunc { kSqrtSoftplus, kSigmoid, kSoftmax };

struct Yarn {
  bool on = false;           // rope_scaling.type == "yarn"
  double factor = 1;
  double original = 65536;   // original_max_position_embeddings
  double beta_fast = 32;
  double beta_slow = 1;
};

struct Config {
  int64_t vocab = 0;               // vocab_size
  int64_t hidden = 0;              // hidden_size
  int64_t layers = 0;              // num_hidden_layers
  int64_t heads = 0;               // num_attention_heads
  int64_t head_dim = 0;
  int64_t rope_dim = 0;            // qk_rope_head_dim
  int64_t q_rank = 0;              // q_lora_rank
  int64_t o_rank = 0;              // o_lora_rank
  int64_t o_groups = 0;
  int64_t window = 0;              // sliding_window
  std::vector<int> ratios;         // compress_ratios: one per layer, then one per MTP stage that is used
  double rope_theta = 10000;
  double compress_rope_theta = 160000;
  Yarn yarn;                       // rope_scaling
  int64_t index_heads = 0;         // index_n_heads
  int64_t index_dim = 0;           // index_head_dim
  int64_t index_topk = 0;
  int64_t experts = 0;             // n_routed_experts
  int64_t experts_per_token = 0;   // num_experts_per_tok
  int64_t expert_width = 0;        // moe_intermediate_size
  int64_t shared_width = 0;        // moe_intermediate_size * n_shared_experts
  DType expert_dtype = DType::kFP4;  // expert_dtype: what the size estimate assumes; the shards say what is there
  int64_t hash_layers = 0;         // num_hash_layers
  ScoringFunc scoring = ScoringFunc::kSqrtSoftplus;
  bool normalise_topk = true;      // norm_topk_prob
  float routed_scale = 1;          // routed_scaling_factor
  float swiglu_limit = 0;          // 0: none
  int64_t streams = 4;             // hc_mult
  int sinkhorn = 20;               // hc_sinkhorn_iters
  float hc_eps = 1e-6f;
  float norm_eps = 1e-6f;          // rms_norm_eps
  int64_t mtp_layers = 0;          // MTP heads that can be used: 0 or 1 (num_nextn_predict_layers, or 0 with a drafter)
  bool dspark = false;             // dspark_* keys: mtp.* is a DSpark drafter, not MTP heads
  bool vision = false;             // vision_* keys
  int64_t max_positions = 0;       // max_position_embeddings
  int32_t bos = 0, eos = 1;        // bos_token_id, eos_token_id

  int64_t blocks() const { return layers + mtp_layers; }  // layers, then MTP heads: the index of `ratios`
  bool is_mtp(int64_t layer) const { return layer >= layers; }
  int ratio(int64_t layer) const { return ratios[static_cast<size_t>(layer)]; }
  bool is_hash(int64_t layer) const { return layer < hash_layers; }
};

// Parses and checks. `path` is used in messages only. Error kCorrupt names the key, what was expected and what was
// found; kUnsupported names what the library lacks (another architecture, an unknown rope type, a vision model).
// text_only accepts the language part of a vision checkpoint.
Config parse_config(const std::string& json, const std::string& path, bool text_only);

// A published shape ("flash" or "pro"), for synthetic models. Error kInvalidArgument for another name.
Config published_config(const std::string& shape);

// The same shape with `layers` layers out of the middle of the model (from layer 2 on: CSA, HCA, CSA, …), all of them
// with learned routing and without the MTP head: what a benchmark of a few layers needs. The pattern goes round when
// more layers are asked for than there are. Error kInvalidArgument for less than one.
Config with_layers(const Config& config, int64_t layers);

}  // namespace dsv4
