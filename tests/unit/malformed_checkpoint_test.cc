// The loader against folders with one thing wrong: each gives its own status and a message that names the tensor, file
// or key. Then random damage: a few thousand mutations never do anything but open or throw Error.
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/checkpoint/checkpoint.h"
#include "lib/checkpoint/safetensors.h"
#include "tests/support/folder_writer.h"

using namespace dsv4;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

const Checkpoint& micro() {
  static const auto checkpoint = Checkpoint::open(DSV4_TEST_DATA "/golden/micro", {});
  return *checkpoint;
}

std::string refusal(const std::string& folder, Status status) {
  try {
    Checkpoint::open(folder, {});
  } catch (const Error& error) {
    CHECK_MESSAGE(error.status() == status, error.what());
    CHECK_MESSAGE(contains(error.what(), folder), error.what());
    return error.what();
  }
  FAIL("opened");
  return "";
}

struct Case {
  const char* what;
  std::function<void(FolderWriter&)> damage;
  Status status;
  std::vector<const char*> says;
};

constexpr const char* kW1 = "layers.1.ffn.experts.2.w1";
std::string w1(const char* end) { return std::string(kW1) + end; }

}  // namespace

TEST_CASE("one thing wrong in a folder") {
  const Status corrupt = Status::kCorrupt, unsupported = Status::kUnsupported;
  const Case all[] = {
      {"a weight is missing", [](FolderWriter& f) { f.remove(w1(".weight")); }, corrupt,
       {"model.safetensors", "tensor layers.1.ffn.experts.2.w1.weight: expected, not found"}},
      {"a scale is missing", [](FolderWriter& f) { f.remove(w1(".scale")); }, corrupt,
       {"tensor layers.1.ffn.experts.2.w1.scale: expected, not found"}},
      {"half the MTP head is missing", [](FolderWriter& f) { f.remove("mtp.0.enorm.weight"); }, corrupt,
       {"tensor mtp.0.enorm.weight: expected, not found"}},
      {"wrong shape", [](FolderWriter& f) { f.tensor("layers.0.attn.wkv.weight").shape = {64, 256}; }, corrupt,
       {"tensor layers.0.attn.wkv.weight: shape [128, 128] expected by config.json, [64, 256] found"}},
      {"wrong shape of packed FP4", [](FolderWriter& f) { f.tensor(w1(".weight")).shape = {64, 128}; }, corrupt,
       {"tensor layers.1.ffn.experts.2.w1.weight: shape [128, 64] expected"}},
      {"wrong shape of a scale", [](FolderWriter& f) { f.tensor(w1(".scale")).shape = {4, 128}; }, corrupt,
       {"tensor layers.1.ffn.experts.2.w1.scale: shape [128, 4] expected"}},
      {"wrong rank", [](FolderWriter& f) { f.tensor("norm.weight").shape = {1, 128}; }, corrupt,
       {"tensor norm.weight: shape [128] expected", "[1, 128] found"}},
      {"shape and length disagree", [](FolderWriter& f) { f.tensor("norm.weight").shape = {64}; }, corrupt,
       {"tensor norm.weight: 128 bytes expected for BF16 [64], 256 found"}},
      {"a format that no weight has", [](FolderWriter& f) { f.tensor("norm.weight").dtype = "I16"; }, corrupt,
       {"tensor norm.weight: dtype BF16 or F32 expected, I16 found"}},
      {"a format that this library lacks", [](FolderWriter& f) { f.tensor("norm.weight").dtype = "F16"; }, unsupported,
       {"tensor norm.weight: dtype BF16 or F32 expected, F16 found"}},
      {"E5M2 weights", [](FolderWriter& f) { f.tensor("layers.0.attn.wkv.weight").dtype = "F8_E5M2"; }, unsupported,
       {"layers.0.attn.wkv.weight: dtype F8_E4M3, BF16 or F32 expected, F8_E5M2 found"}},
      {"bytes where no FP4 may be", [](FolderWriter& f) { f.tensor("layers.0.attn.wkv.weight").dtype = "I8"; }, corrupt,
       {"layers.0.attn.wkv.weight: dtype", "I8 found"}},
      {"a scale in E4M3", [](FolderWriter& f) { f.tensor(w1(".scale")).dtype = "F8_E4M3"; }, unsupported,
       {"layers.1.ffn.experts.2.w1.scale: dtype F8_E8M0 expected, F8_E4M3 found"}},
      {"an F32 tensor in BF16",
       [](FolderWriter& f) {
         WrittenTensor& t = f.tensor("layers.0.attn.attn_sink");
         t.dtype = "BF16";
         t.bytes = 4;
       },
       unsupported, {"layers.0.attn.attn_sink: dtype F32 expected, BF16 found"}},
      {"scale byte 255 in a dense weight",
       [](FolderWriter& f) {
         auto& bytes = f.own_bytes("layers.0.attn.wq_b.scale");
         bytes[1] = 255;
       },
       corrupt, {"tensor layers.0.attn.wq_b.scale", "255 (NaN) found at [1, 0]"}},
      {"scale byte 255 in an expert", [](FolderWriter& f) { f.own_bytes(w1(".scale"))[4 * 100 + 3] = 255; }, corrupt,
       {"tensor layers.1.ffn.experts.2.w1.scale", "255 (NaN) found at [100, 3]"}},
      {"a hash table that leads nowhere",
       [](FolderWriter& f) {
         auto& bytes = f.own_bytes("layers.0.ffn.gate.tid2eid");
         bytes[8 * 7] = 4;
       },
       corrupt, {"tensor layers.0.ffn.gate.tid2eid: an expert from 0 to 3 expected, 4 found at [3, 1]"}},
      {"a negative expert",
       [](FolderWriter& f) {
         auto& bytes = f.own_bytes("layers.0.ffn.gate.tid2eid");
         std::memset(bytes.data() + bytes.size() - 8, 0xff, 8);
       },
       corrupt, {"tid2eid", "-1 found at [259, 1]"}},
      {"one tensor under two names",
       [](FolderWriter& f) {
         WrittenTensor t = f.tensor("norm.weight");
         t.name = "model.norm.weight";
         f.add(t);
       },
       corrupt, {"model.norm.weight: there already, as norm.weight"}},
      {"a name twice", [](FolderWriter& f) { f.add(f.tensor("norm.weight")); }, corrupt,
       {"tensor norm.weight: two tensors of this name"}},
      {"an unknown rope type",
       [](FolderWriter& f) { f.config.set("rope_scaling", R"({"type":"dynamic","factor":2})"); }, unsupported,
       {"config.json", "rope_scaling.type: dynamic is not supported; yarn expected"}},
      {"a config of another size", [](FolderWriter& f) { f.config.set("hidden_size", "256"); }, corrupt,
       {"tensor embed.weight: shape [260, 256] expected by config.json, [260, 128] found"}},
  };
  for (const Case& c : all) {
    CAPTURE(c.what);
    const TempFolder folder;
    FolderWriter writer(micro());
    c.damage(writer);
    writer.write(folder.path());
    const std::string message = refusal(folder.path(), c.status);
    for (const char* part : c.says) CHECK_MESSAGE(contains(message, part), message);
  }
}

TEST_CASE("a quantised weight whose rows are not whole blocks of 128") {
  Config c = micro().config();
  c.q_rank = 96;
  const TempFolder folder;
  FolderWriter(c).write(folder.path());
  CHECK(contains(refusal(folder.path(), Status::kUnsupported),
                 "layers.0.attn.wq_b.weight: 96 columns; a quantised weight"));
}

TEST_CASE("one thing wrong with the files") {
  const TempFolder folder;
  FolderWriter writer(micro());
  writer.shards = 3;
  const std::string index = folder.file("model.safetensors.index.json");
  const std::string second = folder.file(FolderWriter::shard_name(1, 3));
  const auto fresh = [&] { writer.write(folder.path()); };

  SUBCASE("the folder itself opens") {
    fresh();
    CHECK(Checkpoint::open(folder.path(), {})->fingerprint() == micro().fingerprint());
  }
  SUBCASE("no such folder") { CHECK(contains(refusal(folder.file("none"), Status::kNotFound), "config.json")); }
  SUBCASE("a config and nothing else") {
    write_text(folder.file("config.json"), writer.config.text());
    CHECK(contains(refusal(folder.path(), Status::kNotFound), "model.safetensors.index.json or model.safetensors"));
  }
  SUBCASE("a shard is missing") {
    fresh();
    std::filesystem::remove(second);
    CHECK(contains(refusal(folder.path(), Status::kNotFound), "shard model-00002-of-00003.safetensors: expected"));
  }
  SUBCASE("the index lists what its shard has not") {
    writer.index_extra.emplace_back("layers.9.norm.weight", FolderWriter::shard_name(0, 3));
    fresh();
    const std::string message = refusal(folder.path(), Status::kCorrupt);
    CHECK(contains(message,
                   "index.json: tensor layers.9.norm.weight: expected in shard model-00001-of-00003.safetensors"));
  }
  SUBCASE("the index lists a tensor twice") {
    writer.index_extra.emplace_back(writer.tensors.front().name, FolderWriter::shard_name(0, 3));
    fresh();
    CHECK(contains(refusal(folder.path(), Status::kCorrupt), "listed twice"));
  }
  SUBCASE("the index leads out of the folder") {
    for (const char* name : {"../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\\\\b", "C:x",
                             ".hidden", "a\\u0000b"}) {
      CAPTURE(name);
      writer.index_extra = {{"x", name}};
      fresh();
      CHECK(contains(refusal(folder.path(), Status::kCorrupt), "is not the name of a file inside the folder"));
    }
  }
  SUBCASE("an index that is none") {
    fresh();
    const std::string deep(100000, '[');
    for (const std::string& text : {std::string(), std::string("{}"), std::string("[]"), deep, "{\"metadata\":" + deep,
                                    std::string(R"({"weight_map":{}})"), std::string(R"({"weight_map":[]})"),
                                    std::string(R"({"weight_map":{"a":1}})"), std::string(R"({"weight_map":{"a":"b)"),
                                    std::string(R"({"weight_map":{"a":"m"},"weight_map":{}})")}) {
      CAPTURE(text.substr(0, 60));
      write_text(index, text);
      CHECK(contains(refusal(folder.path(), Status::kCorrupt), "index.json"));
    }
  }
  SUBCASE("a shard cut short, wherever") {
    fresh();
    const std::string whole = read_text(second);
    uint64_t header = 0;
    std::memcpy(&header, whole.data(), 8);
    for (const size_t size : {size_t{0}, size_t{5}, size_t{8}, size_t{9}, size_t{header / 2}, size_t{header + 7},
                              size_t{header + 8}, whole.size() / 2, whole.size() - 1}) {
      CAPTURE(size);
      write_text(second, std::string_view(whole).substr(0, size));
      CHECK(contains(refusal(folder.path(), Status::kCorrupt), "model-00002-of-00003.safetensors"));
    }
  }
}

TEST_CASE("a scale that is too much to look for at open is found by verify and by whoever asks") {
  // 128 experts of Flash's width have 100 MB of scales, more than kScanLimit; the file is one hole but for a page.
  Config c = with_layers(published_config("flash"), 1);
  c.experts = 128;
  c.vocab = 128;
  FolderWriter writer(c);
  writer.own_bytes("layers.0.ffn.experts.100.w2.scale")[65] = 255;
  const TempFolder folder;
  writer.write(folder.path());
  const auto checkpoint = Checkpoint::open(folder.path(), {});
  CHECK_NOTHROW(checkpoint->check_values(TensorRole::kExpertW2, 0, 99));
  CHECK_THROWS_AS(checkpoint->check_values(TensorRole::kExpertW2, 0, 100), Error);
  OpenOptions options;
  options.verify = true;
  try {
    Checkpoint::open(folder.path(), options);
    FAIL("opened");
  } catch (const Error& error) {
    CHECK(error.status() == Status::kCorrupt);
    CHECK_MESSAGE(contains(error.what(), "layers.0.ffn.experts.100.w2.scale"), error.what());
    CHECK_MESSAGE(contains(error.what(), "at [1, 1]"), error.what());
  }
}

namespace {

std::string mutate(std::string text, std::mt19937& random) {
  static const char* const kPieces[] = {"\"", "{", "}", "[", "]", ",", ":", "-1", "0", "null", "1e9", "\\u0000", "\xff",
                                        "18446744073709551615", "9223372036854775807", "[[[[[[[[", "\"F32\"", "\"I8\""};
  const auto pick = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  const size_t edits = 1 + pick(4);
  for (size_t i = 0; i < edits && !text.empty(); ++i) {
    const size_t at = pick(text.size());
    switch (pick(5)) {
      case 0: text[at] = static_cast<char>(random()); break;
      case 1: text[at] = static_cast<char>('0' + pick(10)); break;  // mostly a shape or an offset that changes
      case 2: text.erase(at, 1 + pick(20)); break;
      case 3: text.insert(at, kPieces[pick(std::size(kPieces))]); break;
      default: text.insert(at, text.substr(pick(text.size()), pick(60))); break;
    }
  }
  return text;
}

}  // namespace

TEST_CASE("random damage: opens or throws Error, nothing else") {
  const std::string source = DSV4_TEST_DATA "/golden/micro";
  const std::string config = read_text(source + "/config.json");
  const std::string model = read_text(source + "/model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, model.data(), 8);
  const std::string header = model.substr(8, length);
  const TempFolder folder;
  std::mt19937 random(20260801);
  int opened = 0, refused = 0;
  const auto attempt = [&] {
    try {
      Checkpoint::open(folder.path(), {});
      ++opened;
    } catch (const Error& error) {
      CHECK(error.status() != Status::kInternal);
      ++refused;
    }
  };
  write_text(folder.file("model.safetensors"), model);
  for (int i = 0; i < 1500; ++i) {
    write_text(folder.file("config.json"), mutate(config, random));
    attempt();
  }
  write_text(folder.file("config.json"), config);
  // The header's damage matters, not the weights behind it: zeros will do.
  for (int i = 0; i < 1500; ++i) {
    write_raw_safetensors(folder.file("model.safetensors"), mutate(header, random), model.size() - 8 - length);
    attempt();
  }
  CHECK(opened > 20);
  CHECK(refused > 1000);
}
