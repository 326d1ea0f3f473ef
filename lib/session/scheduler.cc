#include "lib/session/scheduler.h"

#include <algorithm>
#include <chrono>

#include "lib/base/error.h"

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

// A draw takes about 0.1 ms; hosts' callbacks may take longer, and are not waited for.
constexpr std::chrono::microseconds kPatience{1500};
constexpr std::chrono::milliseconds kWithdrawLook{10};  // at a waiting session's wish to be cancelled, which nobody announces
constexpr double kFairness = 2.5;                 // a step with a prompt in it, against one without
constexpr int64_t kFewestRows = 8;              // or a prompt would never end
constexpr int64_t kUnknownRows = 8;            // before anything was measured
constexpr double kMemory = 0.8;                 // of what was measured before

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int64_t rows_of(const Chunk& chunk) { return static_cast<int64_t>(chunk.tokens.size()); }

}  // namespace

void Scheduler::change_decoding(int by) {
  const std::lock_guard lock(mutex_);
  decoding_ += by;
  changed_.notify_all();
}

int64_t Scheduler::fair_rows(int64_t wanted) {
  const std::lock_guard lock(mutex_);
  if (decoding_ == 0 || wanted <= 1) return wanted;
  const double rows = row_seconds_ > 0 ? (kFairness - 1) * decode_seconds_ / row_seconds_ : kUnknownRows;
  return std::clamp(static_cast<int64_t>(std::min(rows, static_cast<double>(wanted))), std::min(kFewestRows, wanted),
                    wanted);
}

void Scheduler::evaluate(const Chunk& chunk, const std::atomic<bool>* cancel) {
  if (rows_of(chunk) < 1 || rows_of(chunk) > model_.max_rows()) {
    fail(Status::kInternal, "a chunk of {} tokens, 1 to {} expected", rows_of(chunk), model_.max_rows());
  }
  Request request{&chunk, cancel, false, false, nullptr};
  Lock lock(mutex_);
  waiting_.push_back(&request);
  changed_.notify_all();
  const auto withdraw = [&] {
    std::erase(waiting_, &request);
    changed_.notify_all();
  };
  while (!request.done) {
    if (!leading_) {
      try {
        lead(lock);
      } catch (...) {  // out of memory, before anything was taken
        leading_ = false;
        withdraw();
        throw;
      }
    } else {
      changed_.wait_for(lock, kWithdrawLook);
    }
    if (!request.taken && cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      withdraw();
      fail(Status::kCancelled, "cancelled");
    }
  }
  if (request.error) std::rethrow_exception(request.error);
}

// Until everybody who decodes has asked, but not long: one may be with its host, or about to end.
void Scheduler::wait_for_decoders(Lock& lock) {
  if (decoding_ < 2) return;
  const auto patience = std::min<std::chrono::nanoseconds>(
      kPatience, std::chrono::nanoseconds(static_cast<int64_t>(decode_seconds_ * 0.1e9)));
  changed_.wait_for(lock, patience, [&] { return static_cast<int>(waiting_.size()) >= decoding_; });
}

void Scheduler::take_requests() {
  int64_t room = model_.max_rows();
  for (Request* r : waiting_) {
    if (rows_of(*r->chunk) > room) continue;
    room -= rows_of(*r->chunk);
    r->taken = true;
    step_.push_back(r);
    chunks_.push_back(*r->chunk);
  }
  std::erase_if(waiting_, [](const Request* r) { return r->taken; });
}

void Scheduler::lead(Lock& lock) {
  leading_ = true;
  wait_for_decoders(lock);
  step_.clear();
  chunks_.clear();
  step_.reserve(waiting_.size());
  chunks_.reserve(waiting_.size());
  take_requests();
  lock.unlock();
  const Clock::time_point start = Clock::now();
  run();
  const double seconds = seconds_since(start);
  lock.lock();
  learn(seconds);
  for (Request* r : step_) r->done = true;
  leading_ = false;
  changed_.notify_all();
}

void Scheduler::run() {
  std::exception_ptr error;
  try {
    // One session's wish must not end the others' step: theirs would have to be evaluated again.
    model_.evaluate(chunks_, step_.size() == 1 ? step_.front()->cancel : nullptr);
  } catch (...) {
    error = std::current_exception();
  }
  for (Request* r : step_) r->error = error;
}

void Scheduler::learn(double seconds) {
  int64_t rows = 0;
  for (const Request* r : step_) rows += rows_of(*r->chunk);
  const int64_t more = rows - static_cast<int64_t>(step_.size());  // than one each
  const auto update = [](double& value, double now) {
    value = value > 0 ? kMemory * value + (1 - kMemory) * now : now;
  };
  if (more == 0) {
    update(decode_seconds_, seconds);
  } else if (decode_seconds_ > 0) {
    update(row_seconds_, std::max(seconds - decode_seconds_, 0.1 * seconds) / static_cast<double>(more));
  }
}

}  // namespace dsv4
