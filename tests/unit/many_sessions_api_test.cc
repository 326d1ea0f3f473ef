// Many sessions of one model at once, and generations that a host polls: the same answers as alone, no call that blocks
// longer than asked, no event lost, no thread left behind.

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/snapshot_fixture.h"

using namespace dsv4::api_test;
using Clock = std::chrono::steady_clock;

namespace {

const char* const kQuestions[] = {"Hello!",           "What is 12+34?", "Who are you?", "What is 47+38?",
                                  "What can you do?", "What is 5+6?",   "Thanks",       "What is 90+9?"};

std::string alone(ModelHandle& model, const char* question, int32_t mode) {
  SessionHandle s(model.get);
  s.say(question);
  Answer a;
  REQUIRE(ask(s, a, greedy(mode)) == DSV4_OK);
  return a.reasoning + "|" + a.content;
}

// Polls until the generation has ended; the status of the last poll.
dsv4_status poll_all(dsv4_session* s, Answer& a, size_t at_once = 5, dsv4_error** error = nullptr) {
  for (;;) {
    size_t count = 0;
    const dsv4_status status = dsv4_session_poll(s, Answer::on_event, &a, at_once, 50, &count, error);
    CHECK(count <= at_once);
    if (status != DSV4_OK || a.done != 0) return status;
  }
}

double seconds_of(const std::function<void()>& body) {
  const Clock::time_point start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

TEST_CASE("sessions that generate at the same time, blocking and polled, answer as they do alone") {
  ModelHandle model;
  std::vector<std::string> want, got(8), polled(8);
  for (size_t i = 0; i < 8; ++i) {
    want.push_back(alone(model, kQuestions[i], i % 2 == 0 ? DSV4_REASONING_NONE : DSV4_REASONING_HIGH));
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 8; ++i) {
    threads.emplace_back(
        [&, i] { got[i] = alone(model, kQuestions[i], i % 2 == 0 ? DSV4_REASONING_NONE : DSV4_REASONING_HIGH); });
  }
  std::vector<std::unique_ptr<SessionHandle>> sessions;
  std::vector<Answer> answers(8);
  for (size_t i = 0; i < 8; ++i) {
    sessions.push_back(std::make_unique<SessionHandle>(model.get));
    sessions[i]->say(kQuestions[i]);
    const dsv4_generate_options o = greedy(i % 2 == 0 ? DSV4_REASONING_NONE : DSV4_REASONING_HIGH);
    REQUIRE(dsv4_session_start(sessions[i]->get, &o, nullptr) == DSV4_OK);
  }
  for (size_t left = 8; left > 0;) {  // a main loop: never waits for one of them
    left = 0;
    for (size_t i = 0; i < 8; ++i) {
      if (answers[i].done != 0) continue;
      ++left;
      REQUIRE(dsv4_session_poll(sessions[i]->get, Answer::on_event, &answers[i], 3, 0, nullptr, nullptr) == DSV4_OK);
    }
    std::this_thread::yield();
  }
  for (std::thread& t : threads) t.join();
  for (size_t i = 0; i < 8; ++i) {
    CHECK(got[i] == want[i]);
    CHECK(answers[i].reasoning + "|" + answers[i].content == want[i]);
    // Idle again, and the answer is part of the conversation.
    sessions[i]->say("Hello!");
  }
}

TEST_CASE("a polled session: busy until DONE, waits no longer than asked, errors come behind the last event") {
  ModelHandle model;
  SessionHandle s(model.get);
  Answer a;
  Failure f;
  CHECK(dsv4_session_poll(s.get, nullptr, nullptr, 1, 0, nullptr, &f.error) == DSV4_E_INVALID_ARGUMENT);
  const dsv4_generate_options o = greedy();
  REQUIRE(dsv4_session_start(s.get, &o, nullptr) == DSV4_OK);  // nothing to answer: the turn finds out
  CHECK(poll_all(s.get, a) == DSV4_E_INVALID_ARGUMENT);
  CHECK(a.done == 0);
  s.say("What can you do?");  // usable again
  REQUIRE(dsv4_session_start(s.get, &o, nullptr) == DSV4_OK);
  CHECK(dsv4_session_start(s.get, &o, nullptr) == DSV4_E_BUSY);
  CHECK(dsv4_session_append_message(s.get, DSV4_ROLE_USER, "x", 1, nullptr) == DSV4_E_BUSY);
  CHECK(ask(s, a, o) == DSV4_E_BUSY);
  size_t count = 9;
  CHECK(dsv4_session_poll(s.get, nullptr, nullptr, 0, 1000, &count, nullptr) == DSV4_OK);
  CHECK(count == 0);
  REQUIRE(poll_all(s.get, a) == DSV4_OK);
  CHECK(a.content.size() > 10);
  CHECK(a.reason == DSV4_DONE_STOP);
  CHECK(dsv4_session_poll(s.get, nullptr, nullptr, 1, 0, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  dsv4_generate_options edited = greedy();
  edited.logits = [](void*, float*, size_t) -> int32_t { return 0; };
  CHECK(dsv4_session_start(s.get, &edited, nullptr) == DSV4_E_UNSUPPORTED);
  s.say("Thanks");
}

TEST_CASE("nobody polls: the generation waits; cancel, an answer and a release end it") {
  ModelHandle model;
  dsv4_generate_options o = greedy();
  o.temperature = 3;  // goes on and on
  o.seed = 4;
  o.max_tokens = 1500;
  const dsv4_logit_bias no_end = {1, -100};
  o.logit_bias = &no_end;
  o.logit_bias_count = 1;
  o.token_events = 1;
  SessionHandle s(model.get, 2000);
  s.say("Hello!");
  REQUIRE(dsv4_session_start(s.get, &o, nullptr) == DSV4_OK);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  Answer first;
  size_t waiting = 0, count = 0;
  REQUIRE(dsv4_session_poll(s.get, Answer::on_event, &first, 1000, 0, &count, nullptr) == DSV4_OK);
  waiting += count;  // what had come by then, and what came while that was fetched
  CHECK(waiting < 400);
  dsv4_session_cancel(s.get);
  const double waited = seconds_of([&] { REQUIRE(poll_all(s.get, first) == DSV4_OK); });
  CHECK(waited < 60);  // a hang, not a figure
  CHECK(first.reason == DSV4_DONE_CANCELLED);
  CHECK(first.tokens.size() < 1400);
  // The timeline ends at a committed token and goes on from there.
  s.say("Hello!");
  Answer next;
  REQUIRE(ask(s, next, greedy()) == DSV4_OK);

  SessionHandle taken_back(model.get, 2000);
  taken_back.say("Hello!");
  REQUIRE(dsv4_session_start(taken_back.get, &o, nullptr) == DSV4_OK);
  Answer b;
  b.reply = DSV4_CANCEL;
  b.reply_after = 10;
  REQUIRE(poll_all(taken_back.get, b) == DSV4_OK);
  CHECK(b.reason == DSV4_DONE_CANCELLED);
  CHECK(taken_back.tokens().empty());

  for (int i = 0; i < 5; ++i) {
    SessionHandle dropped(model.get, 2000);
    dropped.say("Hello!");
    REQUIRE(dsv4_session_start(dropped.get, &o, nullptr) == DSV4_OK);
    if (i % 2 == 1) std::this_thread::sleep_for(std::chrono::milliseconds(20 * i));
  }
}

namespace {

// Threads with a session each: prompts, blocking and polled generations, cancels from other threads, forks, snapshots,
// pauses and what is resumed, until `enough` says so. Returns how many turns there were.
int run_storm(dsv4_model* model, const std::function<bool(int round)>& enough) {
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      SessionHandle s(model, 1500);
      for (int round = 0; !enough(round); ++round) {
        if (round % 4 == 0) REQUIRE(dsv4_session_clear(s.get, nullptr) == DSV4_OK);
        for (int i = 0; i < 8; ++i) s.say("My cat is called Luna. I live in Oslo.");
        Answer a;
        dsv4_generate_options o = greedy();
        o.max_tokens = 40;
        if ((t + round) % 3 == 0) {
          a.reply = DSV4_PAUSE;
          a.reply_after = 4;
        }
        dsv4_status status = DSV4_OK;
        std::thread cancels([&] {
          std::this_thread::sleep_for(std::chrono::milliseconds(3 * ((t + round) % 4)));
          if ((t + round) % 2 == 0) dsv4_session_cancel(s.get);
        });
        if (round % 2 == 0) {
          status = ask(s, a, o);
        } else {
          REQUIRE(dsv4_session_start(s.get, &o, nullptr) == DSV4_OK);
          status = poll_all(s.get, a, 2);
        }
        cancels.join();
        CHECK((status == DSV4_OK || status == DSV4_E_CANCELLED));
        CHECK(a.done == 1);
        if (round % 3 == 2) REQUIRE(restore(s.get, save(s.get)) == DSV4_OK);
        if (round % 5 == 4) {
          dsv4_session* fork = nullptr;
          REQUIRE(dsv4_session_fork(s.get, &fork, nullptr) == DSV4_OK);
          dsv4_session_release(&s.get);
          s.get = fork;
        }
        if (a.reason == DSV4_DONE_PAUSED) {
          dsv4_generate_options rest = DSV4_GENERATE_OPTIONS_INIT;
          rest.resume = 1;
          Answer b;
          CHECK(ask(s, b, rest) == DSV4_OK);
        }
        ++ended;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  return ended;
}

}  // namespace

TEST_CASE("cancels, polls and prompts from several threads at once leave every session usable") {
  ModelHandle model;
  CHECK(run_storm(model.get, [](int round) { return round == 4; }) == 16);
}

// build/tsan/tests/many_sessions_api_test --no-skip -tc='*for a minute*'
TEST_CASE("the same for a minute, for the thread sanitizer" * doctest::skip()) {
  ModelHandle model;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(60);
  const int turns = run_storm(model.get, [&](int) { return Clock::now() >= end; });
  MESSAGE(turns << " turns");
  CHECK(turns > 4);
}
