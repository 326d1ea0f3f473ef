// Writes checkpoint folders for tests: whole or broken, with data or sparse.
//
// A FolderWriter starts as a correct folder for a config (names, shapes and formats from the library's own table, so a
// test that breaks one thing breaks just that). Tests then edit the public lists and write.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/checkpoint/checkpoint.h"
#include "lib/checkpoint/config.h"

// A folder of its own under the system's temporary one; gone with the object.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void write_text(const std::string& path, std::string_view text);
std::string read_text(const std::string& path);

// config.json of a Config as ordered (key, JSON text) pairs, to be edited.
class ConfigText {
 public:
  explicit ConfigText(const dsv4::Config& config);
  ConfigText& set(const std::string& key, const std::string& json);
  ConfigText& erase(const std::string& key);
  std::string text() const;
  const std::vector<std::pair<std::string, std::string>>& items() const { return items_; }

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

// One entry of a safetensors header. `data` null: the bytes are a hole (zeros that take no disk).
struct WrittenTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
  const uint8_t* data = nullptr;
};

// One safetensors file. The tensors lie one after the other, from `first_gap` bytes on.
void write_safetensors(const std::string& path, const std::vector<WrittenTensor>& tensors, uint64_t first_gap = 0);
// The same from a header text as it is: its length, the text, then `data_bytes` zeros.
void write_raw_safetensors(const std::string& path, std::string_view header, uint64_t data_bytes);

class FolderWriter {
 public:
  // Published formats, no data: everything reads as zero.
  explicit FolderWriter(const dsv4::Config& config);
  // Formats and bytes of an opened or synthetic checkpoint, which must outlive the writer.
  explicit FolderWriter(const dsv4::Checkpoint& checkpoint);

  WrittenTensor& tensor(const std::string& name);  // throws std::out_of_range
  void remove(const std::string& name);
  void add(WrittenTensor tensor) { tensors.push_back(std::move(tensor)); }
  // Gives a tensor bytes of its own: zeros, to be edited.
  std::vector<uint8_t>& own_bytes(const std::string& name);

  // config.json, `shards` files of about equal size, and an index if there is more than one.
  void write(const std::string& folder) const;
  static std::string shard_name(int shard, int shards);

  ConfigText config;
  std::vector<WrittenTensor> tensors;
  int shards = 1;
  std::vector<std::pair<std::string, std::string>> index_extra;  // further lines of the weight_map

 private:
  std::map<std::string, std::vector<uint8_t>> own_;
};
