// BackgroundTurn: a generation on a thread of its own, for hosts that poll. Its events wait in a queue of bounded
// length until the host fetches them, on the host's thread; a host that does not come stops the generation where it is.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "lib/session/session.h"

namespace dsv4 {

class BackgroundTurn {
 public:
  // The session is this turn's alone until finished(). Error kOutOfMemoryHost: no thread could be started.
  BackgroundTurn(Session& session, GenerateOptions options);
  ~BackgroundTurn();  // takes the turn back if it is not finished
  BackgroundTurn(const BackgroundTurn&) = delete;
  BackgroundTurn& operator=(const BackgroundTurn&) = delete;

  // Hands up to `most` events to the sink, in order, and returns how many. Waits for the first no longer than
  // `timeout`. What the sink answers reaches the generation. Behind the last event an error of the turn is thrown, but
  // for kCancelled, which the last event has told.
  size_t poll(size_t most, std::chrono::milliseconds timeout, const EventSink& sink);
  bool finished() const { return finished_; }  // the last event, or the error, was handed over

 private:
  static constexpr size_t kCapacity = 64;
  // An event and what it points to.
  struct Owned {
    GenerateEvent event;
    std::string text;
    TokenInfo token;
    StreamEvent stream;
    GenerateStats stats;
  };
  void run();
  HostAnswer push(const GenerateEvent& event);

  Session& session_;
  const GenerateOptions options_;
  std::mutex mutex_;
  std::condition_variable filled_, drained_;
  using Queue = std::list<Owned>;
  Queue queue_;
  Queue last_;  // room for the last event, made beforehand: by then the turn is part of the session
  HostAnswer answer_ = HostAnswer::kContinue;
  bool ended_ = false;  // the thread has nothing to add
  std::exception_ptr error_;
  bool finished_ = false;
  std::thread thread_;  // last: everything it uses is there when it starts
};

}  // namespace dsv4
