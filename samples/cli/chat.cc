// See chat.h.
#include "chat.h"

#include <algorithm>
#include <utility>

#include "answer.h"

namespace cli {
namespace {

std::string role_of(const Json& message) { return message.value("role", ""); }

// The calls of the last assistant message that no tool message after it answers. A user message ends the waiting.
std::vector<OpenCall> open_calls_of(const Json& messages) {
  std::vector<std::string> answered;
  for (auto message = messages.rbegin(); message != messages.rend(); ++message) {
    if (role_of(*message) == "tool") {
      answered.push_back(message->value("tool_call_id", ""));
      continue;
    }
    if (role_of(*message) != "assistant" || !message->contains("tool_calls")) return {};
    std::vector<OpenCall> open;
    size_t number = 0;
    for (const Json& call : (*message)["tool_calls"]) {
      ++number;
      const std::string id = call.value("id", "");
      if (std::find(answered.begin(), answered.end(), id) != answered.end()) continue;
      const Json& function = call["function"];
      open.push_back({number, id, function.value("name", ""), function.value("arguments", "")});
    }
    return open;
  }
  return {};
}

}  // namespace

Chat::Chat(dsv4_model* model, const dsv4_conversation* beginning, uint64_t context, const TurnFlags& turn)
    : model_(model), info_(model_info(model)), turn_(turn) {
  dsv4_session_options options = DSV4_SESSION_OPTIONS_INIT;
  options.context = context;
  session_ = create_session(model, options);
  set(beginning);
}

Conversation Chat::conversation() const {
  dsv4_conversation* conversation = nullptr;
  check([&](dsv4_error** error) { return dsv4_session_conversation(session_.get(), &conversation, error); });
  return Conversation(conversation);
}

void Chat::set(const dsv4_conversation* conversation) {
  check([&](dsv4_error** error) { return dsv4_session_set_conversation(session_.get(), conversation, error); });
}

template <class Append>
void Chat::append_and_answer(Append&& append) {
  const Conversation before = conversation();
  try {
    append();
    if (open_calls().empty()) last_ = answer(model_, session_.get(), turn_);
  } catch (const Failure&) {
    set(before.get());
    throw;
  }
}

void Chat::send(const std::string& text) {
  append_and_answer([&] {
    check([&](dsv4_error** error) {
      return dsv4_session_append_message(session_.get(), DSV4_ROLE_USER, text.data(), text.size(), error);
    });
  });
}

bool Chat::give_result(const std::string& call, const std::string& text) {
  const std::vector<OpenCall> open = open_calls();
  auto found = std::find_if(open.begin(), open.end(), [&](const OpenCall& c) { return c.id == call; });
  if (found == open.end())
    found = std::find_if(open.begin(), open.end(), [&](const OpenCall& c) { return std::to_string(c.number) == call; });
  if (found == open.end()) throw Failure(DSV4_E_NOT_FOUND, "no open call has the id or number '" + call + "'");
  append_and_answer([&] {
    check([&](dsv4_error** error) {
      return dsv4_session_append_tool_result(session_.get(), found->id.c_str(), text.data(), text.size(), error);
    });
  });
  return open.size() == 1;
}

std::vector<OpenCall> Chat::open_calls() const { return open_calls_of(request()["messages"]); }

void Chat::save(const std::string& path) const {
  const std::string text = dump(request(), 2) + "\n";
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

void Chat::load(const std::string& path) { set(load_conversation(path).get()); }

void Chat::set_system(const std::string& text) {
  Json changed = request();
  Json& messages = changed["messages"];
  const bool has_one = !messages.empty() && role_of(messages[0]) == "system";
  if (text.empty() && has_one)
    messages.erase(0);
  else if (has_one)
    messages[0]["content"] = text;
  else if (!text.empty())
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", text}});
  set(changed);
}

void Chat::set_tools(const std::string& path) {
  Json changed = request();
  changed["tools"] = load_tools(path);
  set(changed);
}

std::vector<std::string> Chat::tool_names() const {
  std::vector<std::string> names;
  for (const Json& tool : request().value("tools", Json::array())) names.push_back(tool["function"].value("name", ""));
  return names;
}

bool Chat::undo() {
  Json changed = request();
  Json& messages = changed["messages"];
  for (size_t i = messages.size(); i-- > 0;) {
    if (role_of(messages[i]) != "user" && role_of(messages[i]) != "developer") continue;
    messages.erase(messages.begin() + static_cast<std::ptrdiff_t>(i), messages.end());
    set(changed);
    return true;
  }
  return false;
}

void Chat::clear() {
  Json changed = request();
  Json kept = Json::array();
  for (const Json& message : changed["messages"])
    if (role_of(message) == "system") kept.push_back(message);
  changed["messages"] = std::move(kept);
  set(changed);
  last_.reset();
}

size_t Chat::message_count() const {
  const Conversation all = conversation();
  size_t count = 0;
  check([&](dsv4_error** error) { return dsv4_conversation_count(all.get(), &count, error); });
  return count;
}

std::string Chat::prompt() const {
  Conversation shown = conversation();
  Json request = to_json(shown.get());
  const Json& messages = request["messages"];
  const bool awaits_answer = !messages.empty() && role_of(messages.back()) != "assistant";
  const bool calls = turn_.tool_choice != "auto" && turn_.tool_choice != "none";
  if (!turn_.tool_choice.empty() && (awaits_answer || !calls)) {  // a call can be required where an answer can be
    request["tool_choice"] = tool_choice_json(turn_.tool_choice);
    shown = from_json(request);
  }
  dsv4_render_options options = DSV4_RENDER_OPTIONS_INIT;
  options.reasoning = turn_.reasoning;
  return fetch<std::string>([&](char* text, size_t capacity, size_t* length, dsv4_error** error) {
    return dsv4_render(model_, shown.get(), &options, text, capacity, length, error);
  });
}

dsv4_session_info Chat::session_info() const {
  dsv4_session_info info{};
  info.struct_size = sizeof info;
  check([&](dsv4_error** error) { return dsv4_session_info_get(session_.get(), &info, error); });
  return info;
}

}  // namespace cli
