// What the C++ binding adds to the header: ownership, results, streams, callbacks that throw; and that every call of
// the header is reached. What the calls do is tested by the library's own tests. DSV4_TINY: the bundled model's folder.
#include <doctest/doctest.h>

#include <dsv4.hpp>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L
#include <ranges>
static_assert(std::ranges::input_range<dsv4::Stream>);
#endif

using namespace dsv4;

static_assert(std::is_copy_constructible_v<Model> && std::is_copy_constructible_v<Canceller>);
static_assert(!std::is_copy_constructible_v<Session> && std::is_nothrow_move_constructible_v<Session>);
static_assert(!std::is_copy_constructible_v<Stream> && std::is_nothrow_move_assignable_v<Stream>);
static_assert(!std::is_copy_constructible_v<Conversation> && std::is_nothrow_move_constructible_v<Parser>);

namespace {

const Model& tiny() {
  static const Model model = Model::open(DSV4_TINY, ModelOptions().backend("cpu")).value();
  return model;
}

template <class T>
Status status_of(const Result<T>& result) {
  return result ? Status::ok : result.error().status();
}

GenerateOptions greedy() { return GenerateOptions().greedy().reasoning(Reasoning::none).max_tokens(100); }

std::string content(Session& session, const GenerateOptions& options = greedy()) {
  std::string text;
  Stream stream = session.generate(options);
  for (const Event& event : stream)
    if (event.is(EventType::content)) text += event.text();
  stream.finish().value();
  return text;
}

Session asked(const char* question) {
  Session session = tiny().new_session(SessionOptions().context(512)).value();
  session.append(Role::user, question).value();
  return session;
}

const char kWeather[] = R"({"messages": [], "tools": [{"type": "function", "function": {"name": "get_weather",
  "description": "Get the weather in a city", "parameters": {"type": "object",
  "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]})";

}  // namespace

// ------------------------------------------------------------------------------------------------ results, errors

TEST_CASE("an error is a status and the library's message; value() throws it") {
  const auto model = Model::open("no/such/folder");
  REQUIRE_FALSE(model);
  CHECK(model.error().status() == Status::not_found);
  CHECK(model.error().message().find("no/such/folder") != std::string::npos);
  CHECK_THROWS_WITH_AS(model.value(), doctest::Contains("DSV4_E_NOT_FOUND: "), Exception);
  try {
    Model::open("no/such/folder").value();
    FAIL("it did not throw");
  } catch (const Exception& e) {
    CHECK(e.status() == Status::not_found);
  }
}

TEST_CASE("results can be chained, and have a value for want of a better one") {
  const auto both =
      Model::open(DSV4_TINY).and_then([](Model&& m) { return m.new_session(); }).and_then([](Session&& s) {
        return s.append(Role::user, "Hello!").and_then([&] { return s.info(); });
      });
  REQUIRE(both);
  CHECK(both->driven == DSV4_DRIVEN_BY_MESSAGES);
  int called = 0;
  const auto none = Model::open("nowhere").and_then([&](Model&& m) { return ++called, m.new_session(); });
  CHECK_FALSE(none);
  CHECK(called == 0);
  CHECK(Result<int>(Error(Status::io, "x")).value_or(7) == 7);
  CHECK(Result<int>(3).value_or(7) == 3);
}

TEST_CASE("version and build") {
  CHECK(version() == DSV4_VERSION_MAJOR * 1000000 + DSV4_VERSION_MINOR * 1000 + DSV4_VERSION_PATCH);
  CHECK(std::string(build_info().value().backends).find("cpu") != std::string::npos);
  CHECK(std::string(status_name(Status::context_full)) == "DSV4_E_CONTEXT_FULL");
  CHECK(std::string(done_name(Done::tool_calls)) == "tool_calls");
}

// ---------------------------------------------------------------------------------------------------------- model

TEST_CASE("a model tells what it is, logs, reports progress and stops when told to") {
  int logged = 0;
  uint64_t looked_at = 0;
  const auto options =
      ModelOptions()
          .backend("cpu")
          .threads(1)
          .profile(Profile::preview)
          .verify()
          .time_verbs()
          .max_step_rows(64)
          .log([&](LogLevel level, std::string_view text) { logged += level >= LogLevel::info && !text.empty(); })
          .progress([&](uint64_t done, uint64_t total) { return looked_at = done, done <= total; });
  const Model model = Model::open(DSV4_TINY, options).value();
  CHECK(logged > 0);
  CHECK(looked_at > 0);
  const ModelInfo info = model.info().value();
  CHECK(info.layers == 4);
  CHECK(info.has_tokenizer == 1);
  CHECK(has_reasoning(info, Reasoning::high));
  CHECK_FALSE(has_reasoning(info, Reasoning::low));
  CHECK(model.layer_info(1, 256).value().ratio == 4);
  CHECK(status_of(model.layer_info(99)) == Status::invalid_argument);

  Session session = model.new_session().value();
  session.append(Role::user, "Hello!").value();
  CHECK(content(session).substr(0, 5) == "Hello");
  CHECK(model.verb_times().value().size() > 3);
  model.clear_verb_times().value();
  CHECK(model.verb_times().value().empty());
  CHECK(status_of(tiny().verb_times()) == Status::invalid_argument);
  const auto peak = model.matrix_peak();
  CHECK((peak ? *peak > 0 : peak.error().status() == Status::unsupported));
  CHECK(status_of(tiny().copy_peak()) == Status::unsupported);

  const auto given_up = Model::open(DSV4_TINY, ModelOptions().progress([](uint64_t, uint64_t) { return false; }));
  CHECK(status_of(given_up) == Status::cancelled);
}

TEST_CASE("an estimate, and a synthetic model that is refused") {
  const Estimate estimate = Model::estimate(DSV4_TINY, 1024, ModelOptions().backend("cpu")).value();
  CHECK(estimate.state_bytes > 0);
  CHECK(estimate.fits == 1);
  CHECK(status_of(Model::open_synthetic("medium", 1, 1)) != Status::ok);
  CHECK(status_of(asked("Hello!").pretend(10)) == Status::unsupported);
}

TEST_CASE("models are shared by copies and with C") {
  std::string text;
  {
    Session session = [] {
      const Model model = Model::open(DSV4_TINY).value();
      const Model other = Model::share(model.handle());
      return other.new_session().value();
    }();  // the session keeps it
    session.append(Role::user, "Hello!").value();
    text = content(session);
  }
  CHECK(text.substr(0, 5) == "Hello");
}

TEST_CASE("text becomes tokens and back, control tokens on request only") {
  const Tokens ids = tiny().tokenize("Hello, w\xc3\xb6rld!").value();
  CHECK(tiny().detokenize(ids).value() == "Hello, w\xc3\xb6rld!");
  CHECK(tiny().tokenize("").value().empty());
  const Tokens control = tiny().tokenize_special("<\xef\xbd\x9cUser\xef\xbd\x9c>").value();
  CHECK(control.size() == 1);
  CHECK(tiny().tokenize("<\xef\xbd\x9cUser\xef\xbd\x9c>").value().size() > 1);
  CHECK(tiny().detokenize(control).value().empty());
  CHECK(tiny().detokenize_special(control).value() == "<\xef\xbd\x9cUser\xef\xbd\x9c>");
  CHECK(status_of(tiny().tokenize("\xff")) == Status::invalid_argument);
}

TEST_CASE("conversations are built, read as JSON and rendered") {
  Conversation conversation = Conversation::create().value();
  conversation.add(Role::system, "Answer briefly.").value();
  conversation.append_json(R"({"role": "user", "content": "Hello!"})").value();
  CHECK(conversation.count().value() == 2);
  CHECK(conversation.message_json(1).value().find("Hello!") != std::string::npos);
  CHECK(status_of(conversation.message_json(2)) == Status::invalid_argument);
  const Conversation again = Conversation::from_json(conversation.json().value()).value();
  const std::string prompt = tiny().render(again, RenderOptions().reasoning(Reasoning::none)).value();
  CHECK(prompt.find("Answer briefly.") != std::string::npos);
  CHECK(tiny().render_tokens(again).value() == tiny().tokenize_special(prompt).value());
  CHECK(status_of(Conversation::from_json("[{]")) == Status::invalid_argument);
  CHECK(status_of(tiny().render(again, RenderOptions().profile(Profile::preview).reasoning(Reasoning::low))) ==
        Status::unsupported);
  conversation
      .append_json(R"({"role": "assistant", "tool_calls": [{"id": "c1", "type": "function",
    "function": {"name": "get_weather", "arguments": "{}"}}]})")
      .value();
  conversation.add_tool_result("c1", "{}").value();
  CHECK(conversation.message_json(3).value().find("c1") != std::string::npos);
}

// -------------------------------------------------------------------------------------------------------- session

TEST_CASE("by messages: tools, their results, the conversation as it has become") {
  Session session = tiny().new_session().value();
  session.set_conversation(Conversation::from_json(kWeather).value()).value();
  session.append_json(R"({"role": "user", "content": "What is the weather in Paris?"})").value();
  ToolCall call;
  std::string pieces;
  const auto stats = session.generate(greedy(), [&](const Event& event) {
    if (event.is(EventType::tool_arguments)) pieces += event.text();
    if (event.is(EventType::tool_call)) call = event.call();
  });
  REQUIRE(stats);
  CHECK(stats->is(Done::tool_calls));
  CHECK(stats->tool_calls == 1);
  CHECK(call.name == "get_weather");
  CHECK(pieces == call.arguments);
  session.append_tool_result(call.id, R"({"temperature": 21, "condition": "sunny"})").value();
  CHECK(content(session).find("21 degrees") != std::string::npos);
  CHECK(session.conversation().value().count().value() == 4);
}

TEST_CASE("by tokens: sync, eval, logits, draft, rewind") {
  Session session = tiny().new_session(SessionOptions().draft().prefill_chunk(8).checkpoints(2)).value();
  const Tokens ids = tiny().tokenize("Hello there").value();
  REQUIRE(ids.size() >= 2);
  const auto vocab = static_cast<size_t>(tiny().info().value().vocab);
  std::vector<float> rows, draft;
  uint64_t seen = 0;
  session
      .eval(ids, EvalOptions().logits(rows).draft_logits(draft).progress(
                     [&](uint64_t done, uint64_t) { return seen = done, true; }))
      .value();
  CHECK(rows.size() == ids.size() * vocab);
  CHECK(draft.size() == rows.size());
  CHECK(seen == ids.size());
  const std::vector<float> last = session.logits().value();
  CHECK(std::equal(last.begin(), last.end(), rows.end() - static_cast<std::ptrdiff_t>(vocab)));
  session.rewind(1).value();
  CHECK(session.tokens().value() == Tokens{ids[0]});
  session.append_tokens({ids.data() + 1, 1}).value();
  CHECK(session.info().value().tokens == 2);
  CHECK(session.info().value().evaluated < 2);
  session.sync_tokens(ids).value();
  session.eval().value();
  CHECK(session.info().value().evaluated == ids.size());
  session.clear().value();
  CHECK(session.tokens().value().empty());
  CHECK(status_of(session.append_tokens(Tokens{-1})) == Status::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(session.eval(
                      ids, EvalOptions().progress([](uint64_t, uint64_t) -> bool { throw std::runtime_error("no"); }))),
                  std::runtime_error);
}

TEST_CASE("every option reaches the library") {
  Session session = asked("Hello!");
  const auto wrong = [&](const GenerateOptions& options) {
    return status_of(session.generate(options, [](const Event&) {})) == Status::invalid_argument;
  };
  CHECK(wrong(greedy().top_p(-1)));
  CHECK(wrong(greedy().min_p(2)));
  CHECK(wrong(greedy().top_k(-1)));
  CHECK(wrong(greedy().temperature(-1)));
  CHECK(wrong(greedy().repetition_penalty(-1)));
  CHECK(wrong(greedy().presence_penalty(3)));
  CHECK(wrong(greedy().frequency_penalty(3)));
  CHECK(wrong(greedy().logit_bias(-1, 0)));
  CHECK(wrong(greedy().top_logprobs(21)));
  CHECK(wrong(greedy().stop({""})));
  CHECK(wrong(greedy().ebnf("root ::= (")));
  CHECK(wrong(greedy().resume()));
  CHECK(wrong(greedy().call_tool("no_such_tool")));
  CHECK_FALSE(wrong(greedy().call_tool("x").tool_choice(ToolChoice::automatic).regex("(").unconstrained()));

  Session other = asked("Hello!");
  CHECK(content(other, greedy().stop({"can I"})) == "Hello! How ");
  other = asked("Hello!");
  CHECK(content(other, greedy().regex("[0-9]{3}")).size() == 3);
  other = asked("Hello!");
  const int32_t hello = tiny().tokenize("Hello").value().at(0);
  CHECK(content(other, greedy().logit_bias(hello, -std::numeric_limits<float>::infinity())).substr(0, 5) != "Hello");
}

TEST_CASE("tokens come with their probabilities, statistics with the last event") {
  Session session = asked("Hello!");
  uint64_t tokens = 0, prefilled = 0;
  GenerateStats last;
  const auto stats = session.generate(greedy().top_logprobs(3).penalty_window(4), [&](const Event& event) {
    if (event.is(EventType::prefill)) prefilled = event.total();
    if (event.is(EventType::done)) last = event.stats();
    if (!event.is(EventType::token)) return;
    const TokenInfo token = event.token();
    tokens += token.token == event.token_id() && token.top.size() == 3 && token.top[0].token == token.token;
    CHECK(std::exp(token.logprob) > 0.1);
  });
  REQUIRE(stats);
  CHECK(tokens == stats->generated_tokens);
  CHECK(prefilled == stats->prompt_tokens);
  CHECK(last.generated_tokens == stats->generated_tokens);
  CHECK(last.is(Done::stop));
}

TEST_CASE("reasoning has events and a budget of its own") {
  Session session = asked("What is 12 plus 34?");
  std::string reasoning, answer;
  for (const Event& event : session.generate(greedy().reasoning(Reasoning::high).reasoning_budget(60))) {
    if (event.is(EventType::reasoning)) reasoning += event.text();
    if (event.is(EventType::content)) answer += event.text();
  }
  CHECK(reasoning.find("Result 46") != std::string::npos);
  CHECK(answer == "12+34=46.");
}

// --------------------------------------------------------------------------------------------------------- streams

TEST_CASE("a stream that is left early gives its session back, with what was generated") {
  Session session = asked("What can you do?");
  for (const Event& event : session.generate(greedy()))
    if (event.is(EventType::content)) break;
  session.append(Role::user, "Hello!").value();  // BUSY, were the turn still there
  CHECK(content(session).size() > 4);
}

TEST_CASE("a stream is moved, stopped, cancelled, finished") {
  Session session = asked("What can you do?");
  Stream first = session.generate(greedy());
  Stream stream = std::move(first);
  CHECK(status_of(session.clear()) == Status::busy);
  const auto second = session.generate(greedy()).finish();
  CHECK(status_of(second) == Status::busy);
  int events = 0;
  for (auto it = stream.begin(); it != stream.end() && events < 3; ++it) ++events;
  stream.stop();
  const GenerateStats stats = stream.finish().value();
  CHECK((stats.is(Done::host) || stats.is(Done::stop)));  // it may have come to its end by then
  CHECK(stream.begin() == stream.end());

  session = asked("What can you do?");
  stream = session.generate(greedy());
  stream = session.generate(greedy());  // the first is cancelled for it, but it was busy when it was asked
  CHECK(status_of(stream.finish()) == Status::busy);
  session.clear().value();  // on a slow machine the first may have come to its end before it was cancelled
  session.append(Role::user, "What can you do?").value();
  stream = session.generate(greedy());
  stream.cancel();
  const GenerateStats cancelled = stream.finish().value();
  CHECK((cancelled.is(Done::cancelled) || cancelled.is(Done::stop)));
}

TEST_CASE("what stops a stream from beginning, or ends it, is an error of finish") {
  Session session = tiny().new_session(SessionOptions().context(16)).value();
  CHECK(status_of(session.generate().finish()) == Status::invalid_argument);  // nothing to answer
  session.append(Role::user, "one two three four five six seven eight nine ten eleven twelve thirteen").value();
  Stream stream = session.generate();
  CHECK(stream.begin() == stream.end());
  CHECK(status_of(stream.finish()) == Status::context_full);
  Stream edited = session.generate(greedy().logits([](float*, size_t) { return true; }));
  CHECK(status_of(edited.finish()) == Status::unsupported);
}

TEST_CASE("a stream and a canceller outlive their session") {
  Canceller canceller;
  canceller.cancel();
  Stream stream = [&] {
    Session session = asked("What can you do?");
    canceller = session.canceller();
    return session.generate(greedy());
  }();
  size_t length = 0;
  for (const Event& event : stream) length += event.text().size();
  CHECK(length > 10);
  stream = asked("Hello!").generate();
  canceller.cancel();  // of a session that is gone
}

// ------------------------------------------------------------------------------------------- callbacks, main loops

TEST_CASE("what a callback throws takes the turn back and comes out of generate") {
  Session session = asked("What can you do?");
  int calls = 0;
  const auto bad = [&](const Event& event) {
    ++calls;
    if (event.is(EventType::content)) throw std::runtime_error("mine");
  };
  CHECK_THROWS_WITH_AS(static_cast<void>(session.generate(greedy(), bad)), "mine", std::runtime_error);
  const int seen = calls;
  CHECK(session.conversation().value().count().value() == 1);
  CHECK(content(session).substr(0, 5) == "I can");
  CHECK(calls == seen);
  session.append(Role::user, "Hello!").value();
  CHECK_THROWS_AS(
      static_cast<void>(session.generate(greedy().logits([](float*, size_t) -> bool { throw std::logic_error("no"); }),
                                         [](const Event&) {})),
      std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(session.save([](const void*, size_t) -> bool { throw 5; })), int);
  CHECK_THROWS_AS(static_cast<void>(session.restore([](void*, size_t) -> int64_t { throw 5; })), int);
  CHECK_THROWS_AS(
      static_cast<void>(Model::open(DSV4_TINY, ModelOptions().log([](LogLevel, std::string_view) { throw 5; }))), int);
}

TEST_CASE("start and poll") {
  Session session = asked("Hello!");
  CHECK(status_of(session.poll([](const Event&) {})) == Status::invalid_argument);
  session.start(greedy()).value();
  std::string text;
  bool done = false;
  size_t events = 0, delivered = 0;
  while (!done) {
    delivered += session
                     .poll(
                         [&](const Event& event) {
                           ++events;
                           text += event.text();
                           done = event.is(EventType::done);
                         },
                         2, std::chrono::milliseconds(100))
                     .value();
  }
  CHECK(events == delivered);
  CHECK(text.substr(0, 5) == "Hello");
}

TEST_CASE("cancel from another thread") {
  Session session = asked("What can you do?");
  std::atomic<bool> begun{false}, over{false};
  std::thread other([&, canceller = session.canceller()] {
    while (!begun && !over) std::this_thread::yield();
    canceller.cancel();
    over = true;
  });
  const auto stats = session.generate(greedy(), [&](const Event& event) {
    if (!event.is(EventType::content)) return;
    begun = true;
    while (!over) std::this_thread::yield();
  });
  over = true;
  other.join();
  REQUIRE_FALSE(stats);
  CHECK(status_of(stats) == Status::cancelled);
  session.cancel();  // no call is running: nothing happens
  session.append(Role::user, "Hello!").value();
  CHECK_FALSE(content(session).empty());
}

// ------------------------------------------------------------------------------------------------------- snapshots

TEST_CASE("snapshots through streams and files") {
  Session session = asked("My name is Emma.");
  content(session);
  std::stringstream bytes(std::ios::in | std::ios::out | std::ios::binary);
  session.save(to_stream(bytes), SnapshotOptions().level(3)).value();
  std::stringstream copy(bytes.str());
  CHECK(peek(from_stream(copy)).value().tokens == session.tokens().value().size());
  Session restored = tiny().new_session().value();
  restored.restore(from_stream(bytes)).value();
  CHECK(restored.tokens().value() == session.tokens().value());

  const std::string path = std::string(DSV4_SCRATCH) + "/cpp_binding_test.dsv4";
  session.save_path(path, SnapshotOptions().uncompressed()).value();
  CHECK(peek_path(path).value().driven == DSV4_DRIVEN_BY_MESSAGES);
  Session third = tiny().new_session().value();
  third.restore_path(path).value();
  CHECK(third.tokens().value() == session.tokens().value());
  std::remove(path.c_str());
  CHECK(status_of(third.restore_path(path)) == Status::not_found);
  std::stringstream broken("not a snapshot");
  CHECK(status_of(third.restore(from_stream(broken))) == Status::corrupt);
  CHECK(status_of(session.save([](const void*, size_t) { return false; })) == Status::io);
}

TEST_CASE("a fork goes its own way") {
  Session trunk = asked("My name is Emma.");
  content(trunk);
  Session branch = trunk.fork().value();
  branch.append(Role::user, "What is my name?").value();
  CHECK(content(branch) == "Your name is Emma.");
  CHECK(trunk.tokens().value().size() < branch.tokens().value().size());
}

// ---------------------------------------------------------------------------------------------------------- parser

TEST_CASE("a parser reads text and tokens") {
  std::string reasoning, answer;
  Done reason = Done::none;
  const auto keep = [&](const Event& event) {
    if (event.is(EventType::reasoning)) reasoning += event.text();
    if (event.is(EventType::content)) answer += event.text();
    if (event.is(EventType::done)) reason = event.reason();
  };
  Parser parser = Parser::create(keep, ParserOptions().start(Start::reasoning).stop({"END"})).value();
  parser.push_text("I think.</th").value();
  parser.push_text("ink>Answer. END more").value();
  CHECK(status_of(parser.push_tokens(Tokens{1})) == Status::invalid_argument);
  parser.finish().value();
  CHECK(reasoning == "I think.");
  CHECK(answer == "Answer. ");
  CHECK(reason == Done::stop_string);
  CHECK(parser.message_json().value().find("\"Answer. \"") != std::string::npos);

  answer.clear();
  Parser of_tokens = Parser::create(tiny(), keep).value();
  Parser moved = std::move(of_tokens);
  moved.push_tokens(tiny().tokenize("Hello").value()).value();
  moved.finish(Done::length).value();
  CHECK(answer == "Hello");
  CHECK(reason == Done::length);

  Parser bad = Parser::create([](const Event&) { throw std::runtime_error("mine"); }).value();
  CHECK_THROWS_AS(static_cast<void>(bad.push_text("some text")), std::runtime_error);
}
