// Session: one timeline of tokens, the turns on it, its forks and snapshots. One call at a time; cancel from anywhere.
#pragma once

#include <dsv4.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <dsv4/conversation.hpp>
#include <dsv4/event.hpp>
#include <dsv4/model.hpp>
#include <dsv4/options.hpp>
#include <dsv4/result.hpp>
#include <dsv4/snapshot.hpp>
#include <dsv4/stream.hpp>
#include <dsv4/types.hpp>

namespace dsv4 {

// Ends the call that is running on a session, from any thread. May be copied, and may outlive the session.
class Canceller {
 public:
  Canceller() = default;

  void cancel() const noexcept {
    if (const auto handle = handle_.lock()) dsv4_session_cancel(handle->session);
  }

 private:
  friend class Session;
  explicit Canceller(std::weak_ptr<detail::SessionHandle> handle) noexcept : handle_(std::move(handle)) {}

  std::weak_ptr<detail::SessionHandle> handle_;
};

class Session {
 public:
  static Result<Session> create(const Model& model, const SessionOptions& options = {}) {
    auto handle = detail::filled<dsv4_session*>([&](auto** session, auto** error) {
      return dsv4_session_create(model.handle(), &options.c(), session, error);
    });
    if (!handle) return handle.error();
    return adopt(*handle, model);
  }
  // Takes over a C handle.
  static Session adopt(dsv4_session* session, Model model) {
    return Session(std::make_shared<detail::SessionHandle>(session, std::move(model)));
  }

  Session(Session&&) noexcept = default;
  Session& operator=(Session&&) noexcept = default;

  const Model& model() const noexcept { return handle_->model; }
  dsv4_session* handle() const noexcept { return handle_->session; }

  // ---- by messages: append, generate, append ... The answer joins the conversation by itself.

  Result<void> append(Role role, std::string_view text) {
    return detail::checked([&](auto** error) {
      return dsv4_session_append_message(handle(), static_cast<std::int32_t>(role), text.data(), text.size(), error);
    });
  }
  Result<void> append_tool_result(const std::string& call_id, std::string_view text) {
    return detail::checked([&](auto** error) {
      return dsv4_session_append_tool_result(handle(), call_id.c_str(), text.data(), text.size(), error);
    });
  }
  // One message (a JSON object) or several (a list).
  Result<void> append_json(std::string_view json) {
    return detail::checked(
        [&](auto** error) { return dsv4_session_append_json(handle(), json.data(), json.size(), error); });
  }
  Result<void> set_conversation(const Conversation& conversation) {
    return detail::checked(
        [&](auto** error) { return dsv4_session_set_conversation(handle(), conversation.handle(), error); });
  }
  // A copy, the session's answers with their exact token ids.
  Result<Conversation> conversation() const {
    auto copy = detail::filled<dsv4_conversation*>(
        [&](auto** conversation, auto** error) { return dsv4_session_conversation(handle(), conversation, error); });
    if (!copy) return copy.error();
    return Conversation::adopt(*copy);
  }

  // ---- by tokens

  Result<void> append_tokens(TokenSpan ids) {
    return detail::checked(
        [&](auto** error) { return dsv4_session_append_tokens(handle(), ids.data(), ids.size(), error); });
  }
  // The timeline becomes exactly these ids.
  Result<void> sync_tokens(TokenSpan ids) {
    return detail::checked(
        [&](auto** error) { return dsv4_session_sync_tokens(handle(), ids.data(), ids.size(), error); });
  }
  // Forgets all from `position` on.
  Result<void> rewind(std::uint64_t position) {
    return detail::checked([&](auto** error) { return dsv4_session_rewind(handle(), position, error); });
  }
  // Appends ids and evaluates all that waits. Without ids: the prompt of the conversation as it stands.
  Result<void> eval(TokenSpan ids = {}, const EvalOptions& options = {}) {
    dsv4_eval_options c = DSV4_EVAL_OPTIONS_INIT;
    ProgressCall progress{&options.progress(), {}};
    if (options.logits() != nullptr || options.draft_logits() != nullptr) {
      auto info = model().info();
      if (!info) return info.error();
      const std::size_t size = ids.size() * static_cast<std::size_t>(info->vocab);
      c.logits = room(options.logits(), size);
      c.draft_logits = room(options.draft_logits(), size);
    }
    if (options.progress()) {
      c.progress = ProgressCall::call;
      c.progress_user = &progress;
    }
    auto done =
        detail::checked([&](auto** error) { return dsv4_session_eval(handle(), ids.data(), ids.size(), &c, error); });
    progress.caught.rethrow();
    return done;
  }
  // What follows the newest evaluated token.
  Result<std::vector<float>> logits() const {
    return detail::collected<std::vector<float>>(
        [&](float* logits, std::size_t capacity, std::size_t* count, auto** error) {
          return dsv4_session_logits(handle(), logits, capacity, count, error);
        });
  }
  // Synthetic models only: as if `position` tokens had been evaluated.
  Result<void> pretend(std::uint64_t position) {
    return detail::checked([&](auto** error) { return dsv4_session_pretend(handle(), position, error); });
  }

  // ---- both

  Result<Tokens> tokens() const {
    return detail::collected<Tokens>([&](auto* ids, std::size_t capacity, std::size_t* count, auto** error) {
      return dsv4_session_tokens(handle(), ids, capacity, count, error);
    });
  }
  Result<SessionInfo> info() const {
    return detail::filled<SessionInfo>(
        [&](auto* info, auto** error) { return dsv4_session_info_get(handle(), info, error); });
  }
  Result<Session> fork() const {
    auto fork = detail::filled<dsv4_session*>(
        [&](auto** session, auto** error) { return dsv4_session_fork(handle(), session, error); });
    if (!fork) return fork.error();
    return adopt(*fork, model());
  }
  Result<void> clear() {
    return detail::checked([&](auto** error) { return dsv4_session_clear(handle(), error); });
  }

  // ---- turns

  // Until the turn ends. `on_event` takes a const Event& and returns an Answer or nothing; it runs on this thread and
  // may not use this session, but for a Canceller. What it throws takes the turn back.
  template <class F>
  Result<GenerateStats> generate(const GenerateOptions& options, F&& on_event) {
    detail::EventCall<std::remove_reference_t<F>> call(on_event);
    LogitsCall logits{&options.logits(), {}};
    auto stats = detail::filled<GenerateStats>([&](auto* out, auto** error) {
      return with_c(options, &logits, [&](const dsv4_generate_options& c) {
        return dsv4_session_generate(handle(), &c, call.call, &call, out, error);
      });
    });
    call.rethrow();
    logits.caught.rethrow();
    return stats;
  }
  // The same as a range: for (const Event& event : session.generate(options)).
  // GenerateOptions::logits is unsupported here, as it would run on another thread.
  Stream generate(const GenerateOptions& options = {}) { return Stream(handle_, start(options)); }

  // For hosts with a main loop: start, then poll until the event done. What the callback answers takes effect at the
  // next event that is generated; after one that threw, poll on to the end of the turn.
  Result<void> start(const GenerateOptions& options = {}) {
    LogitsCall logits{&options.logits(), {}};
    return detail::checked([&](auto** error) {
      return with_c(options, &logits,
                    [&](const dsv4_generate_options& c) { return dsv4_session_start(handle(), &c, error); });
    });
  }
  // How many events were handed over: at most `max_events`, after waiting for the first up to `timeout`.
  template <class F>
  Result<std::size_t> poll(F&& on_event, std::size_t max_events = std::numeric_limits<std::size_t>::max(),
                           std::chrono::milliseconds timeout = std::chrono::milliseconds(0)) {
    detail::EventCall<std::remove_reference_t<F>> call(on_event);
    auto count = detail::filled<std::size_t>([&](auto* delivered, auto** error) {
      return dsv4_session_poll(handle(), call.call, &call, max_events, milliseconds_of(timeout), delivered, error);
    });
    call.rethrow();
    return count;
  }

  Canceller canceller() const noexcept { return Canceller(handle_); }
  void cancel() const noexcept { dsv4_session_cancel(handle()); }

  // ---- snapshots: to and from a file, or a callable (snapshot.hpp, which also adapts std::ostream and std::istream)

  Result<void> save_path(const std::string& path, const SnapshotOptions& options = {}) const {
    return detail::checked(
        [&](auto** error) { return dsv4_session_save_path(handle(), path.c_str(), &options.c(), error); });
  }
  template <class Writer>
  Result<void> save(Writer&& writer, const SnapshotOptions& options = {}) const {
    detail::WriteCall<std::remove_reference_t<Writer>> call(writer);
    auto done = detail::checked(
        [&](auto** error) { return dsv4_session_save(handle(), call.call, &call, &options.c(), error); });
    call.rethrow();
    return done;
  }
  Result<void> restore_path(const std::string& path) {
    return detail::checked([&](auto** error) { return dsv4_session_restore_path(handle(), path.c_str(), error); });
  }
  template <class Reader>
  Result<void> restore(Reader&& reader) {
    detail::ReadCall<std::remove_reference_t<Reader>> call(reader);
    auto done = detail::checked([&](auto** error) { return dsv4_session_restore(handle(), call.call, &call, error); });
    call.rethrow();
    return done;
  }

 private:
  struct ProgressCall {
    static std::int32_t call(void* user, std::uint64_t done, std::uint64_t total) noexcept {
      auto& self = *static_cast<ProgressCall*>(user);
      return self.caught.run(std::int32_t{1}, [&]() -> std::int32_t { return (*self.progress)(done, total) ? 0 : 1; });
    }
    const ProgressFunction* progress;
    detail::Caught caught;
  };

  struct LogitsCall {
    static std::int32_t call(void* user, float* logits, std::size_t vocab) noexcept {
      auto& self = *static_cast<LogitsCall*>(user);
      return self.caught.run(std::int32_t{1}, [&]() -> std::int32_t { return (*self.edit)(logits, vocab) ? 0 : 1; });
    }
    const LogitsFunction* edit;
    detail::Caught caught;
  };

  explicit Session(std::shared_ptr<detail::SessionHandle> handle) noexcept : handle_(std::move(handle)) {}

  // call(C options), with all that they point to alive around it.
  template <class F>
  static dsv4_status with_c(const GenerateOptions& options, LogitsCall* logits, F&& call) {
    const std::vector<const char*> stops = detail::pointers_of(options.stop());
    dsv4_generate_options c = options.c();
    c.stop = stops.empty() ? nullptr : stops.data();
    c.stop_count = stops.size();
    if (options.logits()) {
      c.logits = LogitsCall::call;
      c.logits_user = logits;
    }
    return call(c);
  }

  static float* room(std::vector<float>* out, std::size_t size) {
    if (out == nullptr) return nullptr;
    out->assign(size, 0.0F);
    return out->data();
  }

  static std::uint32_t milliseconds_of(std::chrono::milliseconds time) noexcept {
    if (time.count() <= 0) return 0;
    constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
    return static_cast<std::uint32_t>(time.count() < kMost ? time.count() : kMost);
  }

  std::shared_ptr<detail::SessionHandle> handle_;
};

inline Result<Session> Model::new_session(const SessionOptions& options) const {
  return Session::create(*this, options);
}

}  // namespace dsv4
