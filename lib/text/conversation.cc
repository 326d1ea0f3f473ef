#include "lib/text/conversation.h"

#include <iterator>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/protocol_text.h"

namespace dsv4 {
namespace {

constexpr Role kRoles[] = {Role::kSystem, Role::kUser,      Role::kAssistant,
                           Role::kTool,   Role::kDeveloper, Role::kLatestReminder};

// A caller's word in a message.
std::string quoted(std::string_view s) { return fmt::format("\"{}\"", utf8_sanitize(s.substr(0, 60))); }

Role read_role(const JsonAt& at) {
  const std::string& name = at.string();
  for (const Role role : kRoles) {
    if (name == role_name(role)) return role;
  }
  fail(Status::kInvalidArgument, "{}: expected system, user, assistant, tool, developer or latest_reminder, found {}",
       at.path(), quoted(name));
}

// A string, or a list of parts: texts are joined by blank lines, what is not text leaves a note.
std::string read_content(const JsonAt& at) {
  if (at.value().is_string()) return at.string();
  if (!at.value().is_array()) at.mismatch("a string or a list of parts");
  std::string out;
  for (size_t i = 0; i < at.size(); ++i) {
    const JsonAt part = at.at(i).object();
    const std::string& type = part.at("type").string();
    if (i != 0) out += "\n\n";
    out += type == "text" ? part.at("text").string() : fmt::format("[Unsupported {}]", type);
  }
  return out;
}

// [{type: "function", function: {name, ...}}] -> the function objects.
std::vector<Json> read_tools(const JsonAt& at) {
  std::vector<Json> out;
  at.array();
  for (size_t i = 0; i < at.size(); ++i) {
    const JsonAt tool = at.at(i).object();
    const JsonAt type = tool.at("type");
    if (type.present() && type.string() != "function") {
      fail(Status::kUnsupported, "{}: expected \"function\", found {}", type.path(), quoted(type.string()));
    }
    const JsonAt function = tool.at("function").object();
    if (function.at("name").string().empty()) fail(Status::kInvalidArgument, "{}.name: empty", function.path());
    if (function.at("description").present()) function.at("description").string();
    if (function.at("parameters").present()) function.at("parameters").object();
    out.push_back(function.value());
  }
  return out;
}

std::vector<ToolCall> read_calls(const JsonAt& at) {
  std::vector<ToolCall> out;
  at.array();
  for (size_t i = 0; i < at.size(); ++i) {
    const JsonAt call = at.at(i).object();
    const JsonAt type = call.at("type");
    if (type.present() && type.string() != "function") {
      fail(Status::kUnsupported, "{}: expected \"function\", found {}", type.path(), quoted(type.string()));
    }
    const JsonAt function = call.at("function").object();
    ToolCall c;
    if (call.at("id").present()) c.id = call.at("id").string();
    c.name = function.at("name").string();
    c.arguments = function.at("arguments").string();
    out.push_back(std::move(c));
  }
  return out;
}

std::string read_task(const JsonAt& at) {
  const std::string& name = at.string();
  for (const protocol::Task& task : protocol::kTasks) {
    if (name == task.name) return name;
  }
  fail(Status::kInvalidArgument, "{}: expected action, query, authority, domain, title or read_url, found {}",
       at.path(), quoted(name));
}

Message read_message(const JsonAt& at) {
  Message m;
  at.object();
  m.role = read_role(at.at("role"));
  const bool optional = m.role == Role::kAssistant || m.role == Role::kSystem || m.role == Role::kDeveloper;
  const JsonAt content = at.at("content");
  if (content.present()) {
    m.content = read_content(content);
  } else if (!optional) {
    content.mismatch("a string or a list of parts");
  }
  if (at.at("task").present()) m.task = read_task(at.at("task"));
  if (m.role == Role::kAssistant) {
    if (at.at("reasoning_content").present()) m.reasoning = at.at("reasoning_content").string();
    if (at.at("tool_calls").present()) m.calls = read_calls(at.at("tool_calls"));
    if (at.at("malformed").present()) m.malformed = at.at("malformed").string();
    if (at.at("prefix").present()) m.prefix = at.at("prefix").boolean();
  }
  if (m.role == Role::kTool && at.at("tool_call_id").present()) m.tool_call_id = at.at("tool_call_id").string();
  if (m.role == Role::kSystem || m.role == Role::kDeveloper) {
    if (at.at("tools").present()) m.tools = read_tools(at.at("tools"));
    if (at.at("response_format").present()) m.response_format = at.at("response_format").object().value();
  }
  return m;
}

ToolChoice read_tool_choice(const JsonAt& at) {
  if (at.value().is_object()) {
    const JsonAt type = at.at("type");
    if (type.string() != "function") {
      fail(Status::kInvalidArgument, "{}: expected \"function\", found {}", type.path(), quoted(type.string()));
    }
    return {ToolChoice::Kind::kNamed, at.at("function").object().at("name").string()};
  }
  if (!at.value().is_string()) at.mismatch("a string or an object");
  const std::string& name = at.string();
  if (name == "auto") return {ToolChoice::Kind::kAuto, ""};
  if (name == "none") return {ToolChoice::Kind::kNone, ""};
  if (name == "required") return {ToolChoice::Kind::kRequired, ""};
  fail(Status::kInvalidArgument, "{}: expected none, auto, required or a function, found {}", at.path(), quoted(name));
}

bool read_thinking(const JsonAt& at) {
  const JsonAt type = at.object().at("type");
  if (type.string() == "enabled") return true;
  if (type.string() == "disabled") return false;
  fail(Status::kInvalidArgument, "{}: expected enabled or disabled, found {}", type.path(), quoted(type.string()));
}

ReasoningMode read_effort(const JsonAt& at) {
  const std::string& name = at.string();
  for (const ReasoningMode mode :
       {ReasoningMode::kNone, ReasoningMode::kLow, ReasoningMode::kHigh, ReasoningMode::kMax}) {
    if (name == mode_name(mode)) return mode;
  }
  fail(Status::kInvalidArgument, "{}: expected none, low, high or max, found {}", at.path(), quoted(name));
}

void read_messages(const JsonAt& at, Conversation& out) {
  at.array();
  out.messages.reserve(at.size());
  for (size_t i = 0; i < at.size(); ++i) out.messages.push_back(read_message(at.at(i)));
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kSystem: return "system";
    case Role::kUser: return "user";
    case Role::kAssistant: return "assistant";
    case Role::kTool: return "tool";
    case Role::kDeveloper: return "developer";
    case Role::kLatestReminder: return "latest_reminder";
  }
  return "unknown";
}

Conversation Conversation::from_json(std::string_view text) {
  const Json root = parse_json(text, "conversation", Status::kInvalidArgument);
  Conversation out;
  if (root.is_array()) {
    read_messages(JsonAt(&root, "messages", Status::kInvalidArgument), out);
    return out;
  }
  const JsonAt request(&root, "", Status::kInvalidArgument);
  if (!root.is_object()) {
    fail(Status::kInvalidArgument, "conversation: expected a list of messages or an object, found {}",
         json_kind_name(root.kind()));
  }
  read_messages(request.at("messages"), out);
  if (request.at("tools").present()) out.tools = read_tools(request.at("tools"));
  if (request.at("tool_choice").present()) out.tool_choice = read_tool_choice(request.at("tool_choice"));
  if (request.at("response_format").present()) {
    out.response_format = request.at("response_format").object().value();
    request.at("response_format").at("type").string();
  }
  if (request.at("thinking").present()) out.thinking = read_thinking(request.at("thinking"));
  if (request.at("reasoning_effort").present()) out.reasoning_effort = read_effort(request.at("reasoning_effort"));
  if (out.thinking == true && out.reasoning_effort == ReasoningMode::kNone) {
    fail(Status::kInvalidArgument, "reasoning_effort: none, but thinking.type is enabled");
  }
  return out;
}

void Conversation::add(Role role, std::string_view text) {
  if (!utf8_valid(text)) {
    fail(Status::kInvalidArgument, "messages[{}].content: not valid UTF-8", messages.size());
  }
  Message m;
  m.role = role;
  m.content = text;
  messages.push_back(std::move(m));
}

void Conversation::add_tool_result(std::string_view call_id, std::string_view text) {
  if (!utf8_valid(call_id)) {
    fail(Status::kInvalidArgument, "messages[{}].tool_call_id: not valid UTF-8", messages.size());
  }
  add(Role::kTool, text);
  messages.back().tool_call_id = call_id;
}

void Conversation::append_json(std::string_view text) {
  const Json root = parse_json(text, "message", Status::kInvalidArgument);
  Conversation added;
  if (root.is_array()) {
    read_messages(JsonAt(&root, "messages", Status::kInvalidArgument), added);
  } else {
    added.messages.push_back(read_message(JsonAt(&root, "message", Status::kInvalidArgument)));
  }
  messages.insert(messages.end(), std::make_move_iterator(added.messages.begin()),
                  std::make_move_iterator(added.messages.end()));
}

std::optional<ReasoningMode> Conversation::requested_mode(Profile profile) const {
  if (thinking == false) return ReasoningMode::kNone;
  if (reasoning_effort.has_value()) return reasoning_effort;
  if (thinking == true) return default_thinking_mode(profile);
  return std::nullopt;
}

}  // namespace dsv4
