// Fuzz target: a safetensors header and how many bytes of data follow it (the input's first 8 bytes). Whatever the
// parser accepts must keep its promises: extents inside the data, no overlap, lengths that fit the shapes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/checkpoint/config.h"
#include "lib/checkpoint/safetensors.h"
#include "lib/checkpoint/tensor_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) return 0;
  uint64_t data_size = 0;
  std::memcpy(&data_size, data, 8);
  const std::string_view header(reinterpret_cast<const char*>(data) + 8, size - 8);
  std::vector<uint32_t> by_name;
  std::vector<std::unique_ptr<std::string>> escaped;
  std::vector<dsv4::SafetensorsEntry> entries;
  try {
    entries = dsv4::parse_safetensors_header(header, data_size, "fuzz", by_name, escaped);
  } catch (const dsv4::Error& error) {
    if (error.status() != dsv4::Status::kCorrupt) __builtin_trap();
    return 0;
  }
  if (by_name.size() != entries.size()) __builtin_trap();
  const dsv4::Config config = dsv4::published_config("flash");
  std::vector<std::pair<uint64_t, uint64_t>> extents;
  for (const dsv4::SafetensorsEntry& e : entries) {
    if (e.begin > e.end || e.end > data_size || !dsv4::plain_tensor_name(e.name)) __builtin_trap();
    if (e.begin != e.end) extents.emplace_back(e.begin, e.end);
    const dsv4::ParsedName name = dsv4::parse_tensor_name(e.name, config);
    if (name.kind == dsv4::NameKind::kTensor &&
        !dsv4::applies(dsv4::table_row(name.role), config, name.layer)) {
      __builtin_trap();
    }
  }
  std::sort(extents.begin(), extents.end());
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].first < extents[i - 1].second) __builtin_trap();
  }
  return 0;
}
