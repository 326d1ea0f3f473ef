// config.json -> Config. Every value is checked against bounds that keep all later arithmetic far inside 64 bits.
// A key that is missing is an error, not a guess: a wrong default would compute a wrong model without a word.
#include "lib/checkpoint/config.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/kv_row.h"
#include "lib/checkpoint/json_reader.h"

namespace dsv4 {
namespace {

constexpr const char* kArchitecture = "DeepseekV4ForCausalLM";
constexpr const char* kModelType = "deepseek_v4";

// The keys of one JSON object and the text of their values, which the first pass has checked to be well-formed.
class Fields {
 public:
  Fields(std::string_view text, std::string_view path, std::string prefix)
      : path_(path), prefix_(std::move(prefix)) {
    JsonReader json(text, path);
    std::string_view key;
    json.enter_object();
    while (json.next_key(key)) {
      if (has(key)) fail(Status::kCorrupt, "{}: {}{}: given twice", path_, prefix_, printable(key));
      if (items_.size() == kMaxKeys) fail(Status::kCorrupt, "{}: {}more than {} keys", path_, prefix_, kMaxKeys);
      std::string name(key);
      const std::string_view value = json.skip();
      items_.push_back({std::move(name), value});
    }
    json.finish();
  }

  bool has(std::string_view key) const { return find(key) != nullptr; }
  // Present, and not null.
  bool given(std::string_view key) const {
    const Item* item = find(key);
    return item != nullptr && item->value != "null";
  }
  bool any_with_prefix(std::string_view prefix) const {
    return std::any_of(items_.begin(), items_.end(), [&](const Item& i) {
      return std::string_view(i.name).substr(0, prefix.size()) == prefix;
    });
  }

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    int64_t value = 0;
    const std::string_view text = need(key);
    if (!parse_integer(text, value) || value < low || value > high) {
      wrong(key, fmt::format("an integer from {} to {}", low, high), text);
    }
    return value;
  }
  int64_t integer_or(const char* key, int64_t other, int64_t low, int64_t high) const {
    return given(key) ? integer(key, low, high) : other;
  }
  double real(const char* key, double low, double high) const {
    double value = 0;
    const std::string_view text = need(key);
    if (!parse_double(text, value) || value < low || value > high) {
      wrong(key, fmt::format("a number from {} to {}", low, high), text);
    }
    return value;
  }
  bool boolean(const char* key, bool other) const {
    if (!given(key)) return other;
    const std::string_view text = need(key);
    if (text != "true" && text != "false") wrong(key, "true or false", text);
    return text == "true";
  }
  std::string string(const char* key) const {
    const std::string_view text = need(key);
    if (text.front() != '"') wrong(key, "a string", text);
    return std::string(JsonReader(text, path_).string());
  }
  Fields object(const char* key) const {
    const std::string_view text = need(key);
    if (text.front() != '{') wrong(key, "an object", text);
    return Fields(text, path_, prefix_ + key + ".");
  }
  // The text of every item of an array.
  std::vector<std::string_view> array(const char* key) const {
    const std::string_view text = need(key);
    if (text.front() != '[') wrong(key, "an array", text);
    std::vector<std::string_view> items;
    JsonReader json(text, path_);
    json.enter_array();
    while (json.next_item()) items.push_back(json.skip());
    return items;
  }

  [[noreturn]] void wrong(const char* key, const std::string& expected, std::string_view found) const {
    fail(Status::kCorrupt, "{}: {}{}: {} expected, {} found", path_, prefix_, key, expected, printable(found));
  }
  [[noreturn]] void unsupported(const char* key, const std::string& expected, std::string_view found) const {
    fail(Status::kUnsupported, "{}: {}{}: {} is not supported; {} expected", path_, prefix_, key, printable(found),
         expected);
  }
  const std::string& path() const { return path_; }

 private:
  static constexpr size_t kMaxKeys = 4096;
  struct Item {
    std::string name;
    std::string_view value;
  };
  const Item* find(std::string_view key) const {
    for (const Item& i : items_) {
      if (i.name == key) return &i;
    }
    return nullptr;
  }
  std::string_view need(const char* key) const {
    const Item* item = find(key);
    if (item == nullptr) fail(Status::kCorrupt, "{}: {}{}: expected, not found", path_, prefix_, key);
    return item->value;
  }

  std::string path_;
  std::string prefix_;
  std::vector<Item> items_;
};

// What the library does not compute is refused by name before any size is looked at.
void check_architecture(const Fields& f, bool text_only) {
  if (f.given("architectures")) {
    std::string found;
    for (std::string_view item : f.array("architectures")) {
      if (item.front() != '"') f.wrong("architectures", "strings", item);
      const std::string name(JsonReader(item, f.path()).string());
      if (name != kArchitecture) f.unsupported("architectures", kArchitecture, name);
      found = name;
    }
    if (found.empty()) f.wrong("architectures", kArchitecture, "[]");
  } else if (!f.given("model_type")) {
    fail(Status::kUnsupported, "{}: architectures: {} expected, not found", f.path(), kArchitecture);
  }
  if (f.given("model_type") && f.string("model_type") != kModelType) {
    f.unsupported("model_type", kModelType, f.string("model_type"));
  }
  if (f.any_with_prefix("vision_") && !text_only) {
    fail(Status::kUnsupported,
         "{}: vision_* keys: a vision model is not supported; its language part can be opened as text only", f.path());
  }
}

// Keys of which the library knows one value. Absent and null mean that value.
void check_fixed(const Fields& f) {
  const auto same = [&](const char* key, const char* expected) {
    if (f.given(key) && f.string(key) != expected) f.unsupported(key, expected, f.string(key));
  };
  same("hidden_act", "silu");
  if (f.boolean("attention_bias", false)) f.unsupported("attention_bias", "false", "true");
  if (f.boolean("tie_word_embeddings", false)) f.unsupported("tie_word_embeddings", "false", "true");
  if (f.integer_or("num_key_value_heads", 1, 0, 1 << 20) != 1)
    f.unsupported("num_key_value_heads", "1", "another number");
  if (!f.given("quantization_config")) return;
  const Fields q = f.object("quantization_config");
  if (q.given("scale_fmt") && q.string("scale_fmt") != "ue8m0")
    q.unsupported("scale_fmt", "ue8m0", q.string("scale_fmt"));
  if (q.given("fmt") && q.string("fmt") != "e4m3") q.unsupported("fmt", "e4m3", q.string("fmt"));
  if (q.given("weight_block_size")) {
    const std::vector<std::string_view> block = q.array("weight_block_size");
    if (block.size() != 2 || block[0] != "128" || block[1] != "128") {
      q.unsupported("weight_block_size", "[128, 128]", "another size");
    }
  }
}

void read_sizes(Config& c, const Fields& f) {
  constexpr int64_t kWide = 1 << 17;
  c.vocab = f.integer("vocab_size", 1, 1 << 24);
  c.hidden = f.integer("hidden_size", 32, kWide);
  if (c.hidden % 32 != 0) f.wrong("hidden_size", "a multiple of 32", std::to_string(c.hidden));
  c.layers = f.integer("num_hidden_layers", 1, 1024);
  c.heads = f.integer("num_attention_heads", 1, 4096);
  c.head_dim = f.integer("head_dim", 1, 4096);
  c.rope_dim = f.integer("qk_rope_head_dim", 2, 4096);
  if (c.rope_dim % 2 != 0) f.wrong("qk_rope_head_dim", "an even number", std::to_string(c.rope_dim));
  // The part without rope is quantised in blocks of 64.
  if (c.head_dim <= c.rope_dim || (c.head_dim - c.rope_dim) % kKvBlock != 0) {
    f.wrong("head_dim", fmt::format("qk_rope_head_dim ({}) and a multiple of {} more", c.rope_dim, kKvBlock),
            std::to_string(c.head_dim));
  }
  c.q_rank = f.integer("q_lora_rank", 1, kWide);
  c.o_rank = f.integer("o_lora_rank", 1, kWide);
  c.o_groups = f.integer("o_groups", 1, c.heads);
  if (c.heads % c.o_groups != 0) {
    f.wrong("o_groups", fmt::format("a divisor of num_attention_heads ({})", c.heads), std::to_string(c.o_groups));
  }
  c.window = f.integer("sliding_window", 1, 1 << 16);
  c.streams = f.integer("hc_mult", 1, 16);
  c.sinkhorn = static_cast<int>(f.integer("hc_sinkhorn_iters", 1, 1000));
  c.hc_eps = static_cast<float>(f.real("hc_eps", 0, 1));
  c.norm_eps = static_cast<float>(f.real("rms_norm_eps", 0, 1));
  c.max_positions = f.integer("max_position_embeddings", 1, 1 << 24);  // float(position) is exact up to here
  c.bos = static_cast<int32_t>(f.integer_or("bos_token_id", 0, 0, c.vocab - 1));
  c.eos = static_cast<int32_t>(f.integer_or("eos_token_id", 1, 0, c.vocab - 1));
}

void read_experts(Config& c, const Fields& f) {
  c.experts = f.integer("n_routed_experts", 1, 4096);
  if (c.layers * c.experts > 1 << 18) {
    f.wrong("n_routed_experts", fmt::format("at most {} in {} layers", (1 << 18) / c.layers, c.layers),
            std::to_string(c.experts));
  }
  c.experts_per_token = f.integer("num_experts_per_tok", 1, std::min<int64_t>(c.experts, 64));
  c.expert_width = f.integer("moe_intermediate_size", 32, 1 << 17);
  if (c.expert_width % 32 != 0) f.wrong("moe_intermediate_size", "a multiple of 32", std::to_string(c.expert_width));
  c.shared_width = c.expert_width * f.integer_or("n_shared_experts", 1, 1, 64);
  c.hash_layers = f.integer_or("num_hash_layers", 0, 0, c.layers);
  const std::string scoring = f.string("scoring_func");
  if (scoring == "sqrtsoftplus") {
    c.scoring = ScoringFunc::kSqrtSoftplus;
  } else if (scoring == "sigmoid") {
    c.scoring = ScoringFunc::kSigmoid;
  } else if (scoring == "softmax") {
    c.scoring = ScoringFunc::kSoftmax;
  } else {
    f.unsupported("scoring_func", "sqrtsoftplus, sigmoid or softmax", scoring);
  }
  c.normalise_topk = f.boolean("norm_topk_prob", true);
  c.routed_scale = static_cast<float>(f.real("routed_scaling_factor", 0, 1e6));
  c.swiglu_limit = f.given("swiglu_limit") ? static_cast<float>(f.real("swiglu_limit", 0, 1e30)) : 0;
  if (!f.given("expert_dtype")) return;
  const std::string dtype = f.string("expert_dtype");
  if (dtype == "fp4") {
    c.expert_dtype = DType::kFP4;
  } else if (dtype == "fp8") {
    c.expert_dtype = DType::kF8E4M3;
  } else if (dtype == "bf16") {
    c.expert_dtype = DType::kBF16;
  } else {
    f.unsupported("expert_dtype", "fp4, fp8 or bf16", dtype);
  }
}

void read_rope(Config& c, const Fields& f) {
  c.rope_theta = f.real("rope_theta", 1.001, 1e12);
  c.compress_rope_theta = f.real("compress_rope_theta", 1.001, 1e12);
  // A config rewritten with the newer key would otherwise pass for one without scaling.
  if (f.given("rope_parameters")) f.unsupported("rope_parameters", "rope_scaling", "this key");
  if (!f.given("rope_scaling")) return;
  const Fields r = f.object("rope_scaling");
  const char* key = r.given("type") ? "type" : "rope_type";
  const std::string type = r.string(key);
  if (type == "default") return;
  if (type != "yarn") r.unsupported(key, "yarn", type);
  c.yarn.on = true;
  c.yarn.factor = r.real("factor", 1, 1e6);
  c.yarn.original = r.real("original_max_position_embeddings", 1, 1e9);
  c.yarn.beta_fast = r.real("beta_fast", 1e-3, 1e6);
  c.yarn.beta_slow = r.real("beta_slow", 1e-3, 1e6);
}

// One ratio per layer, then one per MTP stage. 0731 lists three stages of its drafter, which are not ours to use.
void read_ratios(Config& c, const Fields& f) {
  const std::vector<std::string_view> items = f.array("compress_ratios");
  const auto count = static_cast<size_t>(c.layers);
  if (items.size() < count) {
    f.wrong("compress_ratios", fmt::format("at least {} entries (num_hidden_layers)", count),
            std::to_string(items.size()));
  }
  for (size_t i = 0; i < std::min(items.size(), static_cast<size_t>(c.blocks())); ++i) {
    int64_t ratio = 0;
    if (!parse_integer(items[i], ratio)) f.wrong("compress_ratios", "integers", items[i]);
    if (ratio != 0 && ratio != 4 && ratio != 128) f.unsupported("compress_ratios", "0, 4 or 128", items[i]);
    if (i >= count && ratio != 0) f.unsupported("compress_ratios", "0 for the MTP head", items[i]);
    c.ratios.push_back(static_cast<int>(ratio));
  }
  c.ratios.resize(static_cast<size_t>(c.blocks()), 0);  // an MTP head without an entry: the window only
}

void read_indexer(Config& c, const Fields& f) {
  if (std::find(c.ratios.begin(), c.ratios.end(), 4) == c.ratios.end() && !f.given("index_n_heads")) return;
  c.index_heads = f.integer("index_n_heads", 1, 4096);
  c.index_dim = f.integer("index_head_dim", 1, 4096);
  // The Hadamard transform needs a power of two, quant_e2m1 blocks of 32, the rope its last dims.
  if ((c.index_dim & (c.index_dim - 1)) != 0 || c.index_dim % kIndexBlock != 0 || c.index_dim < c.rope_dim) {
    f.wrong("index_head_dim", fmt::format("a power of two of at least {}", std::max(c.rope_dim, kIndexBlock)),
            std::to_string(c.index_dim));
  }
  c.index_topk = f.integer("index_topk", 1, 1 << 20);
}

}  // namespace

Config parse_config(const std::string& json, const std::string& path, bool text_only) {
  const Fields f(json, path, "");
  Config c;
  c.vision = f.any_with_prefix("vision_");
  c.dspark = f.any_with_prefix("dspark_");
  check_architecture(f, text_only);
  check_fixed(f);
  read_sizes(c, f);
  read_experts(c, f);
  read_rope(c, f);
  const int64_t stages = f.integer_or("num_nextn_predict_layers", 0, 0, 64);
  c.mtp_layers = c.dspark ? 0 : std::min<int64_t>(stages, 1);
  read_ratios(c, f);
  read_indexer(c, f);
  return c;
}

}  // namespace dsv4
