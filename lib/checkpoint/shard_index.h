// Which files hold a checkpoint's tensors: model.safetensors.index.json with its weight_map, or one model.safetensors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file_map.h"

namespace dsv4 {

struct ShardIndex {
  struct Entry {
    std::string_view name;  // valid as long as the index
    uint32_t shard = 0;
  };
  std::string path;                 // of the index; "" for a single file
  std::vector<std::string> shards;  // file names, each a plain name inside the folder
  std::vector<Entry> entries;       // empty for a single file

  FileMap map;                                         // holds the names
  std::vector<std::unique_ptr<std::string>> escaped;  // those that were written with escapes
};

// Error kNotFound: neither file is there. kCorrupt: the index is malformed or names a shard outside the folder.
ShardIndex read_shard_index(const std::string& folder);

}  // namespace dsv4
