// Turns of a conversation through the C interface, on the bundled model: tool loops, exact tokens from turn to turn,
// histories that a host keeps itself, the reasoning budget, what a host does to the logits, the parser's handle.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/text/constraint.h"
#include "tests/support/api_session.h"

using namespace dsv4::api_test;
using nlohmann::json;

namespace {

const char* const kTools = R"([
  {"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city",
   "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
  {"type": "function", "function": {"name": "get_time", "description": "Get the time in a city",
   "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])";

struct ConversationHandle {
  dsv4_conversation* get = nullptr;
  ConversationHandle() = default;
  explicit ConversationHandle(const json& request) {
    Failure f;
    const std::string text = request.dump();
    const dsv4_status status = dsv4_conversation_from_json(text.data(), text.size(), &get, &f.error);
    INFO(f.text());
    REQUIRE(status == DSV4_OK);
  }
  explicit ConversationHandle(SessionHandle& s) { REQUIRE(dsv4_session_conversation(s.get, &get, nullptr) == DSV4_OK); }
  ConversationHandle(const ConversationHandle&) = delete;
  ConversationHandle& operator=(const ConversationHandle&) = delete;
  ~ConversationHandle() { dsv4_conversation_release(&get); }

  size_t count() const {
    size_t n = 0;
    REQUIRE(dsv4_conversation_count(get, &n, nullptr) == DSV4_OK);
    return n;
  }
  json message(size_t index) const {
    size_t n = 0;
    REQUIRE(dsv4_conversation_message_json(get, index, nullptr, 0, &n, nullptr) == DSV4_OK);
    std::string text(n, '\0');
    REQUIRE(dsv4_conversation_message_json(get, index, text.data(), n, &n, nullptr) == DSV4_OK);
    return json::parse(text);
  }
  json all() const {
    size_t n = 0;
    REQUIRE(dsv4_conversation_json(get, nullptr, 0, &n, nullptr) == DSV4_OK);
    std::string text(n, '\0');
    REQUIRE(dsv4_conversation_json(get, text.data(), n, &n, nullptr) == DSV4_OK);
    return json::parse(text);
  }
  std::vector<int32_t> render(const ModelHandle& model, int32_t reasoning) const {
    dsv4_render_options o = DSV4_RENDER_OPTIONS_INIT;
    o.reasoning = reasoning;
    size_t n = 0;
    REQUIRE(dsv4_render_tokens(model.get, get, &o, nullptr, 0, &n, nullptr) == DSV4_OK);
    std::vector<int32_t> ids(n);
    REQUIRE(dsv4_render_tokens(model.get, get, &o, ids.data(), n, &n, nullptr) == DSV4_OK);
    return ids;
  }
};

std::vector<int32_t> tokens_of(const std::string& text) {
  std::vector<int32_t> ids(text.size() + 8);
  size_t n = 0;
  REQUIRE(dsv4_tokenize(model().get, text.data(), text.size(), DSV4_TEXT_SPECIAL, ids.data(), ids.size(), &n,
                        nullptr) == DSV4_OK);
  ids.resize(n);
  return ids;
}

// A host that lets the model say exactly this.
struct Script {
  std::vector<int32_t> ids;
  size_t next = 0;
  explicit Script(const std::string& text) : ids(tokens_of(text)) {}
  static int32_t edit(void* user, float* logits, size_t count) {
    Script& s = *static_cast<Script*>(user);
    if (s.next == s.ids.size()) return 1;
    std::fill(logits, logits + count, -std::numeric_limits<float>::infinity());
    logits[s.ids[s.next++]] = 0;
    return 0;
  }
};

dsv4_status say_script(SessionHandle& s, Script& script, Answer& a, int32_t reasoning = DSV4_REASONING_NONE) {
  dsv4_generate_options o = greedy(reasoning);
  o.logits = Script::edit;
  o.logits_user = &script;
  o.max_tokens = 1000;
  return ask(s, a, o);
}

// The timeline is what the conversation renders to, the model's own tokens kept.
void check_exact(SessionHandle& s, int32_t reasoning) {
  const ConversationHandle c(s);
  CHECK(s.tokens() == c.render(model(), reasoning));
}

json request(std::vector<json> messages, bool tools) {
  json r = {{"messages", messages}};
  if (tools) r["tools"] = json::parse(kTools);
  return r;
}

dsv4_generate_stats stats_struct() {
  dsv4_generate_stats stats{};
  stats.struct_size = sizeof stats;
  return stats;
}

}  // namespace

TEST_CASE("a tool loop runs to its end, in every mode of thinking, with exact tokens from turn to turn") {
  for (const int32_t mode : {DSV4_REASONING_NONE, DSV4_REASONING_HIGH}) {
    CAPTURE(mode);
    SessionHandle s(model().get);
    const ConversationHandle c(request({{{"role", "user"}, {"content", "What is the weather in Paris?"}}}, true));
    REQUIRE(dsv4_session_set_conversation(s.get, c.get, nullptr) == DSV4_OK);
    Answer call;
    dsv4_generate_stats stats = stats_struct();
    REQUIRE(ask(s, call, greedy(mode), &stats) == DSV4_OK);
    CHECK(call.reason == DSV4_DONE_TOOL_CALLS);
    CHECK(stats.tool_calls == 1);
    REQUIRE(call.calls.size() == 1);
    CHECK(call.calls[0].name == "get_weather");
    CHECK(json::parse(call.calls[0].arguments) == json{{"city", "Paris"}});
    CHECK(call.arguments == call.calls[0].arguments);
    CHECK(call.content.empty());
    CHECK(call.malformed.empty());
    CHECK(call.reasoning.empty() == (mode == DSV4_REASONING_NONE));
    check_exact(s, mode);

    const std::string result = R"({"temperature": 21, "condition": "sunny"})";
    REQUIRE(dsv4_session_append_tool_result(s.get, call.calls[0].id.c_str(), result.data(), result.size(), nullptr) ==
            DSV4_OK);
    const size_t before = s.tokens().size();
    Answer answer;
    REQUIRE(ask(s, answer, greedy(mode), &stats) == DSV4_OK);
    CHECK(answer.reason == DSV4_DONE_STOP);
    CHECK(answer.content == "It is 21 degrees and sunny in Paris.");
    CHECK(stats.reused_tokens + 1 >= before);  // the call's tokens were kept (the newest may not have been evaluated)
    check_exact(s, mode);

    // The same history, kept by the host as JSON and given to another session, and back to this one.
    const ConversationHandle own(s);
    CHECK(own.count() == 4);
    const json message = own.message(1);
    CHECK(message["role"] == "assistant");
    CHECK(message["content"].is_null());
    CHECK(message["tool_calls"][0]["id"] == call.calls[0].id);
    CHECK(message["tool_calls"][0]["function"]["arguments"] == call.calls[0].arguments);
    json history = own.all();
    CHECK(history["tools"] == json::parse(kTools));
    CHECK(ConversationHandle(history).all() == history);
    history["messages"].push_back({{"role", "user"}, {"content", "Thanks"}});
    const ConversationHandle given(history);
    REQUIRE(dsv4_session_set_conversation(s.get, given.get, nullptr) == DSV4_OK);
    const size_t known = s.tokens().size();
    Answer thanks;
    REQUIRE(ask(s, thanks, greedy(mode), &stats) == DSV4_OK);
    CHECK(stats.reused_tokens + 1 >= known);
    check_exact(s, mode);
    SessionHandle other(model().get);
    REQUIRE(dsv4_session_set_conversation(other.get, given.get, nullptr) == DSV4_OK);
    Answer there;
    REQUIRE(ask(other, there, greedy(mode)) == DSV4_OK);
    CHECK(there.content == thanks.content);
  }
}

TEST_CASE("tokens stay exact over turns that change the mode, drop reasoning, and cut the model's words strangely") {
  const int32_t modes[] = {DSV4_REASONING_NONE, DSV4_REASONING_HIGH, DSV4_REASONING_HIGH, DSV4_REASONING_NONE,
                           DSV4_REASONING_MAX};
  for (const bool tools : {false, true}) {
    CAPTURE(tools);
    SessionHandle s(model().get, 4096);
    const ConversationHandle c(request({{{"role", "system"}, {"content", "Answer briefly."}}}, tools));
    REQUIRE(dsv4_session_set_conversation(s.get, c.get, nullptr) == DSV4_OK);
    const char* questions[] = {"Hello!", "What is 12+34?", "What is 3+4?", "My cat is called Luna.", "Bye"};
    for (size_t i = 0; i < 5; ++i) {
      s.say(questions[i]);
      Answer a;
      REQUIRE(ask(s, a, greedy(modes[i])) == DSV4_OK);
      check_exact(s, modes[i]);
    }
    // Single bytes where the tokenizer would have made words: the next turn keeps them.
    s.say("What?");
    Script script("");
    for (const char ch : std::string("no hurry")) {
      const auto one = tokens_of(std::string(1, ch));
      script.ids.insert(script.ids.end(), one.begin(), one.end());
    }
    script.ids.push_back(tokens_of("<｜end▁of▁sentence｜>")[0]);
    REQUIRE(script.ids.size() == 9);
    Answer odd;
    REQUIRE(say_script(s, script, odd) == DSV4_OK);
    CHECK(odd.content == "no hurry");
    check_exact(s, DSV4_REASONING_NONE);
    const std::vector<int32_t> before = s.tokens();
    s.say("Thanks");
    Answer a;
    REQUIRE(ask(s, a, greedy(DSV4_REASONING_NONE)) == DSV4_OK);
    const std::vector<int32_t> after = s.tokens();
    CHECK(std::equal(before.begin(), before.end(), after.begin()));
    check_exact(s, DSV4_REASONING_NONE);
  }
}

TEST_CASE("a turn that breaks the format keeps its text and its tokens") {
  SessionHandle s(model().get);
  const ConversationHandle c(request({{{"role", "user"}, {"content", "Hello!"}}}, true));
  REQUIRE(dsv4_session_set_conversation(s.get, c.get, nullptr) == DSV4_OK);
  const std::string raw =
      "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_time\">\n<｜DSML｜parameter name=\"city\" oops";
  Script script("One moment." + raw + "<｜end▁of▁sentence｜>");
  Answer a;
  REQUIRE(say_script(s, script, a) == DSV4_OK);
  CHECK(a.reason == DSV4_DONE_MALFORMED);
  CHECK(a.content == "One moment.");
  CHECK(a.malformed == raw);
  CHECK(a.calls.empty());
  check_exact(s, DSV4_REASONING_NONE);
  const ConversationHandle own(s);
  CHECK(own.message(1)["malformed"] == raw);
  CHECK(ConversationHandle(own.all()).all() == own.all());
  s.say("Hello!");
  Answer next;
  REQUIRE(ask(s, next, greedy(DSV4_REASONING_NONE)) == DSV4_OK);
  check_exact(s, DSV4_REASONING_NONE);
}

TEST_CASE("the reasoning budget closes the reasoning, and the answer follows") {
  SessionHandle s(model().get);
  s.say("What is 12+34?");
  dsv4_generate_options o = greedy(DSV4_REASONING_HIGH);
  o.reasoning_budget = 3;
  o.token_events = 1;
  Answer a;
  dsv4_generate_stats stats = stats_struct();
  REQUIRE(ask(s, a, o, &stats) == DSV4_OK);
  CHECK(stats.reasoning_closed == 1);
  CHECK(stats.reasoning_tokens == 4);  // the </think> that the library put there too
  CHECK_FALSE(a.reasoning.empty());
  CHECK_FALSE(a.content.empty());
  REQUIRE(a.tokens.size() == stats.generated_tokens);
  for (size_t i = 0; i < a.tokens.size(); ++i) CHECK(a.tokens[i].forced == (i == 3 ? 1 : 0));
  CHECK(std::any_of(a.warnings.begin(), a.warnings.end(),
                    [](const std::string& w) { return w.find("budget") != std::string::npos; }));
  check_exact(s, DSV4_REASONING_HIGH);
  // A budget that is not needed changes nothing.
  SessionHandle free(model().get), roomy(model().get);
  free.say("What is 12+34?");
  roomy.say("What is 12+34?");
  Answer b, d;
  o.reasoning_budget = 0;
  REQUIRE(ask(free, b, o, &stats) == DSV4_OK);
  CHECK(stats.reasoning_closed == 0);
  o.reasoning_budget = 1000;
  REQUIRE(ask(roomy, d, o, &stats) == DSV4_OK);
  CHECK(stats.reasoning_closed == 0);
  CHECK(free.tokens() == roomy.tokens());
  // A character that the budget would cut is finished first.
  SessionHandle odd(model().get);
  odd.say("Hello!");
  Script script("");
  for (const char byte : std::string("\xf0\x9f\x98\x80")) {  // one token a byte, wherever the vocabulary has it
    std::vector<char> text(8);
    for (int32_t id = 0; id < static_cast<int32_t>(vocab()); ++id) {
      size_t n = 0;
      if (dsv4_detokenize(model().get, &id, 1, 0, text.data(), text.size(), &n, nullptr) == DSV4_OK && n == 1 &&
          text[0] == byte) {
        script.ids.push_back(id);
        break;
      }
    }
  }
  REQUIRE(script.ids.size() == 4);
  for (const int32_t id : tokens_of("ok<｜end▁of▁sentence｜>")) script.ids.push_back(id);
  o = greedy(DSV4_REASONING_HIGH);
  o.reasoning_budget = 2;
  o.logits = Script::edit;
  o.logits_user = &script;
  Answer e;
  REQUIRE(ask(odd, e, o) == DSV4_OK);
  CHECK(e.reasoning == "😀");
  CHECK(e.content == "ok");
}

TEST_CASE("what a host does to the logits: bias, penalties, its own hand, and the log-probabilities it sees") {
  SessionHandle plain(model().get);
  plain.say("Hello!");
  dsv4_generate_options o = greedy();
  o.token_events = 1;
  o.top_logprobs = 5;
  Answer a;
  REQUIRE(ask(plain, a, o) == DSV4_OK);
  REQUIRE(a.tokens.size() > 2);
  for (const Answer::Token& t : a.tokens) {
    REQUIRE(t.top.size() == 5);
    CHECK(t.top[0].token == t.id);  // greedy
    CHECK(t.top[0].logprob == t.logprob);
    double sum = 0;
    for (size_t i = 0; i < 5; ++i) {
      sum += std::exp(t.top[i].logprob);
      if (i > 0) CHECK(t.top[i].logprob <= t.top[i - 1].logprob);
    }
    CHECK(sum <= 1 + 1e-9);
  }
  // The first token forbidden: the second best comes, with its own log-probability, untouched by the bias.
  const dsv4_logit_bias never = {a.tokens[0].id, -std::numeric_limits<float>::infinity()};
  o.logit_bias = &never;
  o.logit_bias_count = 1;
  SessionHandle biased(model().get);
  biased.say("Hello!");
  Answer b;
  REQUIRE(ask(biased, b, o) == DSV4_OK);
  CHECK(b.tokens[0].id == a.tokens[0].top[1].token);
  CHECK(b.tokens[0].logprob == a.tokens[0].top[1].logprob);
  // A strong frequency penalty leaves no token twice.
  o.logit_bias_count = 0;
  o.frequency_penalty = 2;
  o.presence_penalty = 2;
  o.repetition_penalty = 1e6;
  o.max_tokens = 30;
  SessionHandle once(model().get);
  once.say("Hello!");
  Answer d;
  REQUIRE(ask(once, d, o) == DSV4_OK);
  std::vector<int32_t> ids;
  for (const Answer::Token& t : d.tokens) ids.push_back(t.id);
  std::sort(ids.begin(), ids.end());
  CHECK(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  // The host ends the turn from inside the logits.
  SessionHandle stopped(model().get);
  stopped.say("Hello!");
  Script script("Hi");
  Answer e;
  REQUIRE(say_script(stopped, script, e) == DSV4_OK);
  CHECK(e.content == "Hi");
  CHECK(e.reason == DSV4_DONE_HOST);

  Failure f;
  Answer none;
  const auto refused = [&](const dsv4_generate_options& wrong, const char* word) {
    dsv4_error_release(&f.error);
    stopped.say("Again");
    CHECK(ask(stopped, none, wrong, nullptr, &f.error) == DSV4_E_INVALID_ARGUMENT);
    CHECK_MESSAGE(f.text().find(word) != std::string::npos, f.text());
    CHECK(none.done == 0);
  };
  const dsv4_logit_bias outside = {1 << 30, 1};
  o = greedy();
  o.logit_bias = &outside;
  o.logit_bias_count = 1;
  refused(o, "logit_bias");
  o = greedy();
  o.top_logprobs = 21;
  refused(o, "top_logprobs");
  o = greedy();
  o.frequency_penalty = 3;
  refused(o, "frequency_penalty");
  o = greedy();
  o.tool_choice = 9;
  refused(o, "tool_choice");
  o = greedy();
  o.tool_choice = DSV4_TOOL_CHOICE_REQUIRED;
  refused(o, "tools");
  o = greedy();
  o.grammar = "root ::= \"a\"";
  refused(o, "grammar_kind");
}

TEST_CASE("limits of the 0731 profile, and the warning about room at max") {
  dsv4_model_options mo = DSV4_MODEL_OPTIONS_INIT;
  mo.profile = DSV4_PROFILE_0731;
  ModelHandle m(kTiny, &mo);
  SessionHandle s(m.get, 4096);
  dsv4_generate_stats stats = stats_struct();
  for (const int32_t mode : {DSV4_REASONING_NONE, DSV4_REASONING_LOW, DSV4_REASONING_HIGH, DSV4_REASONING_MAX}) {
    s.say("What is 12+34?");
    Answer a;
    dsv4_generate_options o = greedy(mode);
    o.max_tokens = 0;
    const auto stop_at_once = [](void*, const dsv4_event* e) -> int32_t {
      return e->type == DSV4_EVENT_PREFILL ? DSV4_CONTINUE : DSV4_STOP;
    };
    REQUIRE(dsv4_session_generate(s.get, &o, stop_at_once, nullptr, &stats, nullptr) == DSV4_OK);
    CHECK(stats.max_tokens < 4096);  // the context is smaller than any of the profile's limits
    CHECK(stats.max_tokens + stats.prompt_tokens == 4096);
    CHECK(stats.reasoning == mode);
  }
}

TEST_CASE("JSON that is not a conversation is refused with the path, and nothing is added") {
  SessionHandle s(model().get);
  Failure f;
  const auto refused = [&](const std::string& text, const char* path) {
    dsv4_error_release(&f.error);
    CHECK(dsv4_session_append_json(s.get, text.data(), text.size(), &f.error) == DSV4_E_INVALID_ARGUMENT);
    CHECK_MESSAGE(f.text().find(path) != std::string::npos, f.text());
    CHECK(ConversationHandle(s).count() == 0);
  };
  refused(R"({"role": "user"})", "message.content");
  refused(R"([{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}])", "messages[1].role");
  refused(R"({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]})",
          "message.tool_calls[0].function.arguments");
  refused("[", "JSON");
  const std::string good = R"([{"role": "user", "content": [{"type": "text", "text": "a"}], "unknown": {"x": 1}}])";
  CHECK(dsv4_session_append_json(s.get, good.data(), good.size(), nullptr) == DSV4_OK);
  CHECK(ConversationHandle(s).message(0)["content"] == "a");
  CHECK(dsv4_conversation_message_json(ConversationHandle(s).get, 1, nullptr, 0, nullptr, nullptr) ==
        DSV4_E_INVALID_ARGUMENT);
}

TEST_CASE("the parser's handle: text in any cut, tokens, messages, misuse") {
  const std::string output =
      "think\n</think>Hi.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  dsv4_parser_options o = DSV4_PARSER_OPTIONS_INIT;
  o.start = DSV4_START_REASONING;
  for (const size_t size : {size_t{1}, size_t{7}, output.size(), size_t{0}}) {
    Answer a;
    dsv4_parser* parser = nullptr;
    const auto on_event = [](void* user, const dsv4_event* e) -> int32_t {
      Answer& answer = *static_cast<Answer*>(user);
      if (e->type == DSV4_EVENT_REASONING) answer.reasoning.append(e->text, e->text_length);
      if (e->type == DSV4_EVENT_CONTENT) answer.content.append(e->text, e->text_length);
      if (e->type == DSV4_EVENT_TOOL_CALL) answer.calls.push_back({e->call->id, e->call->name, e->call->arguments});
      if (e->type == DSV4_EVENT_DONE) answer.reason = e->reason;
      return 0;
    };
    REQUIRE(dsv4_parser_create(size == 0 ? model().get : nullptr, &o, on_event, &a, &parser, nullptr) == DSV4_OK);
    if (size == 0) {
      const std::vector<int32_t> ids = tokens_of(output);
      REQUIRE(dsv4_parser_push_tokens(parser, ids.data(), ids.size(), nullptr) == DSV4_OK);
      CHECK(dsv4_parser_push_text(parser, "x", 1, nullptr) == DSV4_E_INVALID_ARGUMENT);
    } else {
      for (size_t at = 0; at < output.size(); at += size) {
        REQUIRE(dsv4_parser_push_text(parser, output.data() + at, std::min(size, output.size() - at), nullptr) ==
                DSV4_OK);
      }
      CHECK(dsv4_parser_push_tokens(parser, nullptr, 0, nullptr) == DSV4_E_INVALID_ARGUMENT);
    }
    CHECK(dsv4_parser_finish(parser, DSV4_DONE_TOOL_CALLS, nullptr) == DSV4_E_INVALID_ARGUMENT);
    REQUIRE(dsv4_parser_finish(parser, DSV4_DONE_STOP, nullptr) == DSV4_OK);
    CHECK(a.reasoning == "think");
    CHECK(a.content == "Hi.");
    REQUIRE(a.calls.size() == 1);
    CHECK(a.calls[0].arguments == "{}");
    CHECK(std::string(dsv4_done_name(a.reason)) == "tool_calls");
    std::string text(1000, '\0');
    size_t n = 0;
    REQUIRE(dsv4_parser_message_json(parser, text.data(), text.size(), &n, nullptr) == DSV4_OK);
    CHECK(json::parse(text.substr(0, n))["reasoning_content"] == "think");
    dsv4_parser_release(&parser);
    CHECK(parser == nullptr);
  }
  o.start = 3;
  dsv4_parser* none = nullptr;
  CHECK(dsv4_parser_create(nullptr, &o, nullptr, nullptr, &none, nullptr) == DSV4_E_INVALID_ARGUMENT);
}

TEST_CASE("a build without grammars says so") {
  if (dsv4::ConstraintCompiler::available()) return;
  SessionHandle s(model().get);
  s.say("Hello!");
  dsv4_generate_options o = greedy();
  o.grammar_kind = DSV4_GRAMMAR_JSON;
  Answer a;
  Failure f;
  CHECK(ask(s, a, o, nullptr, &f.error) == DSV4_E_UNSUPPORTED);
  CHECK(a.prefill == 0);
}

TEST_CASE("a required call, a named one, and what cannot be asked for") {
  if (!dsv4::ConstraintCompiler::available()) return;
  const auto ask_for = [](int32_t choice, const char* name, Answer& a, dsv4_error** error = nullptr,
                          int32_t reasoning = DSV4_REASONING_NONE) {
    SessionHandle s(model().get);
    const ConversationHandle c(request({{{"role", "user"}, {"content", "Hello!"}}}, true));
    REQUIRE(dsv4_session_set_conversation(s.get, c.get, nullptr) == DSV4_OK);
    dsv4_generate_options o = greedy(reasoning);
    o.tool_choice = choice;
    o.tool_name = name;
    const dsv4_status status = ask(s, a, o, nullptr, error);
    if (status == DSV4_OK) {
      // What the library wrote for the model is part of the kept tokens: the next turn goes on from them.
      REQUIRE(a.calls.size() == 1);
      const std::string id = a.calls[0].id;
      REQUIRE(dsv4_session_append_tool_result(s.get, id.c_str(), "{}", 2, nullptr) == DSV4_OK);
      const std::vector<int32_t> before = s.tokens();
      Answer next;
      REQUIRE(ask(s, next, greedy(DSV4_REASONING_NONE)) == DSV4_OK);
      const std::vector<int32_t> after = s.tokens();
      CHECK(std::equal(before.begin(), before.end(), after.begin()));
      check_exact(s, DSV4_REASONING_NONE);
    }
    return status;
  };
  Answer required;
  REQUIRE(ask_for(DSV4_TOOL_CHOICE_REQUIRED, nullptr, required) == DSV4_OK);
  CHECK(required.reason == DSV4_DONE_TOOL_CALLS);
  Answer named;
  REQUIRE(ask_for(DSV4_TOOL_CHOICE_NAMED, "get_time", named) == DSV4_OK);
  CHECK(named.reason == DSV4_DONE_TOOL_CALLS);
  CHECK(named.calls[0].name == "get_time");
  const json arguments = json::parse(named.calls[0].arguments);
  CHECK(arguments.size() == 1);
  CHECK(arguments["city"].is_string());
  Answer none;
  Failure f;
  CHECK(ask_for(DSV4_TOOL_CHOICE_NAMED, "get_money", none, &f.error) == DSV4_E_INVALID_ARGUMENT);
  CHECK(f.text().find("get_money") != std::string::npos);
  dsv4_error_release(&f.error);
  CHECK(ask_for(DSV4_TOOL_CHOICE_REQUIRED, nullptr, none, &f.error, DSV4_REASONING_HIGH) == DSV4_E_INVALID_ARGUMENT);
  CHECK(none.done == 0);
}

TEST_CASE("answers keep to a schema, a grammar, a regular expression; thinking stays free") {
  if (!dsv4::ConstraintCompiler::available()) return;
  const auto answer = [](const json& req, dsv4_generate_options o, Answer& a, dsv4_error** error = nullptr) {
    SessionHandle s(model().get);
    const ConversationHandle c(req);
    REQUIRE(dsv4_session_set_conversation(s.get, c.get, nullptr) == DSV4_OK);
    const dsv4_status status = ask(s, a, o, nullptr, error);
    if (status == DSV4_OK && a.reason == DSV4_DONE_STOP) check_exact(s, o.reasoning);
    return status;
  };
  const json schema = json::parse(R"({"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0,
      "maximum": 999}, "kind": {"enum": ["small", "large"]}}, "required": ["sum", "kind"], "additionalProperties": false})");
  json question = request({{{"role", "user"}, {"content", "What is 12+34?"}}}, false);
  question["response_format"] = {{"type", "json_schema"}, {"json_schema", {{"name", "sum"}, {"schema", schema}}}};
  for (const int32_t mode : {DSV4_REASONING_NONE, DSV4_REASONING_HIGH}) {
    Answer a;
    REQUIRE(answer(question, greedy(mode), a) == DSV4_OK);
    CHECK(a.reason == DSV4_DONE_STOP);
    const json value = json::parse(a.content);
    CHECK(value.size() == 2);
    CHECK(value["sum"].is_number_integer());
    CHECK((value["kind"] == "small" || value["kind"] == "large"));
    CHECK(a.reasoning.empty() == (mode == DSV4_REASONING_NONE));
  }
  // With tools beside it the model may still call one.
  json with_tools = request({{{"role", "user"}, {"content", "What is the weather in Paris?"}}}, true);
  with_tools["response_format"] = {{"type", "json_object"}};
  Answer free;
  REQUIRE(answer(with_tools, greedy(DSV4_REASONING_NONE), free) == DSV4_OK);
  if (free.reason == DSV4_DONE_TOOL_CALLS) {
    CHECK(free.content.empty());
  } else if (free.reason == DSV4_DONE_STOP) {
    CHECK(json::parse(free.content).is_object());
  }
  const json hello = request({{{"role", "user"}, {"content", "Hello!"}}}, false);
  dsv4_generate_options o = greedy(DSV4_REASONING_NONE);
  o.grammar_kind = DSV4_GRAMMAR_REGEX;
  o.grammar = "(yes|no), [0-9]{3}";
  Answer regex;
  REQUIRE(answer(hello, o, regex) == DSV4_OK);
  CHECK((regex.content.size() == 8 || regex.content.size() == 7));
  CHECK((regex.content.starts_with("yes, ") || regex.content.starts_with("no, ")));
  o.grammar_kind = DSV4_GRAMMAR_EBNF;
  o.grammar = "root ::= \"<\" [a-c]+ \">\"";
  o.max_tokens = 20;
  Answer ebnf;
  REQUIRE(answer(hello, o, ebnf) == DSV4_OK);
  CHECK(ebnf.content.starts_with("<"));
  CHECK(ebnf.content.find_first_not_of("<abc>") == std::string::npos);
  o.grammar_kind = DSV4_GRAMMAR_JSON;
  o.grammar = nullptr;
  o.max_tokens = 300;
  o.temperature = 1.5;
  o.seed = 5;
  Answer object;
  REQUIRE(answer(hello, o, object) == DSV4_OK);
  CHECK(object.content.starts_with("{"));
  // Refused when the request is made: nothing is evaluated, nothing is said.
  Failure f;
  Answer none;
  const auto refused = [&](int32_t kind, const char* grammar, dsv4_status status, const char* word) {
    dsv4_error_release(&f.error);
    dsv4_generate_options wrong = greedy(DSV4_REASONING_NONE);
    wrong.grammar_kind = kind;
    wrong.grammar = grammar;
    CHECK(answer(hello, wrong, none, &f.error) == status);
    CHECK_MESSAGE(f.text().find(word) != std::string::npos, f.text());
    CHECK(none.done == 0);
    CHECK(none.prefill == 0);
  };
  refused(DSV4_GRAMMAR_JSON_SCHEMA, R"({"type": "object", "unevaluatedProperties": false})", DSV4_E_UNSUPPORTED,
          "unevaluatedProperties");
  refused(DSV4_GRAMMAR_JSON_SCHEMA, R"({"type": 5})", DSV4_E_INVALID_ARGUMENT, "type");
  refused(DSV4_GRAMMAR_REGEX, "(a", DSV4_E_INVALID_ARGUMENT, "");
  refused(DSV4_GRAMMAR_EBNF, "rot ::= \"a\"", DSV4_E_INVALID_ARGUMENT, "root");
}
