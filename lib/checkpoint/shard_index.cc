// Reading model.safetensors.index.json. See shard_index.h.
#include "lib/checkpoint/shard_index.h"

#include <algorithm>
#include <map>

#include "lib/base/error.h"
#include "lib/checkpoint/json_reader.h"
#include "lib/checkpoint/safetensors.h"

namespace dsv4 {
namespace {

constexpr size_t kMaxIndex = 256u << 20;
constexpr size_t kMaxShards = 4096;
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";

// A plain file name: nothing that could leave the folder on any system.
bool safe_shard_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  });
}

class IndexReader {
 public:
  explicit IndexReader(ShardIndex& index)
      : index_(index), json_({reinterpret_cast<const char*>(index.map.data()), index.map.size()}, index.path) {}

  void read() {
    bool seen = false;
    std::string_view key;
    json_.enter_object();
    while (json_.next_key(key)) {
      if (key != "weight_map") {
        json_.skip();
        continue;
      }
      if (seen) json_.error("weight_map given twice");
      seen = true;
      read_map();
    }
    json_.finish();
    if (!seen) fail(Status::kCorrupt, "{}: weight_map expected, not found", index_.path);
    if (index_.entries.empty()) fail(Status::kCorrupt, "{}: weight_map: tensors expected, none found", index_.path);
  }

 private:
  void read_map() {
    std::string_view name;
    json_.enter_object();
    while (json_.next_key(name)) {
      if (!plain_tensor_name(name)) json_.error("a tensor name of 1 to 1024 bytes without control characters expected");
      if (!json_.in_text(name)) name = *index_.escaped.emplace_back(std::make_unique<std::string>(name));
      if (json_.kind() != JsonReader::Kind::kString) {
        fail(Status::kCorrupt, "{}: tensor {}: the name of a shard expected", index_.path, name);
      }
      index_.entries.push_back({name, shard(name, json_.string())});
    }
  }

  uint32_t shard(std::string_view tensor, std::string_view name) {
    const auto known = shards_.find(name);
    if (known != shards_.end()) return known->second;
    if (!safe_shard_name(name)) {
      fail(Status::kCorrupt, "{}: tensor {}: shard \"{}\" is not the name of a file inside the folder", index_.path,
           tensor, printable(name));
    }
    if (index_.shards.size() == kMaxShards) {
      fail(Status::kCorrupt, "{}: at most {} shards expected, more found", index_.path, kMaxShards);
    }
    const auto number = static_cast<uint32_t>(index_.shards.size());
    index_.shards.emplace_back(name);
    shards_.emplace(std::string(name), number);
    return number;
  }

  ShardIndex& index_;
  JsonReader json_;
  std::map<std::string, uint32_t, std::less<>> shards_;
};

}  // namespace

ShardIndex read_shard_index(const std::string& folder) {
  ShardIndex index;
  const std::string path = join_path(folder, kIndexName);
  if (!file_exists(path)) {
    if (!file_exists(join_path(folder, kSingleName))) {
      fail(Status::kNotFound, "{}: {} or {} expected, neither found", folder, kIndexName, kSingleName);
    }
    index.shards.emplace_back(kSingleName);
    return index;
  }
  index.path = path;
  index.map = FileMap(path);
  if (index.map.size() > kMaxIndex) {
    fail(Status::kCorrupt, "{}: {} bytes, at most {} expected of an index", path, index.map.size(), kMaxIndex);
  }
  IndexReader(index).read();
  return index;
}

}  // namespace dsv4
