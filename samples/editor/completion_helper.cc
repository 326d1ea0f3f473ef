// A completion helper of the kind editors spawn: one JSON object a line, requests on stdin, answers on stdout.
//   completion_helper samples/models/tiny [INSTRUCTION]
//
//   {"id": 1, "method": "complete", "prefix": "text before the cursor", "max_tokens": 32}
//   {"id": 1, "method": "cancel"}
//
//   {"id": 1, "text": "the next piece"}                                as it comes
//   {"id": 1, "done": "stop", "prompt_tokens": 40, "warm_tokens": 31}  last of a request
//   {"id": 1, "error": "what was wrong with it"}                       instead
//
// A new request ends the one before: people type faster than anything can answer. The end of the input ends the helper,
// when the last request is answered. One thread does everything.
#include <dsv4.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "line_input.h"

namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

double milliseconds_since(Clock::time_point t) {
  return std::chrono::duration<double, std::milli>(Clock::now() - t).count();
}

void check(dsv4_status status, dsv4_error* error) {
  if (status == DSV4_OK) return;
  const std::string text = std::string(dsv4_status_name(status)) + ": " + dsv4_error_message(error);
  dsv4_error_release(&error);
  throw std::runtime_error(text);
}

void answer(const Json& line) {
  // A model's text is UTF-8 by the library's promise; an error may quote what an editor sent, which need not be.
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// Two sessions. `document_` holds the prompt and nothing else, so that its state stays good for the next request; what
// is generated goes into a fork of it, which is then thrown away.
class Completer {
 public:
  Completer(const char* folder, std::string instruction, LineInput& input)
      : instruction_(std::move(instruction)), input_(input) {
    dsv4_error* error = nullptr;
    check(dsv4_model_open(folder, nullptr, &model_, &error), error);
    const dsv4_status status = dsv4_session_create(model_, nullptr, &document_, &error);
    if (status != DSV4_OK) dsv4_model_release(&model_);
    check(status, error);
  }
  ~Completer() {
    dsv4_session_release(&answer_);
    dsv4_session_release(&document_);
    dsv4_model_release(&model_);
  }
  Completer(const Completer&) = delete;
  Completer& operator=(const Completer&) = delete;

  bool busy() const { return answer_ != nullptr; }
  int64_t id() const { return id_; }

  void begin(const Json& request) {
    end();
    id_ = request.at("id").get<int64_t>();
    start_ = Clock::now();
    first_text_ms_ = 0;
    if (!evaluate(prompt_of(request.at("prefix").get<std::string>()))) {
      answer({{"id", id_}, {"done", dsv4_done_name(DSV4_DONE_CANCELLED)}});
      return;
    }
    dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
    options.temperature = 0;
    options.max_tokens = request.value("max_tokens", uint64_t{32});
    dsv4_error* error = nullptr;
    check(dsv4_session_fork(document_, &answer_, &error), error);
    const dsv4_status status = dsv4_session_start(answer_, &options, &error);
    if (status != DSV4_OK) dsv4_session_release(&answer_);
    check(status, error);
  }

  // Hands over what there is of the answer, and waits for the first of it no longer than `timeout_ms`.
  void step(uint32_t timeout_ms) {
    dsv4_error* error = nullptr;
    const dsv4_status status = dsv4_session_poll(answer_, on_event, this, 16, timeout_ms, nullptr, &error);
    if (done_ || status != DSV4_OK) dsv4_session_release(&answer_);
    done_ = false;
    if (status == DSV4_E_CANCELLED)
      dsv4_error_release(&error);  // as asked for, and DONE has said so
    else
      check(status, error);
  }

  void cancel(int64_t id) {
    if (busy() && id == id_) dsv4_session_cancel(answer_);
  }

 private:
  // Ends what is running, and hears it out.
  void end() {
    if (busy()) dsv4_session_cancel(answer_);
    while (busy()) step(1000);
  }

  std::vector<int32_t> prompt_of(const std::string& prefix) const {
    dsv4_render_options options = DSV4_RENDER_OPTIONS_INIT;
    options.reasoning = DSV4_REASONING_NONE;
    dsv4_conversation* prompt = nullptr;
    dsv4_error* error = nullptr;
    dsv4_status status = dsv4_conversation_create(&prompt, &error);
    if (status == DSV4_OK && !instruction_.empty())
      status = dsv4_conversation_add(prompt, DSV4_ROLE_SYSTEM, instruction_.data(), instruction_.size(), &error);
    if (status == DSV4_OK) status = dsv4_conversation_add(prompt, DSV4_ROLE_USER, prefix.data(), prefix.size(), &error);
    std::vector<int32_t> ids(prefix.size() + 256);  // mostly enough: a token is a byte at least
    size_t count = 0;
    if (status == DSV4_OK)
      status = dsv4_render_tokens(model_, prompt, &options, ids.data(), ids.size(), &count, &error);
    if (status == DSV4_OK && count > ids.size()) {
      ids.resize(count);
      status = dsv4_render_tokens(model_, prompt, &options, ids.data(), ids.size(), &count, &error);
    }
    dsv4_conversation_release(&prompt);
    check(status, error);
    ids.resize(count);
    return ids;
  }

  // Makes the document's session hold this prompt. What it shares with the one before stays; to go back over the few
  // tokens behind the old cursor costs nothing. False: a later request made this one pointless; what was evaluated of
  // it stays all the same.
  bool evaluate(const std::vector<int32_t>& prompt) {
    dsv4_eval_options options = DSV4_EVAL_OPTIONS_INIT;
    dsv4_error* error = nullptr;
    options.progress = on_progress;
    options.progress_user = this;
    prompt_tokens_ = prompt.size();
    evaluated_tokens_ = 0;
    check(dsv4_session_sync_tokens(document_, prompt.data(), prompt.size(), &error), error);
    const dsv4_status status = dsv4_session_eval(document_, nullptr, 0, &options, &error);
    if (status == DSV4_E_CANCELLED) {
      dsv4_error_release(&error);
      return false;
    }
    check(status, error);
    return true;
  }

  static int32_t on_progress(void* user, uint64_t, uint64_t total) {
    Completer& self = *static_cast<Completer*>(user);
    self.evaluated_tokens_ = total;
    self.input_.read(0);
    for (const std::string& line : self.input_.waiting()) {
      const Json request = Json::parse(line, nullptr, false);
      if (!request.is_object() || !request.contains("method")) continue;
      if (request["method"] == "complete" || (request["method"] == "cancel" && request.value("id", Json()) == self.id_))
        return 1;
    }
    return 0;
  }

  static int32_t on_event(void* user, const dsv4_event* event) {
    Completer& self = *static_cast<Completer*>(user);
    if (event->type == DSV4_EVENT_CONTENT) {
      if (self.first_text_ms_ == 0) self.first_text_ms_ = milliseconds_since(self.start_);
      answer({{"id", self.id_}, {"text", std::string(event->text, event->text_length)}});
    }
    if (event->type == DSV4_EVENT_DONE) self.done(event->reason);
    return DSV4_CONTINUE;
  }

  void done(int32_t reason) {
    done_ = true;
    const uint64_t warm = prompt_tokens_ - evaluated_tokens_;
    answer({{"id", id_}, {"done", dsv4_done_name(reason)}, {"prompt_tokens", prompt_tokens_}, {"warm_tokens", warm}});
    std::fprintf(
        stderr, "request %lld: prompt of %llu tokens, %llu of them warm; first text after %.1f ms, all after %.1f ms\n",
        static_cast<long long>(id_), static_cast<unsigned long long>(prompt_tokens_),
        static_cast<unsigned long long>(warm), first_text_ms_, milliseconds_since(start_));
  }

  const std::string instruction_;
  LineInput& input_;
  dsv4_model* model_ = nullptr;
  dsv4_session* document_ = nullptr;
  dsv4_session* answer_ = nullptr;  // while a request is being answered
  bool done_ = false;
  int64_t id_ = 0;
  uint64_t prompt_tokens_ = 0;
  uint64_t evaluated_tokens_ = 0;  // of them, for this request
  Clock::time_point start_;
  double first_text_ms_ = 0;
};

void handle(Completer& completer, const std::string& line) {
  Json id;  // null, until the request is understood that far
  try {
    const Json request = Json::parse(line);
    id = request.at("id");
    const std::string method = request.at("method").get<std::string>();
    if (method == "complete")
      completer.begin(request);
    else if (method == "cancel")
      completer.cancel(id.get<int64_t>());
    else
      throw std::runtime_error("unknown method " + method + "; there are: complete, cancel");
  } catch (const std::exception& e) {  // a broken request ends itself, not the helper
    answer({{"id", id}, {"error", e.what()}});
  }
}

void serve(Completer& completer, LineInput& input) {
  std::string line;
  while (input.is_open() || completer.busy()) {
    input.read(completer.busy() ? 0 : -1);
    while (input.next(line)) handle(completer, line);
    if (!completer.busy()) continue;
    try {
      completer.step(5);  // so long a cancel may have to wait to be read
    } catch (const std::exception& e) {
      answer({{"id", completer.id()}, {"error", e.what()}});
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: %s CHECKPOINT_FOLDER [INSTRUCTION]\n", argv[0]);
    return 2;
  }
  try {
    LineInput input;
    Completer completer(argv[1], argc == 3 ? argv[2] : "", input);
    serve(completer, input);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
