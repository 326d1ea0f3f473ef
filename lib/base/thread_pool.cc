#include "lib/base/thread_pool.h"

#include <algorithm>
#include <bit>
#include <exception>

#include "lib/base/error.h"
#include "lib/base/windows_api.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace dsv4 {
namespace {

// 20 to 100 microseconds of looking (processors differ in how long a pause is) before a thread sleeps: longer than the
// gap between two verbs of a step, shorter than anything a host's scheduler would notice.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // waits some tens of cycles; "yield" is no wait at all on most processors
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : size_(std::max(threads, 1)) {
  try {
    workers_.reserve(static_cast<size_t>(size_ - 1));
    for (int t = 1; t < size_; ++t) workers_.emplace_back([this, t] { work(t); });
  } catch (const std::exception& e) {  // std::system_error, std::bad_alloc
    const size_t number = workers_.size() + 2;  // the caller is the first of the team
    stop();
    fail(Status::kOutOfMemoryHost, "cannot start thread {} of {}: {}", number, size_, e.what());
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    round_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& w : workers_) w.join();
  workers_.clear();
}

void ThreadPool::start(Call call, void* job) {
  {
    std::lock_guard lock(mutex_);
    call_ = call;
    job_ = job;
    pending_.store(size_ - 1, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  call(job, 0);
  for (int i = 0; i < kSpins; ++i) {
    if (pending_.load(std::memory_order_acquire) == 0) return;
    pause();
  }
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return pending_.load(std::memory_order_acquire) == 0; });
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    for (int i = 0; i < kSpins && round_.load(std::memory_order_acquire) == seen; ++i) pause();
    if (round_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
    }
    ++seen;
    if (quit_) return;
    call_(job_, thread);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      // The empty lock orders this notification after the caller's check, so that it cannot be missed.
      { std::lock_guard lock(mutex_); }
      done_.notify_one();
    }
  }
}

int usable_cores() {
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(CPU_COUNT(&set), 1);
#elif defined(_WIN32)
  // A mask is of one group of at most 64; a process that nobody confined may use all groups.
  DWORD_PTR process = 0, system = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system) && process != system) {
    return std::popcount(static_cast<uint64_t>(process));
  }
  return std::max(static_cast<int>(GetActiveProcessorCount(ALL_PROCESSOR_GROUPS)), 1);
#endif
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

}  // namespace dsv4
