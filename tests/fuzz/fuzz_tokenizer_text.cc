// Any bytes as a text for the bundled tokenizer: the ids give the text back, and without leave no text becomes an added
// token. Malformed UTF-8 is an Error.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/detokenizer.h"
#include "lib/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dsv4;
  static const std::unique_ptr<Tokenizer> tokenizer =
      Tokenizer::load(DSV4_SOURCE_DIR "/samples/models/tiny/tokenizer.json");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool special : {false, true}) {
    std::vector<int32_t> ids;
    try {
      tokenizer->encode(text, special, ids);
    } catch (const Error& error) {
      if (utf8_valid(text) || error.status() != Status::kInvalidArgument || !ids.empty()) __builtin_trap();
      continue;
    }
    if (!utf8_valid(text)) __builtin_trap();
    if (decode_bytes(*tokenizer, ids, ControlTokens::kWrite) != text) __builtin_trap();
    for (const int32_t id : ids) {
      if (!special && tokenizer->is_added(id)) __builtin_trap();
    }
  }
  return 0;
}
