// The header's enums as scoped ones, its result structs with their size set, and a view of token ids.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <dsv4/result.hpp>

namespace dsv4 {

enum class Profile : std::int32_t {
  automatic = DSV4_PROFILE_AUTO,
  preview = DSV4_PROFILE_PREVIEW,
  v0731 = DSV4_PROFILE_0731
};

enum class LogLevel : std::int32_t {
  debug = DSV4_LOG_DEBUG,
  info = DSV4_LOG_INFO,
  warning = DSV4_LOG_WARNING,
  error = DSV4_LOG_ERROR
};

enum class Reasoning : std::int32_t {
  by_default = DSV4_REASONING_DEFAULT,
  none = DSV4_REASONING_NONE,
  low = DSV4_REASONING_LOW,
  high = DSV4_REASONING_HIGH,
  max = DSV4_REASONING_MAX
};

enum class Role : std::int32_t {
  system = DSV4_ROLE_SYSTEM,
  user = DSV4_ROLE_USER,
  assistant = DSV4_ROLE_ASSISTANT,
  tool = DSV4_ROLE_TOOL,
  developer = DSV4_ROLE_DEVELOPER,
  latest_reminder = DSV4_ROLE_LATEST_REMINDER
};

enum class Driven : std::int32_t {
  not_yet = DSV4_DRIVEN_NOT_YET,
  by_messages = DSV4_DRIVEN_BY_MESSAGES,
  by_tokens = DSV4_DRIVEN_BY_TOKENS
};

enum class EventType : std::int32_t {
  prefill = DSV4_EVENT_PREFILL,
  reasoning = DSV4_EVENT_REASONING,
  content = DSV4_EVENT_CONTENT,
  warning = DSV4_EVENT_WARNING,
  done = DSV4_EVENT_DONE,
  tool_call_begin = DSV4_EVENT_TOOL_CALL_BEGIN,
  tool_arguments = DSV4_EVENT_TOOL_ARGUMENTS,
  tool_call = DSV4_EVENT_TOOL_CALL,
  malformed = DSV4_EVENT_MALFORMED,
  token = DSV4_EVENT_TOKEN
};

enum class Done : std::int32_t {
  none = DSV4_DONE_NONE,
  stop = DSV4_DONE_STOP,
  stop_string = DSV4_DONE_STOP_STRING,
  length = DSV4_DONE_LENGTH,
  host = DSV4_DONE_HOST,
  cancelled = DSV4_DONE_CANCELLED,
  tool_calls = DSV4_DONE_TOOL_CALLS,
  malformed = DSV4_DONE_MALFORMED,
  paused = DSV4_DONE_PAUSED
};

inline const char* done_name(Done reason) noexcept { return dsv4_done_name(static_cast<std::int32_t>(reason)); }

// What a callback answers to an event.
enum class Answer : std::int32_t {
  go_on = DSV4_CONTINUE,
  stop = DSV4_STOP,         // end here and keep what was generated
  take_back = DSV4_CANCEL,  // end here; the timeline is as it was before the call
  pause = DSV4_PAUSE        // end this call here; GenerateOptions::resume goes on
};

enum class ToolChoice : std::int32_t {
  by_default = DSV4_TOOL_CHOICE_DEFAULT,
  automatic = DSV4_TOOL_CHOICE_AUTO,
  none = DSV4_TOOL_CHOICE_NONE,
  required = DSV4_TOOL_CHOICE_REQUIRED,
  named = DSV4_TOOL_CHOICE_NAMED
};

enum class Start : std::int32_t {
  content = DSV4_START_CONTENT,
  reasoning = DSV4_START_REASONING,
  tool_calls = DSV4_START_TOOL_CALLS
};

namespace detail {

// A struct of the C header that says how large it is.
template <class T>
struct Sized : T {
  Sized() noexcept : T{} { this->struct_size = sizeof(T); }
};

}  // namespace detail

// The fields are those of dsv4.h, with its comments. Strings in them live as long as is said there.
using BuildInfo = detail::Sized<dsv4_build_info>;
using ModelInfo = detail::Sized<dsv4_model_info>;
using LayerInfo = detail::Sized<dsv4_layer_info>;
using Estimate = detail::Sized<dsv4_estimate>;
using VerbTime = detail::Sized<dsv4_verb_time>;
using SessionInfo = detail::Sized<dsv4_session_info>;
using SnapshotInfo = detail::Sized<dsv4_snapshot_info>;
struct GenerateStats : detail::Sized<dsv4_generate_stats> {
  bool is(Done why) const noexcept { return reason == static_cast<std::int32_t>(why); }
};

inline bool has_reasoning(const ModelInfo& info, Reasoning mode) noexcept {
  return (info.reasoning_modes >> static_cast<std::uint32_t>(mode) & 1U) != 0;
}

inline std::uint32_t version() noexcept { return dsv4_version(); }

inline Result<BuildInfo> build_info() {
  return detail::filled<BuildInfo>([](auto* info, auto** error) { return dsv4_build_info_get(info, error); });
}

using Tokens = std::vector<std::int32_t>;

// Somebody else's token ids, for the length of a call.
class TokenSpan {
 public:
  TokenSpan() = default;
  TokenSpan(const std::int32_t* data, std::size_t size) noexcept : data_(data), size_(size) {}
  TokenSpan(const Tokens& ids) noexcept
      : data_(ids.data()), size_(ids.size()) {}  // NOLINT(google-explicit-constructor)

  const std::int32_t* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const std::int32_t* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace dsv4
