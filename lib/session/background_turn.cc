#include "lib/session/background_turn.h"

#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/session/turn.h"

namespace dsv4 {
namespace {

constexpr std::chrono::milliseconds kCancelLook{10};  // at the session's cancel flag, which nobody announces

}  // namespace

BackgroundTurn::BackgroundTurn(Session& session, GenerateOptions options)
    : session_(session), options_(std::move(options)), last_(1) {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& e) {
    fail(Status::kOutOfMemoryHost, "cannot start a thread for the generation: {}", e.what());
  }
}

BackgroundTurn::~BackgroundTurn() {
  {
    const std::lock_guard lock(mutex_);
    answer_ = HostAnswer::kCancel;
    queue_.clear();
    drained_.notify_all();
    if (!ended_) session_.cancel();
  }
  thread_.join();
}

void BackgroundTurn::run() {
  std::exception_ptr error;
  try {
    Turn(session_, options_, [this](const GenerateEvent& event) { return push(event); }).run();
  } catch (const Error& e) {
    if (e.status() != Status::kCancelled) error = std::current_exception();
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  error_ = error;
  ended_ = true;
  filled_.notify_all();
}

HostAnswer BackgroundTurn::push(const GenerateEvent& event) {
  Queue one;
  if (event.kind == GenerateEvent::Kind::kDone) {
    one.swap(last_);
  } else {
    one.emplace_back();
  }
  Owned& own = one.front();
  own.event = event;
  own.text = event.text;
  if (event.token != nullptr) own.token = *event.token;
  if (event.stream != nullptr) own.stream = *event.stream;
  if (event.stats != nullptr) own.stats = *event.stats;
  std::unique_lock lock(mutex_);
  while (queue_.size() >= kCapacity && answer_ == HostAnswer::kContinue && !session_.is_cancelled()) {
    drained_.wait_for(lock, kCancelLook);
  }
  queue_.splice(queue_.end(), one);
  filled_.notify_all();
  return answer_;
}

size_t BackgroundTurn::poll(size_t most, std::chrono::milliseconds timeout, const EventSink& sink) {
  size_t count = 0;
  std::unique_lock lock(mutex_);
  if (most != 0) filled_.wait_for(lock, timeout, [&] { return !queue_.empty() || ended_; });
  for (; count < most && !queue_.empty(); ++count) {
    Owned& own = queue_.front();  // stays there until it is delivered: a sink that fails may be tried again
    lock.unlock();
    own.event.text = own.text;
    if (own.event.token != nullptr) own.event.token = &own.token;
    if (own.event.stream != nullptr) own.event.stream = &own.stream;
    if (own.event.stats != nullptr) own.event.stats = &own.stats;
    const HostAnswer answer = sink ? sink(own.event) : HostAnswer::kContinue;
    lock.lock();
    if (answer_ == HostAnswer::kContinue) answer_ = answer;
    if (own.event.kind == GenerateEvent::Kind::kDone) filled_.wait(lock, [&] { return ended_; });  // it only returns now
    queue_.pop_front();
    drained_.notify_all();
  }
  if (!ended_ || !queue_.empty()) return count;
  finished_ = true;
  if (error_ && count == 0) std::rethrow_exception(std::exchange(error_, nullptr));
  finished_ = error_ == nullptr;  // the error is for the next poll
  return count;
}

}  // namespace dsv4
