// A conversation as the exact prompt that V4 was trained on (spec: prompt.md): text for people, token ids for the
// model. Only the renderer emits control tokens; whatever a caller wrote is ordinary text, even where it spells one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/conversation.h"
#include "lib/text/profile.h"
#include "lib/text/tokenizer.h"

namespace dsv4 {

struct RenderOptions {
  Profile profile = Profile::kPreview;
  std::optional<ReasoningMode> mode =
      std::nullopt;  // unset: what the conversation asks for, else the profile's default
  std::optional<ToolChoice> tool_choice = std::nullopt;  // unset: the conversation's
};

struct PromptPiece {
  enum class Kind : uint8_t {
    kText,     // ordinary text
    kSpecial,  // one control token
    kIds       // `ids` as they are; `text` is what they stand for
  };
  Kind kind = Kind::kText;
  std::string text;
  std::vector<int32_t> ids;
};

struct Prompt {
  Profile profile = Profile::kPreview;
  ReasoningMode mode = ReasoningMode::kNone;  // in force
  std::vector<PromptPiece> pieces;            // no two kText in a row: each is encoded as one text
  // Where the model's output starts.
  bool awaits_answer = false;         // false: the conversation ends with a finished turn, or with nothing to answer
  bool starts_in_reasoning = false;   // after <think>
  bool starts_in_tool_calls = false;  // tool_choice required: inside the tool_calls block
  std::string forced_tool;            // tool_choice names this function
  // What the answer has to do with, as far as the prompt shows it.
  std::vector<Json> tools;              // the function objects
  std::optional<Json> response_format;  // OpenAI's, or a bare schema; of several the last
  std::vector<std::string> warnings;    // for the host; nothing was changed because of them

  std::string text() const;
  // Appends the ids. Error kUnsupported: a control token that the tokenizer lacks, by name.
  void encode(const Tokenizer& tokenizer, std::vector<int32_t>& out) const;
};

// Errors: kUnsupported (a mode that the profile lacks), kInvalidArgument (names the message or field).
Prompt render(const Conversation& conversation, const RenderOptions& options);

}  // namespace dsv4
