// Parser: the reader of model output that generate uses, for hosts that draw tokens themselves.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dsv4/event.hpp>
#include <dsv4/model.hpp>
#include <dsv4/options.hpp>
#include <dsv4/result.hpp>

namespace dsv4 {

class Parser {
 public:
  // Runs inside push and finish.
  using EventFunction = std::function<void(const Event& event)>;

  // For text only.
  static Result<Parser> create(EventFunction on_event, const ParserOptions& options = {}) {
    return made(nullptr, std::move(on_event), options);
  }
  // For tokens of this model too.
  static Result<Parser> create(const Model& model, EventFunction on_event, const ParserOptions& options = {}) {
    return made(model.handle(), std::move(on_event), options);
  }

  Result<void> push_text(std::string_view text) {
    return called([&](auto** error) { return dsv4_parser_push_text(handle(), text.data(), text.size(), error); });
  }
  Result<void> push_tokens(TokenSpan ids) {
    return called([&](auto** error) { return dsv4_parser_push_tokens(handle(), ids.data(), ids.size(), error); });
  }
  // The output ends: Done::stop as if the model had ended its turn, length, host or cancelled.
  Result<void> finish(Done reason = Done::stop) {
    return called([&](auto** error) { return dsv4_parser_finish(handle(), static_cast<std::int32_t>(reason), error); });
  }
  // The assistant message so far.
  Result<std::string> message_json() const {
    return detail::collected<std::string>([&](char* text, std::size_t capacity, std::size_t* length, auto** error) {
      return dsv4_parser_message_json(handle(), text, capacity, length, error);
    });
  }

  dsv4_parser* handle() const noexcept { return state_->parser; }

 private:
  // Stays where it is: the library holds its address.
  struct State {
    explicit State(EventFunction function) : on_event(std::move(function)), call(on_event) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { dsv4_parser_release(&parser); }

    EventFunction on_event;
    detail::EventCall<EventFunction> call;
    dsv4_parser* parser = nullptr;
  };

  explicit Parser(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

  static Result<Parser> made(dsv4_model* model, EventFunction on_event, const ParserOptions& options) {
    if (!on_event) on_event = [](const Event&) {};
    auto state = std::make_unique<State>(std::move(on_event));
    const std::vector<const char*> stops = detail::pointers_of(options.stop());
    dsv4_parser_options c = DSV4_PARSER_OPTIONS_INIT;
    c.start = static_cast<std::int32_t>(options.start());
    c.stop = stops.empty() ? nullptr : stops.data();
    c.stop_count = stops.size();
    auto done = detail::checked([&](auto** error) {
      return dsv4_parser_create(model, &c, state->call.call, &state->call, &state->parser, error);
    });
    if (!done) return done.error();
    return Parser(std::move(state));
  }

  template <class F>
  Result<void> called(F&& push) {
    auto done = detail::checked(std::forward<F>(push));
    state_->call.rethrow();
    return done;
  }

  std::unique_ptr<State> state_;
};

}  // namespace dsv4
