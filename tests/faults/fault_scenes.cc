#include "tests/faults/fault_scenes.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include "tests/faults/session_scene.h"

namespace dsv4::test {

const std::string kMicroFolder = DSV4_TEST_DATA "/golden/micro";
const std::string kTinyFolder = DSV4_SOURCE_DIR "/samples/models/tiny";

void need(dsv4_status status, dsv4_error* error) {
  INFO(dsv4_error_message(error));
  REQUIRE(status == DSV4_OK);
}

namespace {

const char* const kConversation = R"({"messages": [
  {"role": "system", "content": "You are a clerk.\nBe \"brief\"."},
  {"role": "user", "content": "What is the weather in Paris?"},
  {"role": "assistant", "content": "I look.", "tool_calls": [{"type": "function", "id": "c1", "function":
   {"name": "get_weather", "arguments": "{\"city\": \"Paris\", \"days\": [1, 2, {\"x\": null}]}"}}]},
  {"role": "tool", "tool_call_id": "c1", "content": "rain, 12.5 degrees"},
  {"role": "user", "content": "And in the evening, über the bridge?"}],
 "tools": [
  {"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city",
   "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
  {"type": "function", "function": {"name": "get_time", "description": "Get the time in a city",
   "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]})";

template <class T>
void put(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

int64_t vocab_of(dsv4_model* model) {
  dsv4_model_info info{};
  info.struct_size = sizeof info;
  dsv4_error* error = nullptr;
  need(dsv4_model_info_get(model, &info, &error), error);
  return info.vocab;
}

std::string tokens_of(dsv4_session* s) {
  size_t n = 0;
  REQUIRE(dsv4_session_tokens(s, nullptr, 0, &n, nullptr) == DSV4_OK);
  std::vector<int32_t> ids(n);
  REQUIRE(dsv4_session_tokens(s, ids.data(), n, &n, nullptr) == DSV4_OK);
  std::string out = std::to_string(n) + ":";
  for (const int32_t id : ids) put(out, id);
  return out;
}

std::string conversation_of(dsv4_session* s) {
  dsv4_conversation* c = nullptr;
  REQUIRE(dsv4_session_conversation(s, &c, nullptr) == DSV4_OK);
  size_t n = 0;
  REQUIRE(dsv4_conversation_json(c, nullptr, 0, &n, nullptr) == DSV4_OK);
  std::string out(n, '\0');
  REQUIRE(dsv4_conversation_json(c, out.data(), n, &n, nullptr) == DSV4_OK);
  dsv4_conversation_release(&c);
  return out;
}

std::string logits_of(dsv4_session* s) {
  size_t n = 0;
  dsv4_error* error = nullptr;
  need(dsv4_session_logits(s, nullptr, 0, &n, &error), error);
  std::string out(n * sizeof(float), '\0');
  REQUIRE(dsv4_session_logits(s, reinterpret_cast<float*>(out.data()), n, &n, nullptr) == DSV4_OK);
  return out;
}

// What the host's callback was told, as text.
struct Transcript {
  std::string text;
  int done = 0;

  static int32_t on_event(void* user, const dsv4_event* e) {
    const NoFaults mine;
    Transcript& t = *static_cast<Transcript*>(user);
    if (e->type == DSV4_EVENT_PREFILL) return DSV4_CONTINUE;  // after a fault there may be more to evaluate again
    t.text += std::to_string(e->type) + "|" + e->text + "|";
    if (e->call != nullptr) t.text += std::string(e->call->id) + e->call->name + e->call->arguments;
    if (e->token != nullptr) {
      put(t.text, e->token->token);
      put(t.text, e->token->logprob);
      for (size_t i = 0; i < e->token->top_count; ++i) put(t.text, e->token->top[i].logprob);
    }
    if (e->type == DSV4_EVENT_DONE) {
      ++t.done;
      t.text += std::to_string(e->reason) + " " + std::to_string(e->stats->generated_tokens);
    }
    t.text += "\n";
    return DSV4_CONTINUE;
  }
};

}  // namespace

std::string seen_of(dsv4_session* s) { return tokens_of(s) + conversation_of(s); }

std::string all_of(dsv4_session* s) {
  std::string out = seen_of(s);
  dsv4_session_info info{};
  info.struct_size = sizeof info;
  REQUIRE(dsv4_session_info_get(s, &info, nullptr) == DSV4_OK);
  if (info.tokens == 0) return out;
  dsv4_session* probe = nullptr;
  dsv4_error* error = nullptr;
  need(dsv4_session_fork(s, &probe, &error), error);
  if (dsv4_session_eval(probe, nullptr, 0, nullptr, nullptr) == DSV4_OK) {
    out += logits_of(probe);
  } else {  // driven by messages
    need(dsv4_session_append_message(probe, DSV4_ROLE_USER, "Go on.", DSV4_NUL_TERMINATED, &error), error);
    dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
    o.temperature = 0;
    o.max_tokens = 3;
    o.token_events = 1;
    o.top_logprobs = 5;
    Transcript told;
    need(dsv4_session_generate(probe, &o, Transcript::on_event, &told, nullptr, &error), error);
    out += told.text;
  }
  dsv4_session_release(&probe);
  return out;
}

namespace {

class OpenScene final : public Scene {
 public:
  OpenScene(std::string folder, std::string backend) : folder_(std::move(folder)), backend_(std::move(backend)) {}
  ~OpenScene() override { dsv4_model_release(&model_); }
  dsv4_status call(dsv4_error** error) override {
    dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
    o.backend = backend_.c_str();
    o.threads = 2;
    return dsv4_model_open(folder_.c_str(), &o, &model_, error);
  }
  std::string before() override { return model_ == nullptr ? "none" : "there"; }
  std::string after() override {
    dsv4_model_info info{};
    info.struct_size = sizeof info;
    REQUIRE(dsv4_model_info_get(model_, &info, nullptr) == DSV4_OK);
    std::string out = std::string(info.backend) + info.notes + std::to_string(info.has_tokenizer);
    put(out, info.fingerprint);
    dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
    o.context = 64;
    dsv4_session* s = nullptr;
    REQUIRE(dsv4_session_create(model_, &o, &s, nullptr) == DSV4_OK);
    const std::vector<int32_t> ids = some_ids(5, 1);
    REQUIRE(dsv4_session_eval(s, ids.data(), ids.size(), nullptr, nullptr) == DSV4_OK);
    out += logits_of(s);
    dsv4_session_release(&s);
    if (info.has_tokenizer == 0) return out;
    const char* const text = "The bridge, über all: 12345 <｜User｜> it's\n\n  done";
    int32_t found[64];
    size_t n = 0;
    REQUIRE(dsv4_tokenize(model_, text, DSV4_NUL_TERMINATED, 0, found, 64, &n, nullptr) == DSV4_OK);
    for (size_t i = 0; i < n; ++i) put(out, found[i]);
    return out;
  }

 private:
  std::string folder_, backend_;
  dsv4_model* model_ = nullptr;
};

class CreateScene final : public Scene {
 public:
  explicit CreateScene(const Stage* stage) : stage_(*stage) {}
  ~CreateScene() override { dsv4_session_release(&session_); }
  dsv4_status call(dsv4_error** error) override {
    dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
    o.context = kContext;
    return dsv4_session_create(stage_.model(), &o, &session_, error);
  }
  std::string before() override { return session_ == nullptr ? "none" : "there"; }
  std::string after() override {
    const std::vector<int32_t> ids = some_ids(9, 2);
    REQUIRE(dsv4_session_eval(session_, ids.data(), ids.size(), nullptr, nullptr) == DSV4_OK);
    return all_of(session_);
  }

 private:
  const Stage& stage_;
  dsv4_session* session_ = nullptr;
};

// One call on a forked session.
class CallScene final : public SessionScene {
 public:
  using Call = std::function<dsv4_status(dsv4_session*, dsv4_error**)>;
  CallScene(const Stage* stage, dsv4_session* from, Call call) : SessionScene(*stage, from), call_(std::move(call)) {}
  dsv4_status call(dsv4_error** error) override { return call_(session_, error); }

 private:
  Call call_;
};

// Its ids arrive in several chunks: a call that fails keeps those that were evaluated, and made again it brings the rest.
class EvalScene final : public SessionScene {
 public:
  EvalScene(const Stage* stage, dsv4_session* from, int64_t tokens, bool rows)
      : SessionScene(*stage, from), ids_(some_ids(tokens, 3)), start_(size()), rows_wanted_(rows) {
    if (rows) rows_.resize(ids_.size() * static_cast<size_t>(vocab_of(stage->model())));
    if (start_ != 0) logits_ = logits_of(session_);
  }
  dsv4_status call(dsv4_error** error) override {
    const size_t done = kept();
    dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
    o.logits = rows_wanted_ ? rows_.data() + done * (rows_.size() / ids_.size()) : nullptr;
    const dsv4_status status = dsv4_session_eval(session_, ids_.data() + done, ids_.size() - done, &o, error);
    if (status != DSV4_OK) check_place();
    return status;
  }
  std::string before() override { return ""; }
  std::string after() override {
    std::string out = all_of(session_);
    return out.append(reinterpret_cast<const char*>(rows_.data()), rows_.size() * sizeof(float));
  }

 private:
  size_t size() const {
    size_t n = 0;
    const NoFaults mine;
    REQUIRE(dsv4_session_tokens(session_, nullptr, 0, &n, nullptr) == DSV4_OK);
    return n;
  }
  size_t kept() const { return size() - start_; }
  // At the last committed token, and if that is the one before the call, with its logits.
  void check_place() const {
    const NoFaults mine;
    CHECK(kept() < ids_.size());
    std::vector<int32_t> now(size());
    size_t n = 0;
    REQUIRE(dsv4_session_tokens(session_, now.data(), now.size(), &n, nullptr) == DSV4_OK);
    CHECK(std::equal(now.begin() + static_cast<std::ptrdiff_t>(start_), now.end(), ids_.begin()));
    dsv4_session_info info{};
    info.struct_size = sizeof info;
    REQUIRE(dsv4_session_info_get(session_, &info, nullptr) == DSV4_OK);
    CHECK(info.evaluated == info.tokens);
    if (start_ != 0 && kept() == 0) CHECK(logits_of(session_) == logits_);
  }

  std::vector<int32_t> ids_;
  size_t start_;
  bool rows_wanted_;
  std::vector<float> rows_;
  std::string logits_;
};

class FirstEvalScene final : public Scene {
 public:
  FirstEvalScene(const std::string& folder, int64_t tokens)
      : stage_(open_model(folder, "cpu")), session_(stage_.create(kContext)), ids_(some_ids(tokens, 6)) {}
  ~FirstEvalScene() override { dsv4_session_release(&session_); }
  dsv4_status call(dsv4_error** error) override {
    return dsv4_session_eval(session_, ids_.data(), ids_.size(), nullptr, error);
  }
  std::string before() override { return seen_of(session_); }
  std::string after() override { return all_of(session_); }

 private:
  Stage stage_;
  dsv4_session* session_;
  std::vector<int32_t> ids_;
};

class GenerateScene final : public SessionScene {
 public:
  GenerateScene(const Stage* stage, dsv4_session* from, std::function<void(dsv4_generate_options&)> set, bool poll)
      : SessionScene(*stage, from), set_(std::move(set)), poll_(poll) {}
  dsv4_status call(dsv4_error** error) override {
    told_ = {};
    dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
    o.seed = 11;
    o.token_events = 1;
    o.top_logprobs = 3;
    set_(o);
    if (!poll_) {
      dsv4_generate_stats stats{};
      stats.struct_size = sizeof stats;
      return dsv4_session_generate(session_, &o, Transcript::on_event, &told_, &stats, error);
    }
    const dsv4_status started = dsv4_session_start(session_, &o, error);
    return started == DSV4_OK ? poll_all(error) : started;
  }
  std::string after() override {
    CHECK(told_.done == 1);
    return all_of(session_) + told_.text;
  }

 private:
  bool is_busy() const {
    const NoFaults mine;
    size_t n = 0;
    return dsv4_session_tokens(session_, nullptr, 0, &n, nullptr) == DSV4_E_BUSY;
  }
  // As long as the session is busy the generation goes on, and poll may be tried again: no event is lost by that. The
  // host of this scene gets some memory then.
  dsv4_status poll_all(dsv4_error** error) {
    dsv4_status status = DSV4_OK;
    std::optional<NoFaults> relief;
    while (is_busy()) {
      dsv4_error_release(error);
      status = dsv4_session_poll(session_, Transcript::on_event, &told_, 2, 1000, nullptr, error);
      if (status != DSV4_OK && !relief) relief.emplace();
    }
    const NoFaults mine;
    CHECK((told_.done == 0) == (status != DSV4_OK));  // DONE or an error, never both
    return status;
  }

  std::function<void(dsv4_generate_options&)> set_;
  bool poll_;
  Transcript told_;
};

class ForkScene final : public SessionScene {
 public:
  ForkScene(const Stage* stage, dsv4_session* from) : SessionScene(*stage, from) {}
  ~ForkScene() override { dsv4_session_release(&fork_); }
  dsv4_status call(dsv4_error** error) override { return dsv4_session_fork(session_, &fork_, error); }
  std::string after() override { return all_of(session_) + all_of(fork_); }

 private:
  dsv4_session* fork_ = nullptr;
};

}  // namespace

std::vector<int32_t> some_ids(int64_t count, uint32_t seed) {
  std::vector<int32_t> ids;
  uint32_t x = seed * 2654435761u + 12345u;
  for (int64_t i = 0; i < count; ++i) {
    x = x * 1664525u + 1013904223u;
    ids.push_back(static_cast<int32_t>(5 + (x >> 8) % 90));
  }
  return ids;
}

dsv4_model* open_model(const std::string& folder, const char* backend, int32_t threads) {
  dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
  o.backend = backend;
  o.threads = threads;
  dsv4_model* model = nullptr;
  dsv4_error* error = nullptr;
  need(dsv4_model_open(folder.c_str(), &o, &model, &error), error);
  return model;
}

Stage::Stage(dsv4_model* model) : model_(model) {}
Stage::~Stage() { dsv4_model_release(&model_); }

dsv4_session* Stage::create(uint64_t context, int32_t chunk) const {
  dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
  o.context = context;
  o.prefill_chunk = chunk;
  dsv4_session* s = nullptr;
  dsv4_error* error = nullptr;
  need(dsv4_session_create(model_, &o, &s, &error), error);
  return s;
}

dsv4_session* Stage::fork(dsv4_session* other) const {
  dsv4_session* s = nullptr;
  dsv4_error* error = nullptr;
  need(dsv4_session_fork(other, &s, &error), error);
  return s;
}

dsv4_session* Stage::evaluated(int64_t tokens, int32_t chunk) const {
  dsv4_session* s = create(kContext, chunk);
  const std::vector<int32_t> ids = some_ids(tokens, 4);
  dsv4_error* error = nullptr;
  need(dsv4_session_eval(s, ids.data(), ids.size(), nullptr, &error), error);
  return s;
}

dsv4_session* Stage::interrupted() const {
  dsv4_session* s = create(kContext, 1);
  dsv4_conversation* c = nullptr;
  dsv4_error* error = nullptr;
  need(dsv4_conversation_from_json(kConversation, DSV4_NUL_TERMINATED, &c, &error), error);
  need(dsv4_session_set_conversation(s, c, &error), error);
  dsv4_conversation_release(&c);
  dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
  o.seed = 7;
  o.max_tokens = 6;
  need(dsv4_session_generate(s, &o, nullptr, nullptr, nullptr, &error), error);
  return s;
}

dsv4_session* Stage::conversed() const {
  dsv4_session* s = interrupted();
  dsv4_error* error = nullptr;
  const char* const next = "What is the time in Rome?";
  need(dsv4_session_append_message(s, DSV4_ROLE_USER, next, DSV4_NUL_TERMINATED, &error), error);
  return s;
}

MakeScene open_scene(const std::string& folder, const char* backend) {
  return maker<OpenScene>(folder, std::string(backend));
}

MakeScene create_scene(const Stage& stage) { return maker<CreateScene>(&stage); }

MakeScene append_tokens_scene(const Stage& stage, dsv4_session* from) {
  const auto call = [ids = some_ids(200, 5)](dsv4_session* s, dsv4_error** error) {
    return dsv4_session_append_tokens(s, ids.data(), ids.size(), error);
  };
  return maker<CallScene>(&stage, from, CallScene::Call(call));
}

MakeScene append_message_scene(const Stage& stage, dsv4_session* from) {
  const auto call = [](dsv4_session* s, dsv4_error** error) {
    return dsv4_session_append_message(s, DSV4_ROLE_USER, "A message that is longer than any string keeps in itself",
                                       DSV4_NUL_TERMINATED, error);
  };
  return maker<CallScene>(&stage, from, CallScene::Call(call));
}

MakeScene append_json_scene(const Stage& stage, dsv4_session* from) {
  const auto call = [](dsv4_session* s, dsv4_error** error) {
    const char* const json = R"([{"role": "user", "content": "Once more, with numbers: 1.50"},
      {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "some-long-identifier-of-a-call",
       "function": {"name": "get_time", "arguments": "{\"city\": [1, 2.50, {\"a\": \"b\", \"a\": true}]}"}}]},
      {"role": "tool", "tool_call_id": "some-long-identifier-of-a-call", "content": "it is five past twelve there"}])";
    return dsv4_session_append_json(s, json, DSV4_NUL_TERMINATED, error);
  };
  return maker<CallScene>(&stage, from, CallScene::Call(call));
}

MakeScene set_conversation_scene(const Stage& stage, dsv4_session* from) {
  // The host's copy, without tokens: the session recognises its own answer.
  std::string json = conversation_of(from);
  const auto call = [json = std::move(json)](dsv4_session* s, dsv4_error** error) {
    dsv4_conversation* c = nullptr;
    dsv4_status status = dsv4_conversation_from_json(json.data(), json.size(), &c, error);
    if (status == DSV4_OK) status = dsv4_session_set_conversation(s, c, error);
    dsv4_conversation_release(&c);
    return status;
  };
  return maker<CallScene>(&stage, from, CallScene::Call(call));
}

MakeScene eval_scene(const Stage& stage, dsv4_session* from, int64_t tokens, bool rows) {
  return maker<EvalScene>(&stage, from, tokens, rows);
}

MakeScene first_eval_scene(const std::string& folder, int64_t tokens) {
  return maker<FirstEvalScene>(folder, tokens);
}

namespace {

std::function<void(dsv4_generate_options&)> token_options(uint64_t tokens) {
  return [tokens](dsv4_generate_options& o) {
    static const dsv4_logit_bias bias[] = {{7, 1.5f}, {9, -2.0f}};
    o.max_tokens = tokens;
    o.top_k = 40;
    o.top_p = 0.95;
    o.min_p = 0.01;
    o.repetition_penalty = 1.1;
    o.frequency_penalty = 0.2;
    o.penalty_window = 24;
    o.logit_bias = bias;
    o.logit_bias_count = 2;
  };
}

}  // namespace

MakeScene generate_tokens_scene(const Stage& stage, dsv4_session* from, uint64_t tokens) {
  return maker<GenerateScene>(&stage, from, token_options(tokens), false);
}

MakeScene poll_tokens_scene(const Stage& stage, dsv4_session* from, uint64_t tokens) {
  return maker<GenerateScene>(&stage, from, token_options(tokens), true);
}

MakeScene generate_messages_scene(const Stage& stage, dsv4_session* from, Say say, bool poll) {
  const auto set = [say](dsv4_generate_options& o) {
    static const char* const stops[] = {"a stop string that never comes", "another\none"};
    o.max_tokens = say == Say::kTools ? 40 : 12;
    o.temperature = 0;
    o.stop = stops;
    o.stop_count = 2;
    o.reasoning = DSV4_REASONING_NONE;
    if (say == Say::kConstrained) o.tool_choice = DSV4_TOOL_CHOICE_REQUIRED;
  };
  return maker<GenerateScene>(&stage, from, std::function<void(dsv4_generate_options&)>(set), poll);
}

MakeScene resume_scene(const Stage& stage, dsv4_session* from) {
  const auto set = [](dsv4_generate_options& o) {
    const dsv4_generate_options defaults = DSV4_GENERATE_OPTIONS_INIT;
    o = defaults;
    o.resume = 1;
    o.max_tokens = 14;
  };
  return maker<GenerateScene>(&stage, from, std::function<void(dsv4_generate_options&)>(set), false);
}

MakeScene fork_scene(const Stage& stage, dsv4_session* from) { return maker<ForkScene>(&stage, from); }

MakeScene rewind_scene(const Stage& stage, dsv4_session* from, uint64_t position) {
  const auto call = [position](dsv4_session* s, dsv4_error** error) {
    return dsv4_session_rewind(s, position, error);
  };
  return maker<CallScene>(&stage, from, CallScene::Call(call));
}

}  // namespace dsv4::test
