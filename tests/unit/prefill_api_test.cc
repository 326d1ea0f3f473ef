// The prompt of a conversation can be evaluated ahead of the turn that answers it, and that changes no answer.

#include <string>

#include "tests/unit/snapshot_fixture.h"

using namespace dsv4::api_test;

namespace {

dsv4_status evaluate(SessionHandle& s, const dsv4_eval_options* options = nullptr, Failure* failure = nullptr) {
  return dsv4_session_eval(s.get, nullptr, 0, options, failure != nullptr ? &failure->error : nullptr);
}

}  // namespace

TEST_CASE("a system message alone, then the user's: nothing of it is evaluated twice") {
  SessionHandle s(model().get), plain(model().get);
  s.say("You are a helpful assistant that adds numbers.", DSV4_ROLE_SYSTEM);
  REQUIRE(evaluate(s) == DSV4_OK);
  const dsv4_session_info ahead = session_info(s.get);
  CHECK(ahead.tokens > 5);
  CHECK(ahead.evaluated == ahead.tokens);
  s.say("What is 2 + 3?");
  plain.say("You are a helpful assistant that adds numbers.", DSV4_ROLE_SYSTEM);
  plain.say("What is 2 + 3?");
  for (const int32_t mode : {DSV4_REASONING_NONE, DSV4_REASONING_HIGH}) {
    Answer a, b;
    dsv4_generate_stats stats{};
    stats.struct_size = sizeof stats;
    REQUIRE(ask(s, a, greedy(mode), &stats) == DSV4_OK);
    REQUIRE(ask(plain, b, greedy(mode)) == DSV4_OK);
    if (mode == DSV4_REASONING_NONE) CHECK(stats.reused_tokens == ahead.tokens);
    CHECK(s.tokens() == plain.tokens());
    CHECK(a.content == b.content);
    s.say("And 4 + 5?");
    plain.say("And 4 + 5?");
    REQUIRE(evaluate(s) == DSV4_OK);
  }
}

TEST_CASE("what it cannot do, and a cancel in the midst of it") {
  SessionHandle s(model().get);
  s.say("Hello");
  std::vector<float> rows(vocab());
  dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
  o.logits = rows.data();
  CHECK(evaluate(s, &o) == DSV4_E_INVALID_ARGUMENT);
  const int32_t id = 5;
  CHECK(dsv4_session_eval(s.get, &id, 1, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  o.logits = nullptr;
  o.progress = [](void*, uint64_t, uint64_t) { return 1; };
  CHECK(evaluate(s, &o) == DSV4_E_CANCELLED);
  CHECK(session_info(s.get).evaluated == 0);
  REQUIRE(evaluate(s) == DSV4_OK);
  Answer a;
  REQUIRE(ask(s, a, greedy(DSV4_REASONING_NONE)) == DSV4_OK);
  CHECK(!a.content.empty());
}
