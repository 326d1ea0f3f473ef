// A conversation as a host has it: messages in OpenAI's shape (spec: prompt.md), from JSON or built one by one.
// Nothing here knows of a profile or of the prompt's form. JSON in: conversation.cc; JSON out: conversation_json.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/json_value.h"
#include "lib/text/profile.h"

namespace dsv4 {

// The values are those of DSV4_ROLE_* in include/dsv4.h.
enum class Role : int32_t { kSystem = 1, kUser = 2, kAssistant = 3, kTool = 4, kDeveloper = 5, kLatestReminder = 6 };
std::string_view role_name(Role role);  // as in JSON: "system" ...

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text, as the model or the host wrote it
};

// The tokens of a turn that the model itself produced. They stand in the prompt instead of the message's text, so that
// the next turn extends what was evaluated. Neither holds </think> or EOS: the renderer puts those.
struct TurnIds {
  std::optional<std::vector<int32_t>> reasoning;  // none: the message's text counts
  std::vector<int32_t> answer;                    // content and tool calls
};

struct Message {
  Role role = Role::kUser;
  std::string content;                  // a list's text parts are joined already
  std::string reasoning;                // assistant: reasoning_content
  std::vector<ToolCall> calls;          // assistant
  std::string malformed;                // assistant: the rest of a turn that broke the format, as the model wrote it
  std::string tool_call_id;             // tool
  std::vector<Json> tools;              // system, developer: the `function` objects
  std::optional<Json> response_format;  // system, developer
  std::string task;                     // "" or a name of protocol::kTasks
  bool prefix = false;                  // assistant, last: to be continued
  std::optional<TurnIds> ids;           // assistant
};

Json to_json(const Message& message);

struct ToolChoice {
  enum class Kind : uint8_t { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name;  // kNamed
};

struct Conversation {
  std::vector<Message> messages;
  std::vector<Json> tools;  // of the whole request: the `function` objects
  ToolChoice tool_choice;
  std::optional<Json> response_format;
  std::optional<bool> thinking;  // {"type": "enabled" | "disabled"}
  std::optional<ReasoningMode> reasoning_effort;

  // A message list, or an object with messages and optionally tools, tool_choice, response_format, thinking,
  // reasoning_effort. Unknown fields are ignored. Error kInvalidArgument names the JSON path.
  static Conversation from_json(std::string_view text);
  // Appends a plain message. Error kInvalidArgument: not UTF-8.
  void add(Role role, std::string_view text);
  void add_tool_result(std::string_view call_id, std::string_view text);
  // Appends a message or a list of messages. On an error nothing is added.
  void append_json(std::string_view text);

  // What from_json reads back: an object with messages and whatever else there is.
  Json to_json() const;

  // The reasoning mode that thinking and reasoning_effort ask for; none when the request has neither.
  std::optional<ReasoningMode> requested_mode(Profile profile) const;
};

}  // namespace dsv4
