// Event: one piece of what the model does, as the library hands it to a callback or a Stream.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <dsv4/types.hpp>

namespace dsv4 {

struct ToolCall {
  std::uint64_t index = 0;  // in the turn
  std::string id;           // what Session::append_tool_result refers to
  std::string name;
  std::string arguments;  // EventType::tool_call: a JSON object; else empty
};

struct TokenLogprob {
  std::int32_t token = 0;
  double logprob = 0;
};

struct TokenInfo {
  std::int32_t token = 0;
  bool forced = false;  // put there by the library, not drawn
  double logprob = 0;
  std::vector<TokenLogprob> top;  // the most probable, best first
};

// A view of the library's event: valid in the callback that gets it, or until a Stream goes on to the next one. What
// call(), token() and stats() return are copies.
class Event {
 public:
  explicit Event(const dsv4_event& event) noexcept : event_(&event) {}

  EventType type() const noexcept { return static_cast<EventType>(event_->type); }
  bool is(EventType type) const noexcept { return this->type() == type; }

  // Reasoning, content, warning, tool_arguments, malformed: the next piece, whole UTF-8 characters. Else empty.
  std::string_view text() const noexcept { return {event_->text, event_->text_length}; }
  // Prefill: `done` of `total` prompt tokens are evaluated.
  std::uint64_t done() const noexcept { return event_->done; }
  std::uint64_t total() const noexcept { return event_->total; }
  // Done: why, and what it took (zeros from a Parser).
  Done reason() const noexcept { return static_cast<Done>(event_->reason); }
  GenerateStats stats() const noexcept {
    GenerateStats stats;
    if (event_->stats != nullptr) static_cast<dsv4_generate_stats&>(stats) = *event_->stats;
    return stats;
  }
  // Tool_call_begin, tool_arguments, tool_call.
  ToolCall call() const {
    const dsv4_tool_call* call = event_->call;
    if (call == nullptr) return {};
    return {call->index, call->id, call->name, std::string(call->arguments, call->arguments_length)};
  }
  // Token.
  std::int32_t token_id() const noexcept { return event_->token != nullptr ? event_->token->token : -1; }
  TokenInfo token() const {
    TokenInfo info;
    if (event_->token == nullptr) return info;
    const dsv4_token_info& token = *event_->token;
    info.token = token.token;
    info.forced = token.forced != 0;
    info.logprob = token.logprob;
    for (std::size_t i = 0; i < token.top_count; ++i) info.top.push_back({token.top[i].token, token.top[i].logprob});
    return info;
  }

  const dsv4_event& c() const noexcept { return *event_; }

 private:
  const dsv4_event* event_;
};

namespace detail {

// A host's callable, which takes an Event and returns an Answer or nothing, behind dsv4_event_fn. If it throws, the
// turn is taken back and rethrow() throws again.
template <class F>
class EventCall {
 public:
  explicit EventCall(F& on_event) noexcept : on_event_(&on_event) {}

  static std::int32_t call(void* user, const dsv4_event* event) noexcept {
    auto& self = *static_cast<EventCall*>(user);
    return self.caught_.run(static_cast<std::int32_t>(DSV4_CANCEL), [&]() -> std::int32_t {
      if constexpr (std::is_void_v<std::invoke_result_t<F&, const Event&>>) {
        (*self.on_event_)(Event(*event));
        return DSV4_CONTINUE;
      } else {
        const Answer answer = (*self.on_event_)(Event(*event));
        return static_cast<std::int32_t>(answer);
      }
    });
  }

  void rethrow() { caught_.rethrow(); }

 private:
  F* on_event_;
  Caught caught_;
};

// An event with all that it points to, for a Stream, whose events outlive the callback.
class OwnedEvent {
 public:
  OwnedEvent() = default;
  OwnedEvent(const OwnedEvent&) = delete;
  OwnedEvent& operator=(const OwnedEvent&) = delete;

  void assign(const dsv4_event& event) {
    event_ = event;
    text_.assign(event.text, event.text_length);
    event_.text = text_.c_str();
    if (event.stats != nullptr) {
      stats_ = *event.stats;
      event_.stats = &stats_;
    }
    if (event.call != nullptr) assign_call(*event.call);
    if (event.token != nullptr) {
      token_ = *event.token;
      top_.assign(token_.top, token_.top + token_.top_count);
      token_.top = top_.data();
      event_.token = &token_;
    }
  }

  const dsv4_event& get() const noexcept { return event_; }

 private:
  void assign_call(const dsv4_tool_call& call) {
    call_ = call;
    id_ = call.id;
    name_ = call.name;
    arguments_.assign(call.arguments, call.arguments_length);
    call_.id = id_.c_str();
    call_.name = name_.c_str();
    call_.arguments = arguments_.c_str();
    event_.call = &call_;
  }

  dsv4_event event_{};
  dsv4_generate_stats stats_{};
  dsv4_tool_call call_{};
  dsv4_token_info token_{};
  std::vector<dsv4_token_logprob> top_;
  std::string text_, id_, name_, arguments_;
};

}  // namespace detail
}  // namespace dsv4
