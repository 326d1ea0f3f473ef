// Fuzz target: config.json. A config that is accepted can be walked by the tensor table without leaving 64 bits.
#include <cstdint>
#include <string>

#include "lib/base/error.h"
#include "lib/checkpoint/checkpoint.h"
#include "lib/checkpoint/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const bool text_only : {false, true}) {
    try {
      const dsv4::Config config = dsv4::parse_config(text, "fuzz", text_only);
      if (config.ratios.size() != static_cast<size_t>(config.blocks())) __builtin_trap();
      if (config.head_dim <= config.rope_dim || config.experts_per_token > config.experts) __builtin_trap();
      if (dsv4::expected_weight_bytes(config) > uint64_t{1} << 62) __builtin_trap();
    } catch (const dsv4::Error& error) {
      if (error.status() != dsv4::Status::kCorrupt && error.status() != dsv4::Status::kUnsupported) __builtin_trap();
    }
  }
  return 0;
}
