// Stream: the events of a turn that runs in the background, as a range.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include <dsv4/event.hpp>
#include <dsv4/model.hpp>
#include <dsv4/result.hpp>

namespace dsv4 {
namespace detail {

// A session's handle with its model: what Session, Stream and Canceller share.
struct SessionHandle {
  SessionHandle(dsv4_session* handle, Model owner) : session(handle), model(std::move(owner)) {}
  SessionHandle(const SessionHandle&) = delete;
  SessionHandle& operator=(const SessionHandle&) = delete;
  ~SessionHandle() { dsv4_session_release(&session); }

  dsv4_session* session;
  Model model;
};

}  // namespace detail

// A range that is run through once; each Event is valid until the next. The generation runs ahead by some dozens of
// events, so what is answered here takes effect a few tokens later: where the token matters, give Session::generate a
// callback. A stream that is left early (break, destructor) cancels its turn, which keeps what was generated. Until it
// is finished the session is busy.
class Stream {
 public:
  struct Sentinel {};

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using iterator_concept = std::input_iterator_tag;
    using value_type = Event;
    using difference_type = std::ptrdiff_t;
    using pointer = const Event*;
    using reference = const Event&;

    Iterator() = default;

    const Event& operator*() const noexcept { return *event_; }
    const Event* operator->() const noexcept { return &*event_; }
    Iterator& operator++() { return next(), *this; }
    void operator++(int) { next(); }

    friend bool operator==(const Iterator& it, Sentinel) noexcept { return !it.event_; }
    friend bool operator!=(const Iterator& it, Sentinel) noexcept { return it.event_.has_value(); }
    friend bool operator==(Sentinel, const Iterator& it) noexcept { return !it.event_; }
    friend bool operator!=(Sentinel, const Iterator& it) noexcept { return it.event_.has_value(); }

   private:
    friend class Stream;
    explicit Iterator(Stream* stream) : stream_(stream) { next(); }
    void next() {
      event_.reset();
      if (stream_->fetch()) event_.emplace(stream_->state_->event.get());
    }

    Stream* stream_ = nullptr;
    std::optional<Event> event_;
  };

  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      abandon();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~Stream() { abandon(); }

  Iterator begin() { return Iterator(this); }
  Sentinel end() const noexcept { return {}; }

  // Answers the events so far: reaches the generation with the next one that is fetched.
  void answer(Answer answer) noexcept { state_->answer = answer; }
  void stop() noexcept { answer(Answer::stop); }
  void pause() noexcept { answer(Answer::pause); }
  void take_back() noexcept { answer(Answer::take_back); }
  // At once, as Canceller::cancel.
  void cancel() noexcept { dsv4_session_cancel(state_->handle->session); }

  // How the turn ended: its statistics, or the error that it began or ended with. Fetches what is still to come.
  Result<GenerateStats> finish() {
    while (fetch()) {
    }
    if (state_->error) return *state_->error;
    return state_->stats;
  }

 private:
  friend class Session;

  struct State {
    std::shared_ptr<detail::SessionHandle> handle;
    detail::OwnedEvent event;
    Answer answer = Answer::go_on;
    bool ended = false;
    GenerateStats stats;
    std::optional<Error> error;
  };

  static constexpr std::uint32_t kWaitMs = 1000;  // a poll without an event is only asked again

  // `started`: what dsv4_session_start said.
  Stream(std::shared_ptr<detail::SessionHandle> handle, const Result<void>& started)
      : state_(std::make_unique<State>()) {
    state_->handle = std::move(handle);
    if (started) return;
    state_->ended = true;
    state_->error = started.error();
  }

  // The next event into state_->event; false: there are no more.
  bool fetch() {
    State& state = *state_;
    std::size_t count = 0;
    const auto keep = [&](const Event& event) {
      state.event.assign(event.c());
      if (event.is(EventType::done)) {
        state.ended = true;
        state.stats = event.stats();
      }
      return state.answer;
    };
    while (count == 0 && !state.ended) {
      detail::EventCall<decltype(keep)> call(keep);
      auto polled = detail::checked([&](auto** error) {
        return dsv4_session_poll(state.handle->session, call.call, &call, 1, kWaitMs, &count, error);
      });
      call.rethrow();  // no memory for the event
      if (!polled) {
        state.ended = true;
        state.error = polled.error();
      }
    }
    return count != 0;
  }

  void abandon() noexcept {
    if (state_ == nullptr || state_->ended) return;
    cancel();
    bool done = false;
    const auto look = [](void* user, const dsv4_event* event) -> std::int32_t {
      if (event->type == DSV4_EVENT_DONE) *static_cast<bool*>(user) = true;
      return DSV4_CONTINUE;
    };
    while (!done) {
      if (dsv4_session_poll(state_->handle->session, look, &done, SIZE_MAX, kWaitMs, nullptr, nullptr) != DSV4_OK)
        break;
    }
  }

  std::unique_ptr<State> state_;
};

}  // namespace dsv4
