// A turn that was interrupted goes on as if it had not been: the same tokens, the same text without a gap or a repeat,
// the same conversation in the end; in the session itself, in a fork, and in a session restored from a snapshot.

#include <optional>
#include <string>

#include "tests/unit/snapshot_fixture.h"

using namespace dsv4::api_test;

namespace {

// What a host hears of one turn, however many calls it took.
struct Heard {
  std::vector<int32_t> ids;
  std::string reasoning, content, malformed, arguments, warnings;
  std::vector<std::string> calls;  // id, name, arguments
  int32_t reason = 0;
  size_t pause_at = 0;  // after so many tokens in all; 0: never
  int32_t answer = DSV4_PAUSE;
  dsv4_session* cancel = nullptr;  // instead of an answer
  bool pause_in_prefill = false;

  static int32_t on_event(void* user, const dsv4_event* e) {
    Heard& h = *static_cast<Heard*>(user);
    const std::string text(e->text, e->text_length);
    switch (e->type) {
      case DSV4_EVENT_PREFILL: return h.pause_in_prefill && e->done > 0 ? DSV4_PAUSE : DSV4_CONTINUE;
      case DSV4_EVENT_TOKEN: h.ids.push_back(e->token->token); break;
      case DSV4_EVENT_REASONING: h.reasoning += text; break;
      case DSV4_EVENT_CONTENT: h.content += text; break;
      case DSV4_EVENT_MALFORMED: h.malformed += text; break;
      case DSV4_EVENT_TOOL_ARGUMENTS: h.arguments += text; break;
      case DSV4_EVENT_WARNING: h.warnings += text + "\n"; break;
      case DSV4_EVENT_TOOL_CALL:
        h.calls.push_back(std::string(e->call->id) + e->call->name + e->call->arguments);
        break;
      case DSV4_EVENT_DONE: h.reason = e->reason; break;
      default: break;
    }
    if (e->type != DSV4_EVENT_TOKEN || h.pause_at == 0 || h.ids.size() != h.pause_at) return DSV4_CONTINUE;
    if (h.cancel == nullptr) return h.answer;
    dsv4_session_cancel(h.cancel);
    return DSV4_CONTINUE;
  }
};

const char* const kTools =
    R"([{"type":"function","function":{"name":"get_weather","description":"weather","parameters":{"type":"object",)"
    R"("properties":{"city":{"type":"string"}},"required":["city"]}}}])";

struct Case {
  const char* name;
  const char* text;
  int32_t reasoning;
  double temperature;
  bool tools = false;
  uint64_t budget = 0;
  double repetition = 0, presence = 0;
  uint64_t window = 0;
  const char* stop = nullptr;
};

// High temperatures write tokens that end inside characters and tags.
const Case kCases[] = {
    {"greedy", "Hello", DSV4_REASONING_NONE, 0},
    {"drawn", "Hello", DSV4_REASONING_NONE, 1},
    {"wild", "What is 2 + 3?", DSV4_REASONING_NONE, 4},
    {"wild with reasoning", "What is 2 + 3?", DSV4_REASONING_HIGH, 2.5},
    {"reasoning", "What is 12 + 30?", DSV4_REASONING_HIGH, 0.7},
    {"a budget", "What is 12 + 30?", DSV4_REASONING_HIGH, 1.5, false, 6},
    {"penalties", "Hello", DSV4_REASONING_NONE, 1.5, false, 0, 1.3, 0.4, 9},
    {"tools", "What is the weather in Paris?", DSV4_REASONING_NONE, 0, true},
    {"a stop string", "Hello", DSV4_REASONING_NONE, 1, false, 0, 0, 0, 0, "zzz"},
};

dsv4_generate_options options_of(const Case& c) {
  dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
  o.reasoning = c.reasoning;
  o.temperature = c.temperature;
  o.seed = 77;
  o.max_tokens = 40;
  o.reasoning_budget = c.budget;
  o.repetition_penalty = c.repetition;
  o.presence_penalty = c.presence;
  o.penalty_window = c.window;
  o.token_events = 1;
  if (c.stop != nullptr) {
    o.stop = &c.stop;
    o.stop_count = 1;
  }
  return o;
}

dsv4_generate_options resuming(uint64_t max_tokens = 0) {
  dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
  o.resume = 1;
  o.max_tokens = max_tokens;
  o.token_events = 1;
  return o;
}

// Of a session driven by tokens.
const std::vector<int32_t> kPrompt = {5, 6, 7, 8, 9, 10, 11};

void append_prompt(SessionHandle& s) {
  REQUIRE(dsv4_session_append_tokens(s.get, kPrompt.data(), kPrompt.size(), nullptr) == DSV4_OK);
}

// 24 tokens, whatever the model would like to say.
dsv4_generate_options endless_options() {
  static const dsv4_logit_bias never_end = {1, -100};  // EOS
  dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
  o.seed = 3;
  o.max_tokens = 24;
  o.token_events = 1;
  o.logit_bias = &never_end;
  o.logit_bias_count = 1;
  return o;
}

void ask(SessionHandle& s, const Case& c) {
  std::string request = std::string(R"({"messages":[{"role":"user","content":")") + c.text + "\"}]";
  if (c.tools) request += std::string(",\"tools\":") + kTools;
  request += "}";
  dsv4_conversation* conversation = nullptr;
  REQUIRE(dsv4_conversation_from_json(request.data(), request.size(), &conversation, nullptr) == DSV4_OK);
  REQUIRE(dsv4_session_set_conversation(s.get, conversation, nullptr) == DSV4_OK);
  dsv4_conversation_release(&conversation);
}

std::string conversation_of(dsv4_session* s) {
  dsv4_conversation* c = nullptr;
  REQUIRE(dsv4_session_conversation(s, &c, nullptr) == DSV4_OK);
  size_t n = 0;
  REQUIRE(dsv4_conversation_json(c, nullptr, 0, &n, nullptr) == DSV4_OK);
  std::string text(n, ' ');
  REQUIRE(dsv4_conversation_json(c, text.data(), n, &n, nullptr) == DSV4_OK);
  dsv4_conversation_release(&c);
  return text;
}

dsv4_generate_stats generate(dsv4_session* s, const dsv4_generate_options& o, Heard& heard,
                             dsv4_status want = DSV4_OK) {
  dsv4_generate_stats stats{};
  stats.struct_size = sizeof stats;
  Failure f;
  const dsv4_status status = dsv4_session_generate(s, &o, Heard::on_event, &heard, &stats, &f.error);
  INFO(f.text());
  REQUIRE(status == want);
  return stats;
}

dsv4_status refused(dsv4_session* s, const dsv4_generate_options& o, std::string* text = nullptr) {
  Failure f;
  const dsv4_status status = dsv4_session_generate(s, &o, nullptr, nullptr, nullptr, &f.error);
  if (text != nullptr) *text = f.text();
  return status;
}

// The turn of a case without an interruption.
struct Whole {
  SessionHandle session{model().get, 512};
  Heard heard;
  dsv4_generate_stats stats;
  std::string conversation;
  explicit Whole(const Case& c) {
    ask(session, c);
    stats = generate(session.get, options_of(c), heard);
    conversation = conversation_of(session.get);
  }
};

void check_same(const Whole& whole, SessionHandle& s, const Heard& heard, const dsv4_generate_stats& stats) {
  CHECK(heard.ids == whole.heard.ids);
  CHECK(heard.reason == whole.heard.reason);
  CHECK(heard.calls == whole.heard.calls);
  CHECK(stats.prompt_tokens == whole.stats.prompt_tokens);
  CHECK(stats.generated_tokens == whole.stats.generated_tokens);
  CHECK(stats.reasoning_tokens == whole.stats.reasoning_tokens);
  CHECK(stats.reasoning_closed == whole.stats.reasoning_closed);
  CHECK(stats.tool_calls == whole.stats.tool_calls);
  CHECK(stats.seed == whole.stats.seed);
  CHECK(stats.reasoning == whole.stats.reasoning);
  CHECK(stats.max_tokens == whole.stats.max_tokens);
  CHECK(conversation_of(s.get) == whole.conversation);
}

// No gap and no repeat: what was heard in pieces is what was heard in one.
void check_same_text(const Heard& whole, const Heard& heard) {
  CHECK(heard.reasoning == whole.reasoning);
  CHECK(heard.content == whole.content);
  CHECK(heard.malformed == whole.malformed);
  CHECK(heard.arguments == whole.arguments);
  CHECK(heard.warnings == whole.warnings);
}

// Where it goes on: the interrupted session itself, a fork, or one that was restored.
enum class Way { kSelf, kFork, kSnapshot };
SessionHandle& carry_over(Way way, SessionHandle& from, std::optional<SessionHandle>& room) {
  if (way == Way::kSelf) return from;
  room.emplace(model().get, 512);
  if (way == Way::kFork) {
    dsv4_session_release(&room->get);
    REQUIRE(dsv4_session_fork(from.get, &room->get, nullptr) == DSV4_OK);
  } else {
    const Bytes bytes = save(from.get);
    Feeder feeder(bytes);
    dsv4_snapshot_info info{};
    info.struct_size = sizeof info;
    REQUIRE(dsv4_snapshot_peek(Feeder::read, &feeder, &info, nullptr) == DSV4_OK);
    CHECK(info.interrupted == 1);
    Failure f;
    const dsv4_status status = restore(room->get, bytes, &f);
    INFO(f.text());
    REQUIRE(status == DSV4_OK);
  }
  CHECK(session_info(room->get).interrupted == 1);
  CHECK(conversation_of(room->get) == conversation_of(from.get));
  return *room;
}

}  // namespace

TEST_CASE("paused after any token, a turn goes on to the same end") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const Whole whole(c);
    for (size_t n = 1; n < whole.heard.ids.size(); n += n < 3 ? 1 : 11) {
      CAPTURE(n);
      SessionHandle s(model().get, 512);
      ask(s, c);
      Heard heard;
      heard.pause_at = n;
      const dsv4_generate_stats paused = generate(s.get, options_of(c), heard);
      CHECK(paused.reason == DSV4_DONE_PAUSED);
      CHECK(paused.generated_tokens == n);
      std::optional<SessionHandle> room;
      SessionHandle& next = carry_over(static_cast<Way>(n % 3), s, room);
      const dsv4_generate_stats stats = generate(next.get, resuming(), heard);
      check_same(whole, next, heard, stats);
      check_same_text(whole.heard, heard);
      CHECK(next.tokens() == const_cast<SessionHandle&>(whole.session).tokens());
      CHECK(session_info(next.get).interrupted == (stats.reason == DSV4_DONE_LENGTH ? 1 : 0));
    }
  }
}

TEST_CASE("paused after every single token, each time into a snapshot") {
  for (const Case& c : {kCases[2], kCases[5], kCases[7]}) {
    CAPTURE(c.name);
    const Whole whole(c);
    std::optional<SessionHandle> s(std::in_place, model().get, 512);
    ask(*s, c);
    Heard heard;
    heard.pause_at = 1;
    dsv4_generate_stats stats = generate(s->get, options_of(c), heard);
    while (stats.reason == DSV4_DONE_PAUSED) {
      const Bytes bytes = save(s->get);
      s.emplace(model().get, 512);
      REQUIRE(restore(s->get, bytes) == DSV4_OK);
      ++heard.pause_at;
      stats = generate(s->get, resuming(), heard);
    }
    check_same(whole, *s, heard, stats);
    check_same_text(whole.heard, heard);
  }
}

TEST_CASE("stopped, cancelled or out of max_tokens: the tokens and the conversation come out the same") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const Whole whole(c);
    for (size_t n = 2; n + 1 < whole.heard.ids.size(); n += 19) {
      for (const int32_t reason : {DSV4_DONE_HOST, DSV4_DONE_CANCELLED, DSV4_DONE_LENGTH}) {
        CAPTURE(n);
        CAPTURE(reason);
        SessionHandle s(model().get, 512);
        ask(s, c);
        Heard heard;
        dsv4_generate_options o = options_of(c);
        if (reason == DSV4_DONE_LENGTH) {
          o.max_tokens = n;
        } else {
          heard.pause_at = n;
          heard.answer = DSV4_STOP;
          heard.cancel = reason == DSV4_DONE_CANCELLED ? s.get : nullptr;
        }
        generate(s.get, o, heard, reason == DSV4_DONE_CANCELLED ? DSV4_E_CANCELLED : DSV4_OK);
        CHECK(heard.reason == reason);
        std::optional<SessionHandle> room;
        SessionHandle& next = carry_over(static_cast<Way>(n % 3), s, room);
        const dsv4_generate_stats stats = generate(next.get, resuming(reason == DSV4_DONE_LENGTH ? 40 : 0), heard);
        check_same(whole, next, heard, stats);
      }
    }
  }
}

TEST_CASE("paused while the prompt is read") {
  const Case& c = kCases[4];
  dsv4_session_options small = DSV4_SESSION_OPTIONS_INIT;
  small.context = 512;
  small.prefill_chunk = 3;
  const auto make = [&](SessionHandle& s) {
    dsv4_session_release(&s.get);
    REQUIRE(dsv4_session_create(model().get, &small, &s.get, nullptr) == DSV4_OK);
    ask(s, c);
  };
  SessionHandle whole(model().get), s(model().get), restored(model().get);
  make(whole);
  make(s);
  make(restored);
  Heard want, heard;
  generate(whole.get, options_of(c), want);
  heard.pause_in_prefill = true;
  const dsv4_generate_stats paused = generate(s.get, options_of(c), heard);
  CHECK(paused.reason == DSV4_DONE_PAUSED);
  CHECK(paused.generated_tokens == 0);
  const dsv4_session_info info = session_info(s.get);
  CHECK(info.evaluated > 0);
  CHECK(info.evaluated < info.tokens);
  REQUIRE(restore(restored.get, save(s.get)) == DSV4_OK);
  heard.pause_in_prefill = false;
  generate(restored.get, resuming(), heard);
  CHECK(heard.ids == want.ids);
  CHECK(heard.content == want.content);
  CHECK(conversation_of(restored.get) == conversation_of(whole.get));
}

TEST_CASE("a session driven by tokens resumes too, and so does a turn that continues a message") {
  const char* const continued =
      R"([{"role":"user","content":"Hello"},{"role":"assistant","content":"Hello! How","prefix":true}])";
  const auto begin_prefix = [&](SessionHandle& s) {
    REQUIRE(dsv4_session_append_json(s.get, continued, std::strlen(continued), nullptr) == DSV4_OK);
  };
  const dsv4_generate_options o = endless_options();
  for (const bool prefix : {false, true}) {
    SessionHandle whole(model().get, 512), s(model().get, 512), restored(model().get, 512);
    prefix ? begin_prefix(whole) : append_prompt(whole);
    prefix ? begin_prefix(s) : append_prompt(s);
    Heard want, heard;
    generate(whole.get, o, want);
    REQUIRE(want.ids.size() > 4);
    heard.pause_at = 4;
    CHECK(generate(s.get, o, heard).reason == DSV4_DONE_PAUSED);
    REQUIRE(restore(restored.get, save(s.get)) == DSV4_OK);
    generate(restored.get, resuming(), heard);
    CHECK(heard.ids == want.ids);
    CHECK(heard.content == want.content);
    CHECK(restored.tokens() == whole.tokens());
    if (prefix) CHECK(conversation_of(restored.get) == conversation_of(whole.get));
  }
}

TEST_CASE("the constraint of an answer goes on where it was") {
  const Case& c = kCases[2];
  dsv4_generate_options o = options_of(c);
  o.grammar_kind = DSV4_GRAMMAR_JSON_SCHEMA;
  o.grammar = R"({"type":"object","properties":{"a":{"type":"string","maxLength":12},"b":{"type":"integer"}},)"
              R"("required":["a","b"],"additionalProperties":false})";
  SessionHandle whole(model().get, 512);
  ask(whole, c);
  if (refused(whole.get, o) == DSV4_E_UNSUPPORTED) return;  // a build without xgrammar
  ask(whole, c);
  Heard want;
  generate(whole.get, o, want);
  REQUIRE(want.ids.size() > 8);
  for (size_t n = 1; n + 1 < want.ids.size(); n += 3) {
    SessionHandle s(model().get, 512);
    ask(s, c);
    Heard heard;
    heard.pause_at = n;
    generate(s.get, o, heard);
    std::optional<SessionHandle> room;
    SessionHandle& next = carry_over(static_cast<Way>(n % 3), s, room);
    generate(next.get, resuming(), heard);
    CHECK(heard.ids == want.ids);
    check_same_text(want, heard);
  }
}

TEST_CASE("in the background: pause, snapshot, resume") {
  const Case& c = kCases[1];
  const Whole whole(c);
  SessionHandle s(model().get, 512);
  ask(s, c);
  Heard heard;
  heard.pause_at = 3;
  dsv4_generate_options o = options_of(c);
  const auto poll_all = [&] {
    for (heard.reason = 0; heard.reason == 0;) {
      REQUIRE(dsv4_session_poll(s.get, Heard::on_event, &heard, 1, 100, nullptr, nullptr) == DSV4_OK);
    }
  };
  REQUIRE(dsv4_session_start(s.get, &o, nullptr) == DSV4_OK);
  poll_all();
  // The answer reaches a turn that may be some events ahead; what it had generated by then stays.
  if (heard.reason == DSV4_DONE_PAUSED) {
    const Bytes bytes = save(s.get);
    REQUIRE(restore(s.get, bytes) == DSV4_OK);
    o = resuming();
    REQUIRE(dsv4_session_start(s.get, &o, nullptr) == DSV4_OK);
    poll_all();
  }
  CHECK(heard.ids == whole.heard.ids);
  CHECK(heard.content == whole.heard.content);
}

TEST_CASE("a turn taken back when it is resumed stays interrupted where it was") {
  const Case& c = kCases[1];
  const Whole whole(c);
  SessionHandle s(model().get, 512);
  ask(s, c);
  Heard heard;
  heard.pause_at = 4;
  generate(s.get, options_of(c), heard);
  const std::string before = conversation_of(s.get);
  const std::vector<int32_t> tokens = s.tokens();
  Heard lost;
  lost.pause_at = 3;
  lost.answer = DSV4_CANCEL;
  generate(s.get, resuming(), lost, DSV4_E_CANCELLED);
  CHECK(conversation_of(s.get) == before);
  CHECK(s.tokens() == tokens);
  const dsv4_generate_stats stats = generate(s.get, resuming(), heard);
  check_same(whole, s, heard, stats);
}

TEST_CASE("an evaluation that fails leaves a turn interrupted, one that succeeds ends it") {
  dsv4_generate_options o = endless_options();
  SessionHandle whole(model().get, 512), s(model().get, 512);
  Heard want, heard;
  append_prompt(whole);
  append_prompt(s);
  generate(whole.get, o, want);
  REQUIRE(want.ids.size() > 4);
  heard.pause_at = 3;
  CHECK(generate(s.get, o, heard).reason == DSV4_DONE_PAUSED);
  dsv4_eval_options never = DSV4_EVAL_OPTIONS_INIT;
  never.progress = [](void*, uint64_t, uint64_t) -> int32_t { return 1; };
  CHECK(dsv4_session_eval(s.get, kPrompt.data(), kPrompt.size(), &never, nullptr) == DSV4_E_CANCELLED);
  const std::vector<int32_t> too_many(600, 5);
  CHECK(dsv4_session_eval(s.get, too_many.data(), too_many.size(), nullptr, nullptr) == DSV4_E_CONTEXT_FULL);
  CHECK(dsv4_session_eval(s.get, nullptr, 0, nullptr, nullptr) == DSV4_OK);
  generate(s.get, resuming(), heard);
  CHECK(heard.ids == want.ids);

  heard = {};
  heard.pause_at = 3;
  o.seed = 4;
  generate(s.get, o, heard);
  REQUIRE(heard.reason == DSV4_DONE_PAUSED);
  CHECK(dsv4_session_eval(s.get, kPrompt.data(), kPrompt.size(), nullptr, nullptr) == DSV4_OK);
  CHECK(refused(s.get, resuming()) == DSV4_E_INVALID_ARGUMENT);
}

TEST_CASE("what cannot be resumed is refused, and options that differ are named") {
  const Case& c = kCases[1];
  SessionHandle s(model().get, 512);
  std::string text;
  CHECK(refused(s.get, resuming(), &text) == DSV4_E_INVALID_ARGUMENT);
  CHECK(text.find("nothing to resume") == 0);
  ask(s, c);
  Heard heard;
  heard.pause_at = 4;
  generate(s.get, options_of(c), heard);

  const auto differs = [&](const char* name, auto&& change) {
    CAPTURE(name);
    dsv4_generate_options o = resuming();
    change(o);
    CHECK(refused(s.get, o, &text) == DSV4_E_INVALID_ARGUMENT);
    CHECK(text.find(name) == 0);
    CHECK(session_info(s.get).interrupted == 1);
  };
  const char* stop = "x";
  const dsv4_logit_bias bias = {3, 1};
  differs("temperature", [](auto& o) { o.temperature = 0.5; });
  differs("top_p", [](auto& o) { o.top_p = 0.5; });
  differs("top_k", [](auto& o) { o.top_k = 5; });
  differs("seed", [](auto& o) { o.seed = 78; });
  differs("reasoning", [](auto& o) { o.reasoning = DSV4_REASONING_HIGH; });
  differs("reasoning_budget", [](auto& o) { o.reasoning_budget = 5; });
  differs("repetition_penalty", [](auto& o) { o.repetition_penalty = 1.5; });
  differs("tool_choice", [](auto& o) { o.tool_choice = DSV4_TOOL_CHOICE_NONE; });
  differs("grammar", [](auto& o) { o.grammar_kind = DSV4_GRAMMAR_JSON; });
  differs("max_tokens", [](auto& o) { o.max_tokens = 4; });
  differs("logits", [](auto& o) { o.logits = [](void*, float*, size_t) { return 0; }; });
  differs("stop", [&](auto& o) {
    o.stop = &stop;
    o.stop_count = 1;
  });
  differs("logit_bias", [&](auto& o) {
    o.logit_bias = &bias;
    o.logit_bias_count = 1;
  });
  dsv4_generate_options same = options_of(c);  // repeated is as good as left alone
  same.resume = 1;
  heard.pause_at = 6;
  CHECK(generate(s.get, same, heard).reason == DSV4_DONE_PAUSED);

  SessionHandle other(model().get, 512);
  REQUIRE(restore(other.get, save(s.get)) == DSV4_OK);
  other.say("And now?");
  CHECK(session_info(other.get).interrupted == 0);
  CHECK(refused(other.get, resuming()) == DSV4_E_INVALID_ARGUMENT);
  CHECK(generate(other.get, options_of(c), heard).generated_tokens > 0);  // and a new turn follows what there was

  Heard rest;
  generate(s.get, resuming(), rest);
  if (rest.reason == DSV4_DONE_STOP) CHECK(refused(s.get, resuming()) == DSV4_E_INVALID_ARGUMENT);
}

TEST_CASE("a stranger's interrupted turn is refused or can be gone on with: every byte of it, several ways") {
  const Case& c = kCases[8];
  SessionHandle s(model().get, 512), victim(model().get, 512);
  ask(s, c);
  Heard heard;
  heard.pause_at = 3;
  generate(s.get, options_of(c), heard);
  const Bytes good = save(s.get);
  using namespace dsv4::snapshot;
  Place place;
  for (const Place& p : find_sections(good)) {
    if (p.header.is(SectionType::kTurn)) place = p;
  }
  REQUIRE(place.header.raw > 100);
  int refusals = 0, resumed = 0;
  for (size_t i = 0; i < place.header.stored; ++i) {
    for (const uint8_t change : {0x01, 0x80, 0xff}) {
      CAPTURE(i);
      Bytes bytes = good;
      bytes[place.at + kSectionBytes + i] ^= change;
      fix_checksums(bytes);
      Failure f;
      const dsv4_status status = restore(victim.get, bytes, &f);
      if (status != DSV4_OK) {
        CHECK(status == DSV4_E_CORRUPT);
        CHECK(!f.text().empty());
        ++refusals;
        continue;
      }
      Heard rest;
      rest.pause_at = 2;
      rest.answer = DSV4_STOP;
      const dsv4_generate_options o = resuming();
      const dsv4_status went_on = dsv4_session_generate(victim.get, &o, Heard::on_event, &rest, nullptr, &f.error);
      INFO(f.text());
      const bool known = went_on == DSV4_OK || went_on == DSV4_E_CORRUPT || went_on == DSV4_E_INVALID_ARGUMENT ||
                         went_on == DSV4_E_UNSUPPORTED;  // a constraint, in a build without
      CHECK(known);
      ++resumed;
    }
  }
  CHECK(refusals > 100);
  CHECK(resumed > 100);
}

TEST_CASE("the host's hand in the logits has to be there again") {
  SessionHandle s(model().get, 512), whole(model().get, 512);
  const Case& c = kCases[1];
  ask(s, c);
  ask(whole, c);
  dsv4_generate_options o = options_of(c);
  o.logits = [](void*, float* logits, size_t count) {
    for (size_t i = 0; i < count; i += 3) logits[i] -= 1;
    return 0;
  };
  Heard want, heard;
  generate(whole.get, o, want);
  heard.pause_at = 3;
  generate(s.get, o, heard);
  std::string text;
  CHECK(refused(s.get, resuming(), &text) == DSV4_E_INVALID_ARGUMENT);
  CHECK(text.find("logits") == 0);
  dsv4_generate_options again = resuming();
  again.logits = o.logits;
  generate(s.get, again, heard);
  CHECK(heard.ids == want.ids);
}
