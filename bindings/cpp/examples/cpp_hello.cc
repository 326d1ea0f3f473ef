// One question, streamed; then the same session calls a function of this program.
//   cpp_hello samples/models/tiny
#include <dsv4.hpp>
#include <iostream>
#include <string>
#include <vector>

static const char kTools[] = R"({"messages": [], "tools": [{"type": "function", "function": {
  "name": "get_weather", "description": "Get the weather in a city",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]})";

int main(int argc, char** argv) try {
  const dsv4::Model model = dsv4::Model::open(argc > 1 ? argv[1] : "samples/models/tiny").value();
  dsv4::Session session = model.new_session().value();
  const auto options = dsv4::GenerateOptions().temperature(0).reasoning(dsv4::Reasoning::none);

  session.append(dsv4::Role::user, "Hello!").value();
  for (const dsv4::Event& event : session.generate(options)) std::cout << event.text() << std::flush;
  std::cout << '\n';

  session.set_conversation(dsv4::Conversation::from_json(kTools).value()).value();
  session.append(dsv4::Role::user, "What is the weather in Paris?").value();
  for (bool again = true; again;) {
    std::vector<dsv4::ToolCall> calls;
    dsv4::Stream stream = session.generate(options);
    for (const dsv4::Event& event : stream) {
      if (event.is(dsv4::EventType::content)) std::cout << event.text() << std::flush;
      if (event.is(dsv4::EventType::tool_call)) calls.push_back(event.call());
    }
    again = stream.finish().value().is(dsv4::Done::tool_calls);
    for (const dsv4::ToolCall& call : calls) {
      std::cout << call.name << ' ' << call.arguments << '\n';
      session.append_tool_result(call.id, R"({"temperature": 21, "condition": "sunny"})").value();
    }
  }
  std::cout << '\n';
  return 0;
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
