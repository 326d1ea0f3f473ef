// Conversations and messages as OpenAI-shaped JSON: what Conversation::from_json reads, and says the same.
#include <utility>

#include "lib/text/conversation.h"

namespace dsv4 {
namespace {

Json function_entry(Json function) {
  Json entry = Json::object();
  entry.append("type", Json::string("function"));
  entry.append("function", std::move(function));
  return entry;
}

Json list_tools(const std::vector<Json>& tools) {
  Json list = Json::array();
  for (const Json& tool : tools) list.append(function_entry(tool));
  return list;
}

Json list_calls(const std::vector<ToolCall>& calls) {
  Json list = Json::array();
  for (const ToolCall& call : calls) {
    Json function = Json::object();
    function.append("name", Json::string(call.name));
    function.append("arguments", Json::string(call.arguments));
    Json entry = Json::object();
    if (!call.id.empty()) entry.append("id", Json::string(call.id));
    entry.append("type", Json::string("function"));
    entry.append("function", std::move(function));
    list.append(std::move(entry));
  }
  return list;
}

Json tool_choice_json(const ToolChoice& choice) {
  switch (choice.kind) {
    case ToolChoice::Kind::kNone: return Json::string("none");
    case ToolChoice::Kind::kRequired: return Json::string("required");
    case ToolChoice::Kind::kNamed: {
      Json function = Json::object();
      function.append("name", Json::string(choice.name));
      return function_entry(std::move(function));
    }
    case ToolChoice::Kind::kAuto: break;
  }
  return Json::string("auto");
}

}  // namespace

Json to_json(const Message& m) {
  Json out = Json::object();
  out.append("role", Json::string(std::string(role_name(m.role))));
  if (!m.reasoning.empty()) out.append("reasoning_content", Json::string(m.reasoning));
  // As OpenAI has it: null where a message consists of calls.
  out.append("content", m.content.empty() && !m.calls.empty() ? Json() : Json::string(m.content));
  if (!m.calls.empty()) out.append("tool_calls", list_calls(m.calls));
  if (!m.malformed.empty()) out.append("malformed", Json::string(m.malformed));
  if (!m.tool_call_id.empty()) out.append("tool_call_id", Json::string(m.tool_call_id));
  if (!m.tools.empty()) out.append("tools", list_tools(m.tools));
  if (m.response_format.has_value()) out.append("response_format", *m.response_format);
  if (!m.task.empty()) out.append("task", Json::string(m.task));
  if (m.prefix) out.append("prefix", Json::boolean(true));
  return out;
}

Json Conversation::to_json() const {
  Json list = Json::array();
  for (const Message& message : messages) list.append(dsv4::to_json(message));
  Json out = Json::object();
  out.append("messages", std::move(list));
  if (!tools.empty()) out.append("tools", list_tools(tools));
  if (tool_choice.kind != ToolChoice::Kind::kAuto) out.append("tool_choice", tool_choice_json(tool_choice));
  if (response_format.has_value()) out.append("response_format", *response_format);
  if (thinking.has_value()) {
    Json type = Json::object();
    type.append("type", Json::string(*thinking ? "enabled" : "disabled"));
    out.append("thinking", std::move(type));
  }
  if (reasoning_effort.has_value()) {
    out.append("reasoning_effort", Json::string(std::string(mode_name(*reasoning_effort))));
  }
  return out;
}

}  // namespace dsv4
