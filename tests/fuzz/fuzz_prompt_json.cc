// Any bytes as a conversation: an Error, or a prompt in every mode whose text is UTF-8, whose ids stand for that text,
// and whose control tokens are those that the renderer put there. Written as JSON it reads back as the same.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/detokenizer.h"
#include "lib/text/prompt.h"

namespace {

using namespace dsv4;

void check(const Conversation& conversation, const Tokenizer& tokenizer, const RenderOptions& options) {
  Prompt prompt;
  try {
    prompt = render(conversation, options);
  } catch (const Error&) {
    return;
  }
  std::vector<int32_t> ids;
  prompt.encode(tokenizer, ids);
  const std::string text = prompt.text();
  if (!utf8_valid(text)) __builtin_trap();
  if (decode_bytes(tokenizer, ids, ControlTokens::kWrite) != text) __builtin_trap();
  size_t pieces = 0, tokens = 0;
  for (const PromptPiece& piece : prompt.pieces) pieces += piece.kind == PromptPiece::Kind::kSpecial ? 1 : 0;
  for (const int32_t id : ids) tokens += tokenizer.is_added(id) ? 1 : 0;
  if (pieces != tokens) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<Tokenizer> tokenizer =
      Tokenizer::load(DSV4_SOURCE_DIR "/samples/models/tiny/tokenizer.json");
  try {
    const Conversation c = Conversation::from_json({reinterpret_cast<const char*>(data), size});
    const std::string written = c.to_json().dump();
    if (Conversation::from_json(written).to_json().dump() != written) __builtin_trap();
    for (const Profile profile : {Profile::kPreview, Profile::k0731}) {
      for (const ReasoningMode mode : {ReasoningMode::kNone, ReasoningMode::kLow, ReasoningMode::kMax}) {
        check(c, *tokenizer, {profile, mode});
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
