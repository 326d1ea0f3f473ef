// The C interface as a host uses it, on the bundled model: errors, struct growth, conversations over turns, stop and
// cancel, hosts that sample themselves, several threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "include/dsv4.h"
#include "tests/support/api_session.h"

using namespace dsv4::api_test;

TEST_CASE("errors have a status, a message, and nothing else changes") {
  Failure f;
  dsv4_model* model = reinterpret_cast<dsv4_model*>(8);
  CHECK(dsv4_model_open("/no/such/folder", nullptr, &model, &f.error) == DSV4_E_NOT_FOUND);
  CHECK(dsv4_error_status(f.error) == DSV4_E_NOT_FOUND);
  CHECK(f.text().find("/no/such/folder") != std::string::npos);
  CHECK(model == reinterpret_cast<dsv4_model*>(8));
  dsv4_error_release(&f.error);
  CHECK(f.error == nullptr);
  dsv4_error_release(&f.error);
  dsv4_error_release(nullptr);
  CHECK(dsv4_model_open(nullptr, nullptr, &model, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(std::string(dsv4_error_message(nullptr)).empty());
  CHECK(dsv4_error_status(nullptr) == DSV4_OK);

  model = nullptr;
  dsv4_model_release(&model);
  dsv4_model_release(nullptr);
  dsv4_session_release(nullptr);
  dsv4_conversation_release(nullptr);
  dsv4_session_cancel(nullptr);

  dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
  o.backend = "abacus";
  CHECK(dsv4_model_open(kTiny, &o, &model, &f.error) == DSV4_E_UNSUPPORTED);
  CHECK(f.text().find("abacus") != std::string::npos);
}

TEST_CASE("options structs of older and newer callers") {
  ModelHandle model;
  struct Longer {
    dsv4_session_options known;
    uint64_t unknown;
  } longer;
  dsv4_session_options_init(&longer.known, sizeof longer);
  CHECK(longer.known.struct_size == sizeof longer);
  dsv4_session* session = nullptr;
  CHECK(dsv4_session_create(model.get, &longer.known, &session, nullptr) == DSV4_OK);
  dsv4_session_release(&session);
  longer.unknown = 1;
  CHECK(dsv4_session_create(model.get, &longer.known, &session, nullptr) == DSV4_E_UNSUPPORTED);

  dsv4_session_options shorter = DSV4_SESSION_OPTIONS_INIT;
  shorter.struct_size = offsetof(dsv4_session_options, flags);
  shorter.context = 64;
  shorter.flags = 0xffffffffu;  // not the caller's to set, as far as the caller knows
  CHECK(dsv4_session_create(model.get, &shorter, &session, nullptr) == DSV4_OK);
  dsv4_session_release(&session);
  shorter.struct_size = 0;
  CHECK(dsv4_session_create(model.get, &shorter, &session, nullptr) == DSV4_E_INVALID_ARGUMENT);

  // An init function never writes past the size it was given.
  unsigned char bytes[sizeof(dsv4_generate_options)];
  std::memset(bytes, 0xab, sizeof bytes);
  dsv4_generate_options_init(reinterpret_cast<dsv4_generate_options*>(bytes), 16);
  CHECK(bytes[15] != 0xab);
  CHECK(bytes[16] == 0xab);
  // Nor does a query.
  dsv4_model_info info;
  std::memset(&info, 0xab, sizeof info);
  info.struct_size = offsetof(dsv4_model_info, max_context);
  CHECK(dsv4_model_info_get(model.get, &info, nullptr) == DSV4_OK);
  CHECK(info.weight_bytes > 1000000);
  CHECK(reinterpret_cast<unsigned char*>(&info.max_context)[0] == 0xab);
}

TEST_CASE("a conversation over turns, and what is reused of it") {
  ModelHandle model;
  SessionHandle s(model.get);
  dsv4_generate_stats stats{};
  stats.struct_size = sizeof stats;
  s.say("My cat is called Luna.");
  Answer first;
  REQUIRE(ask(s, first, greedy(), &stats) == DSV4_OK);
  CHECK(first.done == 1);
  CHECK(first.prefill >= 1);
  CHECK(first.reason == DSV4_DONE_STOP);
  CHECK(stats.reason == DSV4_DONE_STOP);
  CHECK(stats.reasoning == DSV4_REASONING_NONE);
  CHECK(first.reasoning.empty());
  const std::vector<int32_t> after_first = s.tokens();

  s.say("What is my cat called?");
  Answer second;
  REQUIRE(ask(s, second, greedy(), &stats) == DSV4_OK);
  CHECK(second.content.find("Luna") != std::string::npos);
  // The second turn extends the first one's exact tokens; all but the end token was evaluated already.
  const std::vector<int32_t> after_second = s.tokens();
  REQUIRE(after_second.size() > after_first.size());
  CHECK(std::equal(after_first.begin(), after_first.end(), after_second.begin()));
  CHECK(stats.reused_tokens == after_first.size() - 1);

  // A fresh session that is given the same conversation says the same.
  dsv4_conversation* c = nullptr;
  REQUIRE(dsv4_conversation_create(&c, nullptr) == DSV4_OK);
  dsv4_conversation_add(c, DSV4_ROLE_USER, "My cat is called Luna.", DSV4_NUL_TERMINATED, nullptr);
  dsv4_conversation_add(c, DSV4_ROLE_ASSISTANT, first.content.data(), first.content.size(), nullptr);
  dsv4_conversation_add(c, DSV4_ROLE_USER, "What is my cat called?", DSV4_NUL_TERMINATED, nullptr);
  SessionHandle fresh(model.get);
  REQUIRE(dsv4_session_set_conversation(fresh.get, c, nullptr) == DSV4_OK);
  Answer again;
  REQUIRE(ask(fresh, again, greedy()) == DSV4_OK);
  CHECK(again.content == second.content);
  CHECK(fresh.tokens() == after_second);

  // The first session takes an edited history: its beginning stays, the rest is evaluated anew.
  dsv4_conversation_release(&c);
  REQUIRE(dsv4_conversation_create(&c, nullptr) == DSV4_OK);
  dsv4_conversation_add(c, DSV4_ROLE_USER, "My cat is called Rex.", DSV4_NUL_TERMINATED, nullptr);
  dsv4_conversation_add(c, DSV4_ROLE_USER, "What is my cat called?", DSV4_NUL_TERMINATED, nullptr);
  REQUIRE(dsv4_session_set_conversation(s.get, c, nullptr) == DSV4_OK);
  SessionHandle other(model.get);
  REQUIRE(dsv4_session_set_conversation(other.get, c, nullptr) == DSV4_OK);
  Answer edited, expected;
  REQUIRE(ask(s, edited, greedy()) == DSV4_OK);
  REQUIRE(ask(other, expected, greedy()) == DSV4_OK);
  CHECK(edited.content == expected.content);
  CHECK(s.tokens() == other.tokens());
  dsv4_conversation_release(&c);
}

TEST_CASE("reasoning: events, a turn after it, and modes that a profile lacks") {
  ModelHandle model;
  SessionHandle s(model.get);
  s.say("What is 12+34?");
  Answer a;
  dsv4_generate_stats stats{};
  stats.struct_size = sizeof stats;
  REQUIRE(ask(s, a, greedy(DSV4_REASONING_HIGH), &stats) == DSV4_OK);
  CHECK(!a.reasoning.empty());
  CHECK(a.content.find("46") != std::string::npos);
  CHECK(a.content.find("</think>") == std::string::npos);
  CHECK(stats.reasoning_tokens > 0);
  CHECK(stats.reasoning_tokens < stats.generated_tokens);
  // The format drops the finished turn's reasoning: the next turn is that of a session without it.
  s.say("What is 20+21?");
  Answer next;
  REQUIRE(ask(s, next, greedy(DSV4_REASONING_HIGH)) == DSV4_OK);
  CHECK(next.content.find("41") != std::string::npos);

  Failure f;
  Answer none;
  s.say("Hello");
  const std::vector<int32_t> before = s.tokens();
  CHECK(ask(s, none, greedy(DSV4_REASONING_LOW), nullptr, &f.error) == DSV4_E_UNSUPPORTED);
  CHECK(f.text().find("low") != std::string::npos);
  CHECK(none.done == 0);
  CHECK(s.tokens() == before);
  Answer most;
  dsv4_generate_options o = greedy(DSV4_REASONING_MAX);
  o.max_tokens = 2;
  REQUIRE(ask(s, most, o) == DSV4_OK);
  CHECK(most.warnings.size() == 1);  // little room for output
  CHECK(most.reason == DSV4_DONE_LENGTH);
}

TEST_CASE("stop strings, lengths, and what the callback answers") {
  ModelHandle model;
  const auto fresh_answer = [&](dsv4_generate_options o, Answer& a, SessionHandle& s) {
    s.say("Hello");
    return ask(s, a, o);
  };
  {
    SessionHandle s(model.get);
    Answer a;
    dsv4_generate_options o = greedy();
    const char* stops[] = {"help", "zzz"};
    o.stop = stops;
    o.stop_count = 2;
    CHECK(fresh_answer(o, a, s) == DSV4_OK);
    CHECK(a.reason == DSV4_DONE_STOP_STRING);
    CHECK(a.content.find("help") == std::string::npos);
    s.say("What is 12+34?");  // the next turn stands on the shortened text
    Answer b;
    CHECK(ask(s, b, greedy()) == DSV4_OK);
  }
  {
    SessionHandle s(model.get);
    Answer a;
    dsv4_generate_options o = greedy();
    o.max_tokens = 3;
    CHECK(fresh_answer(o, a, s) == DSV4_OK);
    CHECK(a.reason == DSV4_DONE_LENGTH);
  }
  {
    SessionHandle s(model.get);
    Answer a;
    a.reply = DSV4_STOP;
    CHECK(fresh_answer(greedy(), a, s) == DSV4_OK);
    CHECK(a.reason == DSV4_DONE_HOST);
    CHECK(!s.tokens().empty());
  }
  {
    SessionHandle s(model.get);
    Answer a;
    a.reply = DSV4_CANCEL;
    CHECK(fresh_answer(greedy(), a, s) == DSV4_E_CANCELLED);
    CHECK(a.reason == DSV4_DONE_CANCELLED);
    CHECK(s.tokens().empty());  // taken back
    Answer b;
    CHECK(ask(s, b, greedy()) == DSV4_OK);  // the question is still there
    CHECK(b.content.find("Hello") != std::string::npos);
  }
  {
    SessionHandle s(model.get);
    Answer a;
    a.cancel_here = s.get;
    CHECK(fresh_answer(greedy(), a, s) == DSV4_E_CANCELLED);
    CHECK(a.done == 1);
    CHECK(!s.tokens().empty());  // kept
    s.say("What is 12+34?");
    Answer b;
    CHECK(ask(s, b, greedy()) == DSV4_OK);
    CHECK(b.reason == DSV4_DONE_STOP);
  }
  SessionHandle s(model.get);
  Answer a;
  Failure f;
  CHECK(ask(s, a, greedy(), nullptr, &f.error) == DSV4_E_INVALID_ARGUMENT);  // nothing to answer
  dsv4_error_release(&f.error);
  dsv4_generate_options o = greedy();
  o.top_p = 1.5;
  s.say("Hello");
  CHECK(ask(s, a, o, nullptr, &f.error) == DSV4_E_INVALID_ARGUMENT);
  CHECK(f.text().find("top_p") != std::string::npos);
}

TEST_CASE("the same seed gives the same answer, and a fresh one is reported") {
  ModelHandle model;
  dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
  o.temperature = 3.0;
  o.max_tokens = 30;
  // Any token may come, and the model has one for the character NUL, at which the C strings of Answer would seem to end.
  dsv4_logit_bias no_nul = {-1, -1000};
  size_t count = 0;
  REQUIRE(dsv4_tokenize(model.get, "\0", 1, 0, &no_nul.token, 1, &count, nullptr) == DSV4_OK);
  REQUIRE(count == 1);
  o.logit_bias = &no_nul;
  o.logit_bias_count = 1;
  dsv4_generate_stats stats{};
  stats.struct_size = sizeof stats;
  SessionHandle one(model.get), two(model.get);
  one.say("Hello");
  Answer a, b;
  REQUIRE(ask(one, a, o, &stats) == DSV4_OK);
  CHECK(stats.seed != 0);
  o.seed = stats.seed;
  two.say("Hello");
  REQUIRE(ask(two, b, o) == DSV4_OK);
  CHECK(a.content == b.content);
  CHECK(one.tokens() == two.tokens());
}

TEST_CASE("hosts that sample themselves: eval, logits, draft logits, contexts that fill") {
  ModelHandle model;
  dsv4_model_info info{};
  info.struct_size = sizeof info;
  REQUIRE(dsv4_model_info_get(model.get, &info, nullptr) == DSV4_OK);
  const size_t vocab = static_cast<size_t>(info.vocab);
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 37 % vocab);
  SessionHandle whole(model.get, 64, DSV4_SESSION_DRAFT), steps(model.get, 64, DSV4_SESSION_DRAFT);
  std::vector<float> all(ids.size() * vocab), draft(all.size()), last(vocab), row(vocab);
  dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
  o.logits = all.data();
  o.draft_logits = draft.data();
  REQUIRE(dsv4_session_eval(whole.get, ids.data(), ids.size(), &o, nullptr) == DSV4_OK);
  size_t n = 0;
  REQUIRE(dsv4_session_logits(whole.get, last.data(), vocab, &n, nullptr) == DSV4_OK);
  CHECK(n == vocab);
  CHECK(std::equal(last.begin(), last.end(), all.end() - static_cast<std::ptrdiff_t>(vocab)));
  for (const int32_t id : ids) REQUIRE(dsv4_session_eval(steps.get, &id, 1, nullptr, nullptr) == DSV4_OK);
  REQUIRE(dsv4_session_logits(steps.get, row.data(), vocab, nullptr, nullptr) == DSV4_OK);
  double difference = 0;
  for (size_t i = 0; i < vocab; ++i)
    difference = std::max(difference, std::fabs(static_cast<double>(row[i]) - last[i]));
  CHECK(difference < 0.5);

  Failure f;
  CHECK(dsv4_session_eval(whole.get, ids.data(), ids.size(), nullptr, &f.error) == DSV4_E_CONTEXT_FULL);
  dsv4_error_release(&f.error);
  const int32_t wrong = static_cast<int32_t>(vocab);
  CHECK(dsv4_session_eval(whole.get, &wrong, 1, nullptr, &f.error) == DSV4_E_INVALID_ARGUMENT);
  CHECK(f.text().find(std::to_string(vocab)) != std::string::npos);
  dsv4_session_info state{};
  state.struct_size = sizeof state;
  REQUIRE(dsv4_session_info_get(whole.get, &state, nullptr) == DSV4_OK);
  CHECK(state.tokens == ids.size());
  CHECK(state.evaluated == ids.size());
  dsv4_error_release(&f.error);
  CHECK(dsv4_session_append_message(whole.get, DSV4_ROLE_USER, "Hello", DSV4_NUL_TERMINATED, &f.error) ==
        DSV4_E_INVALID_ARGUMENT);
  REQUIRE(dsv4_session_clear(whole.get, nullptr) == DSV4_OK);
  CHECK(dsv4_session_append_message(whole.get, DSV4_ROLE_USER, "Hello", DSV4_NUL_TERMINATED, nullptr) == DSV4_OK);
  CHECK(dsv4_session_pretend(steps.get, 10, nullptr) == DSV4_E_UNSUPPORTED);
}

TEST_CASE("memory limits and estimates") {
  dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
  o.host_memory_limit = 4u << 20;
  ModelHandle model(kTiny, &o);
  dsv4_session_options so = DSV4_SESSION_OPTIONS_INIT;
  so.context = 4096;
  dsv4_session* a = nullptr;
  dsv4_session* b = nullptr;
  Failure f;
  REQUIRE(dsv4_session_create(model.get, &so, &a, nullptr) == DSV4_OK);
  so.context = 65536;
  CHECK(dsv4_session_create(model.get, &so, &b, &f.error) == DSV4_E_OUT_OF_MEMORY_HOST);
  CHECK(f.text().find("host_memory_limit") != std::string::npos);
  so.context = 4096;
  REQUIRE(dsv4_session_create(model.get, &so, &b, nullptr) == DSV4_OK);
  dsv4_session_release(&a);
  dsv4_session_release(&b);

  dsv4_estimate e{};
  e.struct_size = sizeof e;
  REQUIRE(dsv4_model_estimate(kTiny, nullptr, 4096, &e, nullptr) == DSV4_OK);
  dsv4_model_info info{};
  info.struct_size = sizeof info;
  REQUIRE(dsv4_model_info_get(model.get, &info, nullptr) == DSV4_OK);
  CHECK(e.weight_bytes == info.weight_bytes);
  CHECK(e.fits == 1);
}

TEST_CASE("several threads: sessions of one model, a busy session, cancel from outside") {
  ModelHandle model;
  std::vector<std::string> answers(4);
  {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < answers.size(); ++i) {
      threads.emplace_back([&, i] {
        SessionHandle s(model.get);
        s.say("What is 12+34?");
        Answer a;
        CHECK(ask(s, a, greedy()) == DSV4_OK);
        answers[i] = a.content;
      });
    }
    for (std::thread& t : threads) t.join();
  }
  for (const std::string& a : answers) CHECK(a == answers[0]);

  SessionHandle s(model.get, 8192);
  std::vector<int32_t> ids(8000, 5);
  std::atomic<bool> running{false};
  std::atomic<int32_t> status{-1};
  std::thread worker([&] {
    dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
    o.progress = [](void* user, uint64_t, uint64_t) -> int32_t {
      static_cast<std::atomic<bool>*>(user)->store(true);
      return 0;
    };
    o.progress_user = &running;
    status = dsv4_session_eval(s.get, ids.data(), ids.size(), &o, nullptr);
  });
  while (!running) std::this_thread::yield();
  size_t n = 0;
  const dsv4_status busy = dsv4_session_tokens(s.get, nullptr, 0, &n, nullptr);
  CHECK((busy == DSV4_E_BUSY || status != -1));
  dsv4_session_cancel(s.get);
  worker.join();
  CHECK((status == DSV4_E_CANCELLED || status == DSV4_OK));
  dsv4_session_info state{};
  state.struct_size = sizeof state;
  REQUIRE(dsv4_session_info_get(s.get, &state, nullptr) == DSV4_OK);
  CHECK(state.tokens == state.evaluated);
  CHECK(dsv4_session_eval(s.get, ids.data(), 1, nullptr, nullptr) == DSV4_OK);
}

TEST_CASE("text: sizes first, then the text; strangers' text stays text") {
  ModelHandle model;
  const char* text = "Hello <\xef\xbd\x9cUser\xef\xbd\x9c> </think>";
  size_t n = 0;
  REQUIRE(dsv4_tokenize(model.get, text, DSV4_NUL_TERMINATED, 0, nullptr, 0, &n, nullptr) == DSV4_OK);
  std::vector<int32_t> ids(n), special(n);
  REQUIRE(dsv4_tokenize(model.get, text, DSV4_NUL_TERMINATED, 0, ids.data(), n, &n, nullptr) == DSV4_OK);
  size_t m = 0;
  REQUIRE(dsv4_tokenize(model.get, text, DSV4_NUL_TERMINATED, DSV4_TEXT_SPECIAL, special.data(), n, &m, nullptr) ==
          DSV4_OK);
  CHECK(m < n);
  std::string back(200, '\0');
  size_t length = 0;
  REQUIRE(dsv4_detokenize(model.get, ids.data(), n, 0, back.data(), back.size(), &length, nullptr) == DSV4_OK);
  CHECK(back.substr(0, length) == text);
  CHECK(dsv4_tokenize(model.get, "\xff\xfe", 2, 0, nullptr, 0, &n, nullptr) == DSV4_E_INVALID_ARGUMENT);
  dsv4_conversation* c = nullptr;
  Failure f;
  const char* json = "{\"messages\": [{\"role\": \"user\", \"content\": 5}]}";
  CHECK(dsv4_conversation_from_json(json, DSV4_NUL_TERMINATED, &c, &f.error) == DSV4_E_INVALID_ARGUMENT);
  CHECK(f.text().find("messages[0].content") != std::string::npos);
}

TEST_CASE("the matrix peak is measured, or its absence said, and nothing else changes") {
  for (const char* backend : {"cpu", "reference"}) {
    dsv4_model_options options = DSV4_MODEL_OPTIONS_INIT;
    options.backend = backend;
    options.threads = 2;
    dsv4_model* model = nullptr;
    REQUIRE(dsv4_model_open(kTiny, &options, &model, nullptr) == DSV4_OK);
    double peak = -1;
    Failure f;
    const dsv4_status status = dsv4_model_matrix_peak(model, &peak, &f.error);
    dsv4_build_info build{};
    build.struct_size = sizeof build;
    REQUIRE(dsv4_build_info_get(&build, nullptr) == DSV4_OK);
    if (std::string(backend) == "cpu" && *build.onednn != '\0') {
      CHECK(status == DSV4_OK);
      CHECK(peak > 1e8);
    } else {
      CHECK(status == DSV4_E_UNSUPPORTED);
      CHECK(peak == -1);
      CHECK(f.text().find("matrix peak") != std::string::npos);
    }
    CHECK(dsv4_model_matrix_peak(model, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
    dsv4_model_release(&model);
  }
}

TEST_CASE("verbs are timed for a model that was opened for it") {
  dsv4_model_options options = DSV4_MODEL_OPTIONS_INIT;
  options.flags = DSV4_OPEN_TIME_VERBS;
  dsv4_model* model = nullptr;
  REQUIRE(dsv4_model_open(kTiny, &options, &model, nullptr) == DSV4_OK);
  dsv4_verb_time time{};
  time.struct_size = sizeof time;
  CHECK(dsv4_model_verb_time(model, 0, &time, nullptr) == DSV4_E_NOT_FOUND);
  {
    SessionHandle s(model);
    const std::vector<int32_t> ids = {5, 6, 7};
    REQUIRE(dsv4_session_eval(s.get, ids.data(), ids.size(), nullptr, nullptr) == DSV4_OK);
  }
  dsv4_model_info info{};
  info.struct_size = sizeof info;
  REQUIRE(dsv4_model_info_get(model, &info, nullptr) == DSV4_OK);
  std::map<std::string, dsv4_verb_time> verbs;
  for (size_t i = 0; dsv4_model_verb_time(model, i, &time, nullptr) == DSV4_OK; ++i) {
    CHECK(time.seconds > 0);
    CHECK(verbs.emplace(time.verb, time).second);
  }
  CHECK(verbs["embed"].calls == 1);
  CHECK(verbs["experts"].calls == static_cast<uint64_t>(info.layers));
  CHECK(verbs["logits"].calls == 1);
  // One row meets the head, which is BF16 (two bytes) or FP32 (four).
  CHECK(verbs["logits"].multiply_adds == static_cast<double>(info.vocab * info.hidden));
  CHECK(verbs["logits"].weight_bytes % static_cast<uint64_t>(info.vocab * info.hidden) == 0);
  CHECK(verbs["experts"].weight_bytes > 0);
  CHECK(verbs["attend"].weight_bytes == 0);
  CHECK(dsv4_model_verb_times_clear(model, nullptr) == DSV4_OK);
  CHECK(dsv4_model_verb_time(model, 0, &time, nullptr) == DSV4_E_NOT_FOUND);
  dsv4_model_release(&model);

  ModelHandle plain;
  dsv4_error* error = nullptr;
  CHECK(dsv4_model_verb_time(plain.get, 0, &time, &error) == DSV4_E_INVALID_ARGUMENT);
  CHECK(std::string(dsv4_error_message(error)).find("DSV4_OPEN_TIME_VERBS") != std::string::npos);
  dsv4_error_release(&error);
  CHECK(dsv4_model_verb_times_clear(plain.get, nullptr) == DSV4_E_INVALID_ARGUMENT);
}
