// Conversation: messages, tools, and what else belongs to a request. Not tied to a model.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <dsv4/result.hpp>
#include <dsv4/types.hpp>

namespace dsv4 {

class Conversation {
 public:
  static Result<Conversation> create() {
    return made([](auto** conversation, auto** error) { return dsv4_conversation_create(conversation, error); });
  }
  // OpenAI-shaped JSON: a list of messages, or an object with `messages`, `tools`, `tool_choice`, `response_format` ...
  static Result<Conversation> from_json(std::string_view json) {
    return made([&](auto** conversation, auto** error) {
      return dsv4_conversation_from_json(json.data(), json.size(), conversation, error);
    });
  }
  // Takes over a C handle.
  static Conversation adopt(dsv4_conversation* conversation) noexcept { return Conversation(conversation); }

  Result<void> add(Role role, std::string_view text) {
    return detail::checked([&](auto** error) {
      return dsv4_conversation_add(handle(), static_cast<std::int32_t>(role), text.data(), text.size(), error);
    });
  }
  Result<void> add_tool_result(const std::string& call_id, std::string_view text) {
    return detail::checked([&](auto** error) {
      return dsv4_conversation_add_tool_result(handle(), call_id.c_str(), text.data(), text.size(), error);
    });
  }
  // One message (a JSON object) or several (a list).
  Result<void> append_json(std::string_view json) {
    return detail::checked(
        [&](auto** error) { return dsv4_conversation_append_json(handle(), json.data(), json.size(), error); });
  }

  Result<std::size_t> count() const {
    return detail::filled<std::size_t>(
        [&](auto* count, auto** error) { return dsv4_conversation_count(handle(), count, error); });
  }
  Result<std::string> message_json(std::size_t index) const {
    return detail::collected<std::string>([&](char* text, std::size_t capacity, std::size_t* length, auto** error) {
      return dsv4_conversation_message_json(handle(), index, text, capacity, length, error);
    });
  }
  Result<std::string> json() const {
    return detail::collected<std::string>([&](char* text, std::size_t capacity, std::size_t* length, auto** error) {
      return dsv4_conversation_json(handle(), text, capacity, length, error);
    });
  }

  dsv4_conversation* handle() const noexcept { return handle_.get(); }

 private:
  struct Release {
    void operator()(dsv4_conversation* conversation) const noexcept { dsv4_conversation_release(&conversation); }
  };

  explicit Conversation(dsv4_conversation* conversation) noexcept : handle_(conversation) {}

  template <class F>
  static Result<Conversation> made(F&& make) {
    auto handle = detail::filled<dsv4_conversation*>(std::forward<F>(make));
    if (!handle) return handle.error();
    return Conversation(*handle);
  }

  std::unique_ptr<dsv4_conversation, Release> handle_;
};

}  // namespace dsv4
