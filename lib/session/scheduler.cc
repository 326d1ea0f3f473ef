#include "lib/session/scheduler.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "lib/base/error.h"

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

// A draw takes about 0.1 ms, a thread may be late; hosts' callbacks may take longer, and are not waited for.
constexpr std::chrono::microseconds kPatience{5000};
constexpr std::chrono::milliseconds kWithdrawLook{10};  // at a waiting session's wish to be cancelled, which nobody announces
constexpr double kFairness = 2.5;                 // a step with a prompt in it, against one without
constexpr int64_t kFewestRows = 4;              // or a prompt would never end
constexpr int64_t kUnknownRows = 4;             // before anything was measured
constexpr double kMemory = 0.8;                 // of what was measured before

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int64_t rows_of(const Chunk& chunk) { return static_cast<int64_t>(chunk.tokens.size()); }

bool is_cancelled(const std::exception_ptr& error) {
  if (error == nullptr) return false;
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return e.status() == Status::kCancelled;
  } catch (...) {
    return false;
  }
}

// Each member throws an exception of its own: one object that several threads read and release is safe by the reference
// count in the C++ library alone, where neither a tool nor a reader sees it.
std::exception_ptr copy_of(const std::exception_ptr& error) {
  if (error == nullptr) return nullptr;
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    try {
      return std::make_exception_ptr(Error(e.status(), e.what()));
    } catch (...) {
      return std::make_exception_ptr(std::bad_alloc());
    }
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(std::bad_alloc());
  } catch (...) {
    return error;
  }
}

}  // namespace

void Scheduler::change(Kind kind, int by) {
  const std::lock_guard lock(mutex_);
  (kind == Kind::kDecoding ? decoding_ : prefilling_) += by;
  changed_.notify_all();
}

int64_t Scheduler::fair_rows(int64_t wanted) {
  const std::lock_guard lock(mutex_);
  if (decoding_ == 0 || wanted <= 1) return wanted;
  const double rows = row_seconds_ > 0 ? (kFairness - 1) * decode_seconds_ / row_seconds_ : kUnknownRows;
  return std::clamp(static_cast<int64_t>(std::min(rows, static_cast<double>(wanted))), std::min(kFewestRows, wanted),
                    wanted);
}

void Scheduler::evaluate(const Chunk& chunk) {
  if (rows_of(chunk) < 1 || rows_of(chunk) > model_.max_rows()) {
    fail(Status::kInternal, "a chunk of {} tokens, 1 to {} expected", rows_of(chunk), model_.max_rows());
  }
  Request request{&chunk, false, false, nullptr};
  Lock lock(mutex_);
  waiting_.push_back(&request);
  changed_.notify_all();
  const auto withdraw = [&] {
    std::erase(waiting_, &request);
    changed_.notify_all();
  };
  while (!request.done) {
    // The oldest leads: it has a place in the step, and so can leave when it is cancelled.
    if (!leading_ && (step_.empty() ? waiting_ : step_).front() == &request) {
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
    if (!request.taken && request.is_cancelled()) {
      withdraw();
      fail(Status::kCancelled, "cancelled");
    }
  }
  if (request.error) std::rethrow_exception(request.error);
}

// Until everybody who comes back at once has asked, but not long: one may be with its host, or about to end.
void Scheduler::wait_for_others(Lock& lock) {
  if (decoding_ == 0 || decoding_ + prefilling_ < 2) return;
  const auto patience = std::min<std::chrono::nanoseconds>(
      kPatience, std::chrono::nanoseconds(static_cast<int64_t>(decode_seconds_ * 0.1e9)));
  changed_.wait_for(lock, patience, [&] { return static_cast<int>(waiting_.size()) >= decoding_ + prefilling_; });
}

void Scheduler::take_requests() {
  int64_t room = model_.max_rows();
  for (Request* r : waiting_) {
    if (rows_of(*r->chunk) > room) continue;
    room -= rows_of(*r->chunk);
    r->taken = true;
    step_.push_back(r);
  }
  std::erase_if(waiting_, [](const Request* r) { return r->taken; });
}

void Scheduler::lead(Lock& lock) {
  leading_ = true;
  if (step_.empty()) {
    wait_for_others(lock);
    step_.reserve(waiting_.size());
    chunks_.reserve(waiting_.size());
    take_requests();
  }
  lock.unlock();
  const Clock::time_point start = Clock::now();
  const std::exception_ptr error = run();
  const double seconds = seconds_since(start);
  lock.lock();
  if (error == nullptr) learn(seconds);
  settle(error);
  leading_ = false;
  changed_.notify_all();
}

// One token among others ends soon enough, and to run theirs again would take as long.
bool Scheduler::ends_step(const Request& request) const { return step_.size() == 1 || rows_of(*request.chunk) > 1; }

std::exception_ptr Scheduler::run() {
  chunks_.clear();
  for (const Request* r : step_) {
    chunks_.push_back(*r->chunk);
    if (!ends_step(*r)) chunks_.back().cancel = nullptr;
  }
  try {
    model_.evaluate(chunks_);
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

// Tells the members what became of them. Where a cancel ended the step, those who did not ask for it remain.
void Scheduler::settle(const std::exception_ptr& error) {
  const auto asked = [&](const Request* r) { return ends_step(*r) && r->is_cancelled(); };
  const bool cancelled = is_cancelled(error) && std::any_of(step_.begin(), step_.end(), asked);
  for (Request* r : step_) {
    r->done = !cancelled || asked(r);
    if (r->done) r->error = copy_of(error);
  }
  std::erase_if(step_, [](const Request* r) { return r->done; });
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
  } else if (decode_seconds_ > 0 && step_.size() > 1) {  // the rows of a prompt alone cost far less each
    update(row_seconds_, std::max(seconds - decode_seconds_, 0.1 * seconds) / static_cast<double>(more));
  }
}

}  // namespace dsv4
