// The C interface in the hands of a test: handles that release themselves, and an answer that collects its events.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "include/dsv4.h"

namespace dsv4::api_test {

inline constexpr const char* kTiny = DSV4_SOURCE_DIR "/samples/models/tiny";

struct Failure {
  dsv4_error* error = nullptr;
  ~Failure() { dsv4_error_release(&error); }
  std::string text() const { return dsv4_error_message(error); }
};

struct ModelHandle {
  dsv4_model* get = nullptr;
  explicit ModelHandle(const char* folder = kTiny, const dsv4_model_options* options = nullptr) {
    Failure f;
    const dsv4_status status = dsv4_model_open(folder, options, &get, &f.error);
    INFO(f.text());
    REQUIRE(status == DSV4_OK);
  }
  ~ModelHandle() { dsv4_model_release(&get); }
};

// The bundled model, opened once a program, and the rows of its logits.
inline ModelHandle& model() {
  static ModelHandle m;
  return m;
}
inline size_t vocab() {
  dsv4_model_info info{};
  info.struct_size = sizeof info;
  REQUIRE(dsv4_model_info_get(model().get, &info, nullptr) == DSV4_OK);
  return static_cast<size_t>(info.vocab);
}

struct SessionHandle {
  dsv4_session* get = nullptr;
  explicit SessionHandle(dsv4_model* model, uint64_t context = 2048, uint32_t flags = 0) {
    dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
    o.context = context;
    o.flags = flags;
    Failure f;
    const dsv4_status status = dsv4_session_create(model, &o, &get, &f.error);
    INFO(f.text());
    REQUIRE(status == DSV4_OK);
  }
  ~SessionHandle() { dsv4_session_release(&get); }
  void say(const char* text, int32_t role = DSV4_ROLE_USER) {
    REQUIRE(dsv4_session_append_message(get, role, text, DSV4_NUL_TERMINATED, nullptr) == DSV4_OK);
  }
  std::vector<int32_t> tokens() {
    size_t n = 0;
    REQUIRE(dsv4_session_tokens(get, nullptr, 0, &n, nullptr) == DSV4_OK);
    std::vector<int32_t> ids(n);
    REQUIRE(dsv4_session_tokens(get, ids.data(), n, &n, nullptr) == DSV4_OK);
    return ids;
  }
};

struct Answer {
  struct Call {
    std::string id, name, arguments;
  };
  struct Token {
    int32_t id, forced;
    double logprob;
    std::vector<dsv4_token_logprob> top;
  };
  std::string reasoning, content, malformed;
  std::string arguments;  // of all calls, delta after delta
  std::vector<Call> calls;
  std::vector<Token> tokens;
  std::vector<std::string> warnings;
  int prefill = 0, done = 0;
  int32_t reason = 0;
  int32_t reply = DSV4_CONTINUE;
  size_t reply_after = 0;               // bytes of text before it is given
  dsv4_session* cancel_here = nullptr;  // cancel this session once there is text

  static int32_t on_event(void* user, const dsv4_event* e) {
    Answer& a = *static_cast<Answer*>(user);
    CHECK(a.done == 0);  // DONE is the last
    CHECK(std::strlen(e->text) == e->text_length);
    const std::string text(e->text, e->text_length);
    if (e->type == DSV4_EVENT_PREFILL) ++a.prefill;
    if (e->type == DSV4_EVENT_REASONING) a.reasoning += text;
    if (e->type == DSV4_EVENT_CONTENT) a.content += text;
    if (e->type == DSV4_EVENT_WARNING) a.warnings.push_back(text);
    if (e->type == DSV4_EVENT_MALFORMED) a.malformed += text;
    CHECK((e->call != nullptr) == (e->type == DSV4_EVENT_TOOL_CALL_BEGIN || e->type == DSV4_EVENT_TOOL_ARGUMENTS ||
                                   e->type == DSV4_EVENT_TOOL_CALL));
    CHECK((e->token != nullptr) == (e->type == DSV4_EVENT_TOKEN));
    if (e->type == DSV4_EVENT_TOOL_ARGUMENTS) a.arguments += text;
    if (e->type == DSV4_EVENT_TOOL_CALL) a.calls.push_back({e->call->id, e->call->name, e->call->arguments});
    if (e->token != nullptr)
      a.tokens.push_back(
          {e->token->token, e->token->forced, e->token->logprob, {e->token->top, e->token->top + e->token->top_count}});
    if (e->type == DSV4_EVENT_DONE) {
      ++a.done;
      a.reason = e->reason;
      CHECK(e->stats != nullptr);
    }
    const size_t length = a.reasoning.size() + a.content.size();
    if (a.cancel_here != nullptr && length > 0) dsv4_session_cancel(a.cancel_here);
    return length > a.reply_after ? a.reply : DSV4_CONTINUE;
  }
};

inline dsv4_generate_options greedy(int32_t reasoning = DSV4_REASONING_DEFAULT) {
  dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
  o.temperature = 0;
  o.reasoning = reasoning;
  o.max_tokens = 200;
  return o;
}

inline dsv4_status ask(SessionHandle& s, Answer& a, const dsv4_generate_options& o,
                       dsv4_generate_stats* stats = nullptr, dsv4_error** error = nullptr) {
  return dsv4_session_generate(s.get, &o, Answer::on_event, &a, stats, error);
}

}  // namespace dsv4::api_test
