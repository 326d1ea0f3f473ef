// See request.h.
#include "request.h"

namespace cli {
namespace {

// Runs `read`; what fails there is said to be of this file.
template <class Read>
auto of_file(const std::string& path, Read&& read) {
  try {
    return read();
  } catch (const Failure& failure) {
    throw Failure(failure.status(), path + ": " + failure.what());
  }
}

}  // namespace

Conversation parse_conversation(const std::string& json) {
  dsv4_conversation* conversation = nullptr;
  check(
      [&](dsv4_error** error) { return dsv4_conversation_from_json(json.data(), json.size(), &conversation, error); });
  return Conversation(conversation);
}

Conversation load_conversation(const std::string& path) {
  const std::string json = read_file(path);
  return of_file(path, [&] { return parse_conversation(json); });
}

Json load_tools(const std::string& path) {
  const std::string tools = read_file(path);
  return of_file(path, [&] {
    const Json request = to_json(parse_conversation("{\"messages\": [], \"tools\": " + tools + "}").get());
    return request.value("tools", Json::array());
  });
}

Json to_json(const dsv4_conversation* conversation) {
  return Json::parse(fetch<std::string>([&](char* text, size_t capacity, size_t* length, dsv4_error** error) {
    return dsv4_conversation_json(conversation, text, capacity, length, error);
  }));
}

Conversation from_json(const Json& request) { return parse_conversation(dump(request)); }

std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

Json tool_choice_json(const std::string& choice) {
  if (choice == "auto" || choice == "none" || choice == "required") return choice;
  return {{"type", "function"}, {"function", {{"name", choice}}}};
}

}  // namespace cli
