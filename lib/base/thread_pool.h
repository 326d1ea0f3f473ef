// A team of workers that one backend owns. Workers spin briefly, then sleep; none outlives the pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace dsv4 {

class ThreadPool {
 public:
  // `threads` counts the caller: a pool of 1 starts no thread. Throws Error kOutOfMemoryHost if one cannot start.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Runs job(thread) once on every member of the team, the caller being thread 0, and returns when all are done.
  // One caller at a time. The job must not throw.
  template <class Job>
  void run(Job&& job) {
    using Plain = std::remove_reference_t<Job>;
    if (size_ == 1) return job(0);
    start([](void* j, int thread) { (*static_cast<Plain*>(j))(thread); }, const_cast<void*>(static_cast<const void*>(&job)));
  }

  // Splits [0, count) into one contiguous part per thread, borders at multiples of `grain`: body(begin, end, thread).
  template <class Body>
  void split(int64_t count, int64_t grain, Body&& body) {
    const int64_t grains = (count + grain - 1) / grain;
    if (grains <= 1 || size_ == 1) {
      if (count > 0) body(int64_t{0}, count, 0);
      return;
    }
    run([&](int thread) {
      const int64_t begin = grains * thread / size_ * grain;
      const int64_t end = std::min(grains * (thread + 1) / size_ * grain, count);
      if (begin < end) body(begin, end, thread);
    });
  }

 private:
  using Call = void (*)(void*, int);
  void start(Call call, void* job);
  void work(int thread);
  void stop();

  int size_;
  Call call_ = nullptr;
  void* job_ = nullptr;
  bool quit_ = false;                  // written under mutex_ before round_ moves on
  std::atomic<uint32_t> round_{0};     // moves on once per job
  std::atomic<int> pending_{0};        // workers that have not finished this round
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::vector<std::thread> workers_;
};

// Hardware threads this process may use (its affinity mask), at least 1.
int usable_cores();

}  // namespace dsv4
