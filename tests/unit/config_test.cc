// config.json: what is read, what is refused, and that every refusal names its key, what was expected, what was found.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/checkpoint/config.h"
#include "tests/support/folder_writer.h"

using namespace dsv4;

namespace {

Config micro() {
  const std::string path = DSV4_TEST_DATA "/golden/micro/config.json";
  return parse_config(read_text(path), path, false);
}

// The message of the error that `text` must give, with the status that it must have.
std::string refusal(const std::string& text, Status status, bool text_only = false) {
  try {
    parse_config(text, "config.json", text_only);
  } catch (const Error& error) {
    CHECK(error.status() == status);
    CHECK(std::string(error.what()).substr(0, 11) == "config.json");
    return error.what();
  }
  FAIL("accepted: ", text);
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the golden configs") {
  const Config c = micro();
  CHECK(c.hidden == 128);
  CHECK(c.ratios == std::vector<int>{0, 4, 128, 0});
  CHECK(c.yarn.on);
  CHECK(c.yarn.factor == 16);
  CHECK(c.yarn.original == 65536);
  CHECK(c.swiglu_limit == 4.0f);
  CHECK(c.norm_eps == 1e-6f);
  CHECK(c.hash_layers == 1);
  CHECK(c.expert_dtype == DType::kFP4);
  CHECK(c.mtp_layers == 1);
  const std::string path = DSV4_TEST_DATA "/golden/micro2/config.json";
  const Config d = parse_config(read_text(path), path, false);
  CHECK(d.ratios == std::vector<int>{128, 4, 0, 0});
  CHECK(d.heads == 3);
  CHECK(d.head_dim == 192);
  CHECK(d.window == 64);
  CHECK(d.routed_scale == 2.5f);
  CHECK(d.expert_dtype == DType::kF8E4M3);
}

TEST_CASE("a config written and read again is the same") {
  for (const char* shape : {"flash", "pro"}) {
    const Config c = published_config(shape);
    const Config d = parse_config(ConfigText(c).text(), "config.json", false);
    CHECK(ConfigText(d).text() == ConfigText(c).text());
  }
}

TEST_CASE("what may be absent or null") {
  ConfigText text(micro());
  for (const char* key :
       {"num_nextn_predict_layers", "num_hash_layers", "swiglu_limit", "bos_token_id", "eos_token_id", "expert_dtype",
        "quantization_config", "n_shared_experts", "norm_topk_prob", "rope_scaling"}) {
    ConfigText without = text, null = text;
    CHECK_NOTHROW(parse_config(without.erase(key).text(), "config.json", false));
    CHECK_NOTHROW(parse_config(null.set(key, "null").text(), "config.json", false));
  }
  const Config c =
      parse_config(ConfigText(text).erase("rope_scaling").erase("num_nextn_predict_layers").text(), "c", false);
  CHECK_FALSE(c.yarn.on);
  CHECK(c.mtp_layers == 0);
  CHECK(c.ratios.size() == 3);
  CHECK(parse_config(ConfigText(text).set("swiglu_limit", "null").text(), "c", false).swiglu_limit == 0);
}

TEST_CASE("every other key is needed, and its absence is said") {
  const ConfigText text(micro());
  for (const char* key : {"vocab_size",
                          "hidden_size",
                          "num_hidden_layers",
                          "num_attention_heads",
                          "head_dim",
                          "qk_rope_head_dim",
                          "q_lora_rank",
                          "o_lora_rank",
                          "o_groups",
                          "sliding_window",
                          "compress_ratios",
                          "rope_theta",
                          "compress_rope_theta",
                          "index_n_heads",
                          "index_head_dim",
                          "index_topk",
                          "n_routed_experts",
                          "num_experts_per_tok",
                          "moe_intermediate_size",
                          "scoring_func",
                          "routed_scaling_factor",
                          "hc_mult",
                          "hc_sinkhorn_iters",
                          "hc_eps",
                          "rms_norm_eps",
                          "max_position_embeddings"}) {
    const std::string message = refusal(ConfigText(text).erase(key).text(), Status::kCorrupt);
    CHECK_MESSAGE(contains(message, std::string(key) + ": expected, not found"), message);
  }
  // Without a ratio-4 layer there is no indexer to describe.
  ConfigText plain(micro());
  plain.set("compress_ratios", "[0,0,128,0]").erase("index_n_heads").erase("index_head_dim").erase("index_topk");
  CHECK_NOTHROW(parse_config(plain.text(), "config.json", false));
}

TEST_CASE("values out of bounds, of the wrong kind, or not supported") {
  struct Bad {
    const char* key;
    const char* value;
    Status status;
    const char* says;
  };
  const Status corrupt = Status::kCorrupt, unsupported = Status::kUnsupported;
  const Bad all[] = {
      {"hidden_size", "0", corrupt, "hidden_size: an integer from 32"},
      {"hidden_size", "-128", corrupt, "-128 found"},
      {"hidden_size", "100", corrupt, "hidden_size: a multiple of 32 expected, 100 found"},
      {"hidden_size", "128.0", corrupt, "128.0 found"},
      {"hidden_size", "1e2", corrupt, "1e2 found"},
      {"hidden_size", "\"128\"", corrupt, "hidden_size"},
      {"hidden_size", "99999999999999999999999", corrupt, "hidden_size"},
      {"hidden_size", "9223372036854775807", corrupt, "hidden_size"},
      {"hidden_size", "[128]", corrupt, "hidden_size"},
      {"vocab_size", "0", corrupt, "vocab_size"},
      {"vocab_size", "true", corrupt, "vocab_size"},
      {"num_hidden_layers", "0", corrupt, "num_hidden_layers"},
      {"num_hidden_layers", "100000", corrupt, "num_hidden_layers"},
      {"num_hidden_layers", "9", corrupt, "compress_ratios: at least 9 entries (num_hidden_layers) expected, 4 found"},
      {"head_dim", "100", corrupt, "head_dim: qk_rope_head_dim (64) and a multiple of 64 more expected, 100 found"},
      {"head_dim", "64", corrupt, "head_dim"},
      {"qk_rope_head_dim", "63", corrupt, "qk_rope_head_dim: an even number expected, 63 found"},
      {"o_groups", "3", corrupt, "o_groups"},
      {"o_groups", "0", corrupt, "o_groups"},
      {"sliding_window", "0", corrupt, "sliding_window"},
      {"n_routed_experts", "1000000", corrupt, "n_routed_experts"},
      {"num_experts_per_tok", "5", corrupt, "num_experts_per_tok: an integer from 1 to 4 expected, 5 found"},
      {"moe_intermediate_size", "48", corrupt, "moe_intermediate_size: a multiple of 32"},
      {"num_hash_layers", "4", corrupt, "num_hash_layers: an integer from 0 to 3"},
      {"index_head_dim", "96", corrupt, "index_head_dim: a power of two of at least 64 expected, 96 found"},
      {"index_head_dim", "32", corrupt, "index_head_dim"},
      {"index_topk", "0", corrupt, "index_topk"},
      {"compress_ratios", "[0,4,8,0]", unsupported, "compress_ratios: 8 is not supported"},
      {"compress_ratios", "[0,4,128.0,0]", corrupt, "compress_ratios"},
      {"compress_ratios", "[0,4]", corrupt, "compress_ratios: at least 3 entries"},
      {"compress_ratios", "[0,4,128,4]", unsupported, "compress_ratios: 4 is not supported; 0 for the MTP head"},
      {"compress_ratios", "{}", corrupt, "compress_ratios: an array"},
      {"rope_theta", "0", corrupt, "rope_theta"},
      {"rope_theta", "1e999", corrupt, "rope_theta"},
      {"rope_scaling", R"({"type":"linear","factor":4})", unsupported, "rope_scaling.type: linear is not supported"},
      {"rope_scaling", R"({"rope_type":"llama3","factor":4})", unsupported, "rope_scaling.rope_type: llama3"},
      {"rope_scaling", R"({"type":"yarn"})", corrupt, "rope_scaling.factor: expected, not found"},
      {"rope_scaling", R"({"factor":16})", corrupt, "rope_scaling.rope_type: expected, not found"},
      {"rope_scaling", "[]", corrupt, "rope_scaling: an object"},
      {"rope_parameters", "{}", unsupported, "rope_parameters"},
      {"scoring_func", "\"relu\"", unsupported, "scoring_func: relu is not supported"},
      {"scoring_func", "3", corrupt, "scoring_func: a string"},
      {"norm_topk_prob", "1", corrupt, "norm_topk_prob: true or false"},
      {"expert_dtype", "\"int4\"", unsupported, "expert_dtype: int4"},
      {"hc_mult", "0", corrupt, "hc_mult"},
      {"hc_mult", "1000", corrupt, "hc_mult"},
      {"rms_norm_eps", "-1", corrupt, "rms_norm_eps"},
      {"eos_token_id", "260", corrupt, "eos_token_id: an integer from 0 to 259"},
      {"hidden_act", "\"gelu\"", unsupported, "hidden_act: gelu"},
      {"tie_word_embeddings", "true", unsupported, "tie_word_embeddings"},
      {"attention_bias", "true", unsupported, "attention_bias"},
      {"num_key_value_heads", "8", unsupported, "num_key_value_heads"},
      {"quantization_config", R"({"weight_block_size":[64,64]})", unsupported, "quantization_config.weight_block_size"},
      {"quantization_config", R"({"scale_fmt":"float"})", unsupported, "quantization_config.scale_fmt: float"},
      {"architectures", R"(["LlamaForCausalLM"])", unsupported, "architectures: LlamaForCausalLM is not supported"},
      {"architectures", "[]", corrupt, "architectures"},
      {"architectures", "[1]", corrupt, "architectures"},
      {"model_type", "\"deepseek_v3\"", unsupported, "model_type: deepseek_v3"},
  };
  for (const Bad& bad : all) {
    CAPTURE(bad.key);
    CAPTURE(bad.value);
    const std::string message = refusal(ConfigText(micro()).set(bad.key, bad.value).text(), bad.status);
    CHECK_MESSAGE(contains(message, bad.says), message);
  }
}

TEST_CASE("rope_scaling: rope_type is another word for type, default means none") {
  ConfigText text(micro());
  text.set("rope_scaling",
           R"({"rope_type":"yarn","factor":8,"original_max_position_embeddings":4096,"beta_fast":16,"beta_slow":2})");
  const Config c = parse_config(text.text(), "config.json", false);
  CHECK(c.yarn.on);
  CHECK(c.yarn.factor == 8);
  CHECK(c.yarn.beta_slow == 2);
  CHECK_FALSE(parse_config(text.set("rope_scaling", R"({"type":"default"})").text(), "config.json", false).yarn.on);
}

TEST_CASE("a drafter, a vision model, another architecture") {
  ConfigText text(micro());
  text.set("compress_ratios", "[0,4,128,0,0,0]").set("num_nextn_predict_layers", "3").set("dspark_block_size", "8");
  const Config drafter = parse_config(text.text(), "config.json", false);
  CHECK(drafter.dspark);
  CHECK(drafter.mtp_layers == 0);
  CHECK(drafter.ratios.size() == 3);

  text.set("vision_hidden_size", "1024").set("rms_norm_eps", "1e-20");
  CHECK(contains(refusal(text.text(), Status::kUnsupported), "vision model"));
  const Config vision = parse_config(text.text(), "config.json", true);
  CHECK(vision.vision);
  CHECK(vision.norm_eps == 1e-20f);

  ConfigText other(micro());
  other.set("architectures", R"(["DeepseekV41ForCausalLM"])");
  CHECK(contains(refusal(other.text(), Status::kUnsupported), "DeepseekV41ForCausalLM"));
}

TEST_CASE("text that is not a config") {
  const std::string deep(100000, '[');
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), std::string("{\"a\":1,}"), deep,
        "{\"a\":" + deep, std::string("{\"a\":01}"), std::string("{\"a\":\"\xff\"}"),
        std::string("{\"a\":\"\\ud800\"}"), std::string("{\"a\":nul}"), std::string("{} x"), std::string("{\"a\" 1}"),
        std::string("{\"a\":1 \"b\":2}"), std::string("{\"a\":\"\n\"}"), std::string("{\"a\":1e}"),
        std::string("{\"a\":-}"), std::string("{\"a\":\"\\u12\"}")}) {
    CAPTURE(text.substr(0, 40));
    CHECK(contains(refusal(text, Status::kCorrupt), "JSON, byte"));
  }
  CHECK(contains(refusal(R"({"hidden_size":1,"hidden_size":2})", Status::kCorrupt), "hidden_size: given twice"));
}

TEST_CASE("published shapes") {
  const Config flash = published_config("flash");
  CHECK(flash.ratios.size() == 44);
  CHECK(flash.ratio(1) == 0);
  CHECK(flash.ratio(2) == 4);
  CHECK(flash.ratio(3) == 128);
  CHECK(flash.ratio(42) == 4);
  CHECK(flash.ratio(43) == 0);
  const Config pro = published_config("pro");
  CHECK(pro.ratios.size() == 62);
  CHECK(pro.ratio(0) == 128);
  CHECK(pro.ratio(60) == 4);
  CHECK_THROWS_AS(published_config("giant"), Error);

  const Config three = with_layers(flash, 3);
  CHECK(three.ratios == std::vector<int>{4, 128, 4});
  CHECK(three.blocks() == 3);
  CHECK(three.hash_layers == 0);
  CHECK(with_layers(flash, 100).ratios.size() == 100);
  CHECK_THROWS_AS(with_layers(flash, 0), Error);
}
