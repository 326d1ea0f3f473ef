// The conversation script (tests/bindings/CONVERSATION.md) in C++. Its lines have to be those of conversation.expected.
//   cpp_conversation samples/models/tiny
#include <dsv4.hpp>
#include <exception>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace {

using namespace dsv4;

const char kTools[] =
    R"({"messages": [{"role": "system", "content": "You are a helpful assistant."}], "tools": [)"
    R"({"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city",)"
    R"( "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},)"
    R"({"type": "function", "function": {"name": "get_time", "description": "Get the time in a city",)"
    R"( "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]})";

void must_be(const char* what, bool true_or_not) {
  if (!true_or_not) throw std::runtime_error(std::string("expected ") + what);
}

void print(const char* name, const Tokens& ids) {
  std::cout << name << ':';
  for (const int32_t id : ids) std::cout << ' ' << id;
  std::cout << '\n';
}

Session new_session(const Model& model) { return model.new_session(SessionOptions().context(1024)).value(); }

GenerateOptions greedy() {
  return GenerateOptions().temperature(0).reasoning(Reasoning::none).max_tokens(100).token_events();
}

// What is kept of a turn that ran to its end.
struct Turn {
  Tokens ids;
  ToolCall call;
  Done reason = Done::none;

  void keep(const Event& event) {
    if (event.is(EventType::token)) ids.push_back(event.token_id());
    if (event.is(EventType::tool_call)) call = event.call();
    if (event.is(EventType::done)) reason = event.reason();
  }
};

Turn generate(Session& session, const GenerateOptions& options) {
  Turn turn;
  Stream stream = session.generate(options);
  for (const Event& event : stream) turn.keep(event);
  stream.finish().value();
  return turn;
}

void ask(const char* name, Session& session, const char* text) {
  session.append(Role::user, text).value();
  must_be("a turn that the model ends", generate(session, greedy()).reason == Done::stop);
  print(name, session.tokens().value());
}

void step_text(const Model& model) {
  print("tokenize", model.tokenize("Hello, w\xc3\xb6rld!").value());
  Conversation conversation = Conversation::create().value();
  conversation.add(Role::system, "Answer briefly.").value();
  conversation.add(Role::user, "Hello!").value();
  print("render", model.render_tokens(conversation, RenderOptions().reasoning(Reasoning::high)).value());
}

void step_chat(const Model& model) {
  Session session = new_session(model);
  ask("chat-1", session, "My name is Emma.");
  ask("chat-2", session, "What is my name?");
}

void step_think(const Model& model) {
  Session session = new_session(model);
  session.append(Role::user, "What is 12 plus 34?").value();
  print("think", generate(session, greedy().reasoning(Reasoning::high)).ids);
}

void step_tools(const Model& model) {
  Session session = new_session(model);
  session.set_conversation(Conversation::from_json(kTools).value()).value();
  session.append(Role::user, "What is the weather in Paris?").value();
  const Turn turn = generate(session, greedy());
  must_be("a turn that ends with calls", turn.reason == Done::tool_calls);
  must_be("a call of get_weather", turn.call.name == "get_weather");
  must_be("an argument Paris", turn.call.arguments.find("\"Paris\"") != std::string::npos);
  print("tool-call", turn.ids);
  session.append_tool_result(turn.call.id, R"({"temperature": 21, "condition": "sunny"})").value();
  print("tool-answer", generate(session, greedy()).ids);
  print("tool-timeline", session.tokens().value());
}

void step_snapshot(const Model& model) {
  Session saved = new_session(model);
  Session restored = new_session(model);
  std::stringstream bytes(std::ios::in | std::ios::out | std::ios::binary);
  ask("saved", saved, "I live in Oslo.");
  saved.save(to_stream(bytes)).value();
  restored.restore(from_stream(bytes)).value();
  print("restored", restored.tokens().value());
  ask("saved-next", saved, "Where do I live?");
  ask("restored-next", restored, "Where do I live?");
}

Session forked(const Model& model) {
  Session trunk = new_session(model);
  ask("trunk", trunk, "I have a cat called Luna.");
  Session branch = trunk.fork().value();
  ask("fork-a", trunk, "What is my cat called?");
  return branch;  // it stands by itself
}

void step_fork(const Model& model) {
  Session branch = forked(model);
  ask("fork-b", branch, "Repeat: river moon table");
}

// Generates until the third token, to which `third()` is the answer. The reason, and the status in `status`.
template <class F>
Done until_third(Session& session, F&& third, Status& status) {
  int count = 0;
  Done reason = Done::none;
  const auto result = session.generate(greedy(), [&](const Event& event) {
    if (event.is(EventType::done)) reason = event.reason();
    return event.is(EventType::token) && ++count == 3 ? third() : Answer::go_on;
  });
  status = result ? Status::ok : result.error().status();
  return reason;
}

void step_cancel(const Model& model) {
  Session session = new_session(model);
  Status status{};
  const GenerateOptions resume = greedy().resume();

  session.append(Role::user, "What can you do?").value();
  must_be("the reason host", until_third(
                                 session, [] { return Answer::stop; }, status) == Done::host);
  print("stop", session.tokens().value());
  generate(session, resume);
  print("stop-resumed", session.tokens().value());

  session.append(Role::user, "Who are you?").value();
  must_be("the reason paused", until_third(
                                   session, [] { return Answer::pause; }, status) == Done::paused);
  print("pause", session.tokens().value());
  generate(session, resume);
  print("pause-resumed", session.tokens().value());

  session.append(Role::user, "What is 20 plus 31?").value();
  must_be("the reason cancelled", until_third(
                                      session, [] { return Answer::take_back; }, status) == Done::cancelled);
  must_be("the status cancelled", status == Status::cancelled);
  print("taken-back", session.tokens().value());

  const Canceller canceller = session.canceller();
  const auto cancel = [&] { return canceller.cancel(), Answer::go_on; };
  must_be("the reason cancelled", until_third(session, cancel, status) == Done::cancelled);
  must_be("the status cancelled", status == Status::cancelled);
  print("cancelled", session.tokens().value());
  ask("cancelled-next", session, "Thank you.");
}

void step_poll(const Model& model) {
  Session session = new_session(model);
  Turn turn;
  session.append(Role::user, "Hello!").value();
  session.start(greedy()).value();
  const auto cleared = session.clear();
  must_be("a busy session", !cleared && cleared.error().status() == Status::busy);
  while (turn.reason == Done::none)
    session.poll([&](const Event& event) { turn.keep(event); }, 4, std::chrono::milliseconds(1000)).value();
  must_be("a turn that the model ends", turn.reason == Done::stop);
  print("poll", session.tokens().value());
}

bool flat_logits(float* logits, size_t vocab) {
  for (size_t i = 0; i < vocab; ++i) logits[i] = i >= 300 && i < 364 ? 1.0F : -100.0F;
  return true;
}

// A logits callback belongs to this thread, so these turns block.
Tokens drawn(Session& session, uint64_t seed) {
  Turn turn;
  const auto options =
      GenerateOptions().temperature(0.7).top_p(0.95).seed(seed).max_tokens(12).token_events().logits(flat_logits);
  session.generate(options, [&](const Event& event) { turn.keep(event); }).value();
  must_be("the reason length", turn.reason == Done::length);
  return turn.ids;
}

void step_sample(const Model& model) {
  Session session = new_session(model);
  const Tokens prompt = model.tokenize("Hello").value();
  session.append_tokens(prompt).value();
  print("seed-42", drawn(session, 42));
  session.rewind(prompt.size()).value();
  print("seed-42-again", drawn(session, 42));
  session.rewind(prompt.size()).value();
  print("seed-43", drawn(session, 43));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " CHECKPOINT_FOLDER\n";
    return 2;
  }
  const Model model = Model::open(argv[1], ModelOptions().backend("cpu")).value();
  step_text(model);
  step_chat(model);
  step_think(model);
  step_tools(model);
  step_snapshot(model);
  step_fork(model);
  step_cancel(model);
  step_poll(model);
  step_sample(model);
  return 0;
} catch (const std::exception& e) {
  std::cerr << "cpp_conversation: " << e.what() << '\n';
  return 1;
}
