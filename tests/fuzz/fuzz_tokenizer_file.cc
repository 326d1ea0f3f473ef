// Any bytes as a tokenizer.json: an Error or a tokenizer that works; never a crash, a hang or a huge allocation.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/text/detokenizer.h"
#include "lib/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dsv4;
  try {
    const auto tokenizer = Tokenizer::parse({reinterpret_cast<const char*>(data), size}, "input");
    const std::string_view text = "abab  ab\n\n1234 caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 <think> ''";
    std::vector<int32_t> ids;
    tokenizer->encode(text, false, ids);
    if (decode_bytes(*tokenizer, ids, ControlTokens::kWrite) != text) __builtin_trap();
    ids.clear();
    tokenizer->encode(text, true, ids);
    if (decode_bytes(*tokenizer, ids, ControlTokens::kWrite) != text) __builtin_trap();
  } catch (const Error&) {
  }
  return 0;
}
