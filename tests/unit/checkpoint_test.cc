// Opening the checkpoints that the repository holds, and the figures of the published shapes.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/checkpoint/checkpoint.h"
#include "lib/checkpoint/tensor_table.h"
#include "tests/support/folder_writer.h"

using namespace dsv4;

namespace {

std::string golden(const char* name) { return std::string(DSV4_TEST_DATA "/golden/") + name; }
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string refusal(const std::string& folder, Status status, const OpenOptions& options = {}) {
  try {
    Checkpoint::open(folder, options);
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  FAIL("opened");
  return "";
}

// A published shape as its 0731 or 0813 training has it: three stages of a DSpark drafter in the MTP head's place.
FolderWriter with_drafter(const std::string& shape) {
  Config c = published_config(shape);
  c.mtp_layers = 0;
  c.ratios.pop_back();
  FolderWriter writer(c);
  std::vector<int> ratios = c.ratios;
  ratios.insert(ratios.end(), 3, 0);
  writer.config.set("compress_ratios", fmt::format("[{}]", fmt::join(ratios, ", ")))
      .set("num_nextn_predict_layers", "3")
      .set("dspark_target_layer_ids", "[2, 20, 40]")
      .set("dspark_markov_rank", "64")
      .set("dspark_block_size", "8")
      .set("dspark_noise_token_id", "128799");
  for (int stage = 0; stage < 3; ++stage) {
    writer.add({fmt::format("mtp.{}.attn.wq_a.weight", stage), "F8_E4M3", {7, 11}, 77, nullptr});  // not an MTP shape
    writer.add({fmt::format("mtp.{}.markov.weight", stage), "BF16", {64, 8}, 1024, nullptr});
  }
  return writer;
}

std::string tiny() { return DSV4_SOURCE_DIR "/samples/models/tiny"; }

}  // namespace

TEST_CASE("golden checkpoints and the tiny model open, every tensor of the table in its place") {
  struct Expected {
    std::string folder;
    DType experts;
    int64_t layers, head_dim;
  };
  const Expected all[] = {{golden("micro"), DType::kFP4, 3, 128},
                          {golden("micro2"), DType::kF8E4M3, 3, 192},
                          {golden("flash"), DType::kFP4, 5, 128},
                          {golden("base"), DType::kF8E4M3, 3, 128},
                          {tiny(), DType::kFP4, 4, 128}};
  for (const Expected& e : all) {
    CAPTURE(e.folder);
    const auto checkpoint = Checkpoint::open(e.folder, {});
    const Config& c = checkpoint->config();
    CHECK(c.layers == e.layers);
    CHECK(c.head_dim == e.head_dim);
    CHECK(c.mtp_layers == 1);
    CHECK(checkpoint->notes().empty());
    CHECK(checkpoint->weight_bytes() == expected_weight_bytes(c));
    int64_t missing = 0;
    for_each_tensor(c, [&](const TableRow& row, int64_t layer, int64_t expert) {
      const Tensor& t = checkpoint->get(row.role, layer, expert);
      missing += t.data == nullptr || has_scale(t.dtype) != (t.scale != nullptr);
      if (is_expert(row.role)) CHECK(t.dtype == e.experts);
    });
    CHECK(missing == 0);
    CHECK(checkpoint->get(TensorRole::kExpertW1, c.layers, c.experts - 1).data != nullptr);  // the MTP head's
    CHECK(checkpoint->get(TensorRole::kExpertW1, 0, c.experts).data == nullptr);
    CHECK(checkpoint->get(TensorRole::kEmbed, 0).data == nullptr);
  }
}

TEST_CASE("tensors point at the file's own bytes") {
  const auto checkpoint = Checkpoint::open(golden("micro"), {});
  const Tensor& norm = checkpoint->get(TensorRole::kNorm, -1);
  CHECK(norm.dtype == DType::kBF16);
  CHECK(norm.rows == 1);
  CHECK(norm.cols == 128);
  const Tensor& w1 = checkpoint->get(TensorRole::kExpertW1, 0, 3);
  CHECK(w1.cols == 128);  // elements, two a byte
  CHECK(w1.bytes == 128 * 64 + 128 * 4);
  const Tensor& hash = checkpoint->get(TensorRole::kGateHash, 0);
  CHECK(hash.rows == 260);
  CHECK(hash.cols == 2);
  CHECK(checkpoint->get(TensorRole::kGateHash, 1).data == nullptr);
  CHECK(checkpoint->get(TensorRole::kGateBias, 0).data == nullptr);
}

TEST_CASE("the table counts what Flash publishes: 69,187 tensors, 148.66 GB (of 2^30 bytes, headers included)") {
  const Config flash = published_config("flash");
  int64_t count = 0;
  for_each_tensor(flash, [&](const TableRow& row, int64_t, int64_t) {
    count += has_scale(published_dtype(row, flash)) ? 2 : 1;
  });
  CHECK(count == 69187);
  const double headers = 69187 * 115.0;  // a tensor's entry in a header is about as long
  CHECK((static_cast<double>(expected_weight_bytes(flash)) + headers) / (1 << 30) ==
        doctest::Approx(148.66).epsilon(0.0001));
}

TEST_CASE("checkpoints in the wild: Flash and Pro, preview and Base") {
  for (const char* shape : {"flash", "pro"}) {
    for (const DType experts : {DType::kFP4, DType::kF8E4M3}) {
      CAPTURE(shape);
      Config c = published_config(shape);
      c.expert_dtype = experts;
      FolderWriter writer(c);
      writer.shards = 46;
      const TempFolder folder;
      writer.write(folder.path());
      const auto checkpoint = Checkpoint::open(folder.path(), {});
      CHECK(checkpoint->notes().empty());
      CHECK(checkpoint->weight_bytes() == expected_weight_bytes(c));
      CHECK(checkpoint->get(TensorRole::kExpertW2, 42, 255).dtype == experts);
      CHECK(checkpoint->get(TensorRole::kMtpEProj, c.layers).rows == c.hidden);
      CHECK(checkpoint->get(TensorRole::kCompressApe, 2).cols == 1024);
      CHECK(checkpoint->get(TensorRole::kCompressApe, 3).rows == 128);
    }
  }
}

TEST_CASE("checkpoints in the wild: 0731 and 0813, whose mtp.* is a drafter") {
  for (const char* shape : {"flash", "pro"}) {
    CAPTURE(shape);
    FolderWriter writer = with_drafter(shape);
    writer.shards = 48;
    const TempFolder folder;
    writer.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path(), {});
    CHECK(checkpoint->config().dspark);
    CHECK(checkpoint->config().mtp_layers == 0);
    CHECK(checkpoint->config().blocks() == checkpoint->config().layers);
    CHECK(checkpoint->notes() == std::vector<std::string>{"drafter: DSpark, not used"});
    CHECK(checkpoint->get(TensorRole::kWqA, checkpoint->config().layers).data == nullptr);
  }
}

TEST_CASE("checkpoints in the wild: the vision experiment, as text only or not at all") {
  FolderWriter writer = with_drafter("flash");
  for (int i = 0; i < 10; ++i) writer.config.set(fmt::format("vision_key_{}", i), "1");
  writer.config.set("rms_norm_eps", "1e-20");
  for (int i = 0; i < 273; ++i) writer.add({fmt::format("vision.blocks.{}.weight", i), "BF16", {8}, 16, nullptr});
  for (int i = 0; i < 43; ++i) writer.add({fmt::format("layers.{}.ffn.gate.bias_vl", i), "F32", {256}, 1024, nullptr});
  writer.shards = 48;
  const TempFolder folder;
  writer.write(folder.path());
  CHECK(contains(refusal(folder.path(), Status::kUnsupported), "a vision model is not supported"));
  OpenOptions options;
  options.text_only = true;
  std::vector<std::string> said;
  options.note = [&](const std::string& note) { said.push_back(note); };
  const auto checkpoint = Checkpoint::open(folder.path(), options);
  CHECK(checkpoint->config().vision);
  REQUIRE(said.size() == 3);
  CHECK(said == checkpoint->notes());
  CHECK(said[0] == "drafter: DSpark, not used");
  CHECK(said[1] == "vision: not used, text only");
  CHECK(contains(said[2], "316 tensors of the shards are not used"));
}

TEST_CASE("checkpoints in the wild: V4.1 is refused by name") {
  const TempFolder folder;
  ConfigText text(published_config("flash"));
  write_text(folder.file("config.json"), text.set("architectures", R"(["DeepseekV4_1ForCausalLM"])").text());
  CHECK(contains(refusal(folder.path(), Status::kUnsupported), "DeepseekV4_1ForCausalLM is not supported"));
}

TEST_CASE("re-uploads: other names, the same checkpoint") {
  const auto original = Checkpoint::open(golden("micro"), {});
  FolderWriter writer(*original);
  const auto replace = [](std::string& name, const std::string& from, const std::string& to) {
    const size_t at = name.find(from);
    if (at != std::string::npos) name.replace(at, from.size(), to);
  };
  for (WrittenTensor& t : writer.tensors) {
    replace(t.name, ".attn.", ".self_attn.");
    replace(t.name, ".ffn.", ".mlp.");
    replace(t.name, "gate.bias", "gate.e_score_correction_bias");
    if (t.name == "head.weight") t.name = "lm_head.weight";
    if (t.name == "embed.weight") t.name = "embed_tokens.weight";
    if (t.dtype == "F8_E8M0") replace(t.name, ".scale", ".weight_scale_inv");
    if (t.name != "lm_head.weight") t.name = "model." + t.name;
  }
  writer.shards = 2;
  const TempFolder folder;
  writer.write(folder.path());
  const auto renamed = Checkpoint::open(folder.path(), {});
  CHECK(renamed->notes().empty());
  CHECK(renamed->fingerprint() == original->fingerprint());
  CHECK(renamed->weight_bytes() == original->weight_bytes());
}

TEST_CASE("names are read back as they are made, and nothing else is a name") {
  const Config c = Checkpoint::open(golden("flash"), {})->config();
  int64_t wrong = 0;
  for_each_tensor(c, [&](const TableRow& row, int64_t layer, int64_t expert) {
    const ParsedName p = parse_tensor_name(tensor_name(row, c, layer, expert, false), c);
    wrong += p.kind != NameKind::kTensor || p.role != row.role || p.layer != layer || p.expert != expert || p.scale;
  });
  CHECK(wrong == 0);
  for (const char* name : {"",
                           "model.",
                           "layers.",
                           "layers.0",
                           "layers.0.",
                           "layers.00.attn_norm.weight",
                           "layers.-1.attn_norm.weight",
                           "layers.5.attn_norm.weight",
                           "layers.9999999999.attn_norm.weight",
                           "layers.0.attn_norm",
                           "layers.0.attn_norm.scale",
                           "layers.0.attn_norm.weight.weight",
                           "layers.0.attn.attn_sink.weight",
                           "layers.0.embed.weight",
                           "layers.0.ffn.experts.8.w1.weight",
                           "layers.0.ffn.experts.*.w1.weight",
                           "layers.0.ffn.experts.w1.weight",
                           "layers.0.attn.compressor.ape",
                           "layers.0.ffn.gate.bias",
                           "layers.4.ffn.gate.tid2eid",
                           "xlm_head.weight",
                           "norm.weights",
                           "hc_head_fn.weight",
                           "e_proj.weight"}) {
    CAPTURE(name);
    CHECK(parse_tensor_name(name, c).kind == NameKind::kUnknown);
  }
  for (const char* name :
       {"mtp.0.embed.weight", "mtp.0.head.weight", "model.mtp.0.embed_tokens.weight", "mtp.1.norm.weight"}) {
    CAPTURE(name);
    CHECK(parse_tensor_name(name, c).kind == NameKind::kDraft);
  }
}

TEST_CASE("other formats of the same tensors") {
  const auto original = Checkpoint::open(golden("micro"), {});
  const TempFolder folder;
  FolderWriter writer(*original);
  SUBCASE("FP4 called U8 or F4, scales called U8") {
    WrittenTensor& a = writer.tensor("layers.0.ffn.experts.0.w1.weight");
    a.dtype = "F4";
    a.shape = {128, 128};
    writer.tensor("layers.0.ffn.experts.1.w1.weight").dtype = "U8";
    writer.tensor("layers.0.ffn.experts.1.w1.scale").dtype = "U8";
    writer.write(folder.path());
    CHECK(Checkpoint::open(folder.path(), {})->fingerprint() == original->fingerprint());
  }
  SUBCASE("plain weights: BF16 and F32 linears, F32 norms and embeddings, an I32 table") {
    const auto plain = [&](const std::string& name, const char* dtype, uint64_t bytes) {
      WrittenTensor& t = writer.tensor(name);
      t.dtype = dtype;
      t.bytes = bytes;
      t.data = nullptr;
    };
    plain("layers.0.attn.wq_a.weight", "BF16", 128 * 128 * 2);
    writer.remove("layers.0.attn.wq_a.scale");
    plain("layers.0.attn.wkv.weight", "F32", 128 * 128 * 4);  // its scale stays, and is not used
    plain("layers.0.ffn.experts.0.w2.weight", "BF16", 128 * 128 * 2);
    writer.tensor("layers.0.ffn.experts.0.w2.weight").shape = {128, 128};
    plain("norm.weight", "F32", 128 * 4);
    plain("embed.weight", "F32", 260 * 128 * 4);
    plain("layers.0.ffn.gate.tid2eid", "I32", 260 * 2 * 4);
    writer.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path(), {});
    CHECK(checkpoint->get(TensorRole::kWqA, 0).dtype == DType::kBF16);
    CHECK(checkpoint->get(TensorRole::kWqA, 0).scale == nullptr);
    CHECK(checkpoint->get(TensorRole::kWkv, 0).dtype == DType::kF32);
    CHECK(checkpoint->get(TensorRole::kExpertW2, 0, 0).cols == 128);
    CHECK(checkpoint->get(TensorRole::kNorm, -1).dtype == DType::kF32);
    CHECK(checkpoint->get(TensorRole::kGateHash, 0).dtype == DType::kI32);
    CHECK(checkpoint->fingerprint() != original->fingerprint());
  }
  SUBCASE("no MTP head, though the config has one") {
    std::vector<WrittenTensor> kept;
    for (const WrittenTensor& t : writer.tensors) {
      if (t.name.substr(0, 4) != "mtp.") kept.push_back(t);
    }
    writer.tensors = kept;
    writer.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path(), {});
    CHECK(checkpoint->config().blocks() == 3);
    CHECK(checkpoint->config().ratios.size() == 3);
    CHECK(checkpoint->notes() == std::vector<std::string>{"MTP head: named in config.json, not in the shards"});
  }
  SUBCASE("copies of embed and head under mtp, and tensors nobody knows") {
    writer.add({"mtp.0.embed.weight", "BF16", {260, 128}, 260 * 128 * 2, nullptr});
    writer.add({"mtp.0.head.weight", "BF16", {1}, 2, nullptr});
    writer.add({"rotary.inv_freq", "F64", {}, 8, nullptr});
    writer.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path(), {});
    CHECK(checkpoint->notes() ==
          std::vector<std::string>{"mtp.*: 2 tensors not used",
                                   "1 tensors of the shards are not used; the first is rotary.inv_freq"});
    CHECK(checkpoint->fingerprint() == original->fingerprint());
  }
  SUBCASE("every tensor askew in its file: copied to where it may be read") {
    writer.write(folder.path());
    write_safetensors(folder.file("model.safetensors"), writer.tensors, 1);
    const auto checkpoint = Checkpoint::open(folder.path(), {});
    REQUIRE(checkpoint->notes().size() == 1);
    CHECK(contains(checkpoint->notes()[0], "not aligned in their file; copied"));
    CHECK(checkpoint->fingerprint() == original->fingerprint());
    int64_t askew = 0, different = 0;
    for_each_tensor(original->config(), [&](const TableRow& row, int64_t layer, int64_t expert) {
      const Tensor& a = original->get(row.role, layer, expert);
      const Tensor& b = checkpoint->get(row.role, layer, expert);
      askew +=
          reinterpret_cast<uintptr_t>(b.data) % std::max<size_t>(1, static_cast<size_t>(dtype_bits(b.dtype) / 8)) != 0;
      different += std::memcmp(a.data, b.data, data_bytes(a.dtype, a.rows, a.cols)) != 0;
    });
    CHECK(askew == 0);
    CHECK(different == 0);
  }
}

TEST_CASE("progress counts tensors and can stop it") {
  OpenOptions options;
  std::vector<uint64_t> seen;
  options.progress = [&](uint64_t done, uint64_t total) {
    seen.push_back(done);
    CHECK(done <= total);
    return true;
  };
  Checkpoint::open(golden("flash"), options);
  REQUIRE(seen.size() == 3);
  CHECK(seen[0] < seen[2]);
  options.progress = [](uint64_t, uint64_t) { return false; };
  CHECK(contains(refusal(golden("flash"), Status::kCancelled, options), "cancelled"));
}

namespace {

double variance_of_product(const Tensor& t) {
  // Of one row times a unit-variance input: the sum of the squares of its values.
  double sum = 0;
  for (int64_t i = 0; i < t.cols; ++i) {
    double v = 0;
    if (t.dtype == DType::kFP4) {
      const uint8_t byte = t.data[i / 2];
      v = double{kE2M1[i % 2 != 0 ? byte >> 4 : byte & 15]} * double{e8m0_to_float(t.scale[i / 32])};
    } else if (t.dtype == DType::kF8E4M3) {
      v = double{kE4M3[t.data[i]]} * double{e8m0_to_float(t.scale[i / 128])};
    } else {
      v = double{to_float(reinterpret_cast<const bf16*>(t.data)[i])};
    }
    sum += v * v;
  }
  return sum;
}

}  // namespace

TEST_CASE("synthetic models: the table's tensors with values that keep their size") {
  Config c = with_layers(published_config("flash"), 2);
  c.vocab = 1000;
  c.hidden = 1024;
  c.heads = 16;
  c.expert_width = c.shared_width = 512;
  c.experts = 16;
  c.hash_layers = 1;
  const auto checkpoint = Checkpoint::synthetic(c, 7, {});
  CHECK(checkpoint->folder().empty());
  CHECK(checkpoint->weight_bytes() == expected_weight_bytes(c));
  for_each_tensor(c, [&](const TableRow& row, int64_t layer, int64_t expert) {
    const Tensor& t = checkpoint->get(row.role, layer, expert);
    CAPTURE(row.stem);
    REQUIRE(t.data != nullptr);
    CHECK_NOTHROW(checkpoint->check_values(row.role, layer, expert));
    if (row.rank == 2 && (has_scale(t.dtype) || (t.dtype == DType::kBF16 && row.role != TensorRole::kEmbed))) {
      const double variance = variance_of_product(t);
      CHECK(variance > 0.4);
      CHECK(variance < 2.5);
    }
  });
  // Every expert appears in the hash table about equally often, none twice for a token.
  const Tensor& hash = checkpoint->get(TensorRole::kGateHash, 0);
  const auto* entries = reinterpret_cast<const int64_t*>(hash.data);
  std::vector<int> uses(16);
  for (int64_t token = 0; token < c.vocab; ++token) {
    std::set<int64_t> distinct(entries + token * 6, entries + token * 6 + 6);
    CHECK(distinct.size() == 6);
    for (int64_t e : distinct) ++uses[static_cast<size_t>(e)];
  }
  for (int n : uses) CHECK(std::abs(n - 375) < 100);
  // The seed decides, and nothing else.
  CHECK(Checkpoint::synthetic(c, 7, {})->fingerprint() == checkpoint->fingerprint());
  CHECK(Checkpoint::synthetic(c, 8, {})->fingerprint() != checkpoint->fingerprint());
}

TEST_CASE("a synthetic model written to a folder opens as itself") {
  const Config c = Checkpoint::open(golden("base"), {})->config();
  const auto made = Checkpoint::synthetic(c, 3, {});
  const TempFolder folder;
  FolderWriter writer(*made);
  writer.shards = 4;
  writer.write(folder.path());
  OpenOptions options;
  options.verify = true;
  CHECK(Checkpoint::open(folder.path(), options)->fingerprint() == made->fingerprint());
}

TEST_CASE("making a synthetic model can be cancelled, and its callback may throw") {
  const Config c = Checkpoint::open(golden("micro"), {})->config();
  OpenOptions options;
  options.progress = [](uint64_t, uint64_t) { return false; };
  CHECK_THROWS_AS(Checkpoint::synthetic(c, 1, options), Error);
  options.progress = [](uint64_t, uint64_t) -> bool { throw std::string("mine"); };
  CHECK_THROWS_AS(Checkpoint::synthetic(c, 1, options), std::string);
}
