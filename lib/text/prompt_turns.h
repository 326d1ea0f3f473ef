// What happens to a message list before it is rendered (spec: prompt.md, "Before rendering"): tool results join user
// messages, results are put in the order of their calls, reasoning that the format forgets is dropped.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lib/text/conversation.h"

namespace dsv4 {

struct PromptTurn {
  Role role = Role::kUser;  // never kTool
  std::string text;
  const Message* message = nullptr;  // where it came from; nullptr: a system place that was not in the list
  std::vector<const Json*> tools;    // function objects
  const Json* response_format = nullptr;
  bool request_format = false;  // response_format is the request's, not the message's
  std::string task;
};

struct PromptTurns {
  std::vector<PromptTurn> list;
  bool drops_reasoning = false;  // of assistant turns before last_user
  ptrdiff_t last_user = -1;      // last user or developer turn

  bool keeps_reasoning(size_t turn) const { return !drops_reasoning || static_cast<ptrdiff_t>(turn) > last_user; }
};

// The conversation must outlive the result.
PromptTurns prepare_turns(const Conversation& conversation, const ToolChoice& choice, Profile profile,
                          ReasoningMode mode);

}  // namespace dsv4
