// One safetensors file, mapped: u64 little-endian header length, JSON header
//   {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {...}}, then the data.
// Every field is untrusted. What a constructed object says of its entries has been checked: names are unique, dtype,
// shape and byte length agree, the bytes lie inside the file and no two tensors share one. Only the header is read.
//
// A file that is cut short by another process after it was opened is out of scope: touching the lost pages is SIGBUS.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file_map.h"

namespace dsv4 {

// What a file may call its numbers.
enum class StoredType : uint8_t {
  kBool, kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64, kF16, kBF16, kF32, kF64, kC64,
  kF8E4M3, kF8E5M2, kF8E8M0, kF4, kF6E2M3, kF6E3M2,
  kCount
};
const char* stored_type_name(StoredType type);  // "F8_E4M3"
int stored_type_bits(StoredType type);

struct SafetensorsEntry {
  static constexpr int kMaxRank = 8;
  std::string_view name;  // valid as long as the file object
  StoredType type = StoredType::kU8;
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  uint64_t begin = 0, end = 0;  // from the start of the data
};
constexpr size_t kMaxTensorName = 1024;
bool plain_tensor_name(std::string_view name);          // 1 to kMaxTensorName bytes, no control characters
std::string shape_text(const SafetensorsEntry& entry);  // "[4, 512]"

class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

  SafetensorsFile() = default;
  explicit SafetensorsFile(const std::string& path);  // Error kNotFound, kIo, kCorrupt: names file and tensor

  const std::string& path() const { return map_.path(); }
  uint64_t size() const { return map_.size(); }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in the header's order
  const SafetensorsEntry* find(std::string_view name) const;                 // nullptr: not here
  const uint8_t* data(const SafetensorsEntry& entry) const { return map_.data() + data_begin_ + entry.begin; }
  const FileMap& map() const { return map_; }

 private:
  FileMap map_;
  uint64_t data_begin_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::vector<uint32_t> by_name_;                      // entries in the order of their names
  std::vector<std::unique_ptr<std::string>> escaped_;  // names that do not lie in the header as they are
};

// The header alone: `header` is the JSON text, `data_size` what follows it. For SafetensorsFile and its fuzzer.
std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view header, uint64_t data_size,
                                                       std::string_view file, std::vector<uint32_t>& by_name,
                                                       std::vector<std::unique_ptr<std::string>>& escaped);

}  // namespace dsv4
