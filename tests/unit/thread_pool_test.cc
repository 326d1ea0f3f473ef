// The thread pool: every index once, in many rounds, for teams of several sizes; also under ThreadSanitizer.
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "lib/base/thread_pool.h"

namespace dsv4 {

TEST_CASE("thread pool: run() calls every member once, round after round") {
  for (int threads = 1; threads <= 8; ++threads) {
    ThreadPool pool(threads);
    REQUIRE(pool.size() == threads);
    std::vector<int64_t> calls(static_cast<size_t>(threads), 0);  // plain: each member has its own
    constexpr int kRounds = 300;
    for (int round = 0; round < kRounds; ++round) {
      int64_t total = 0;
      pool.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      for (const int64_t c : calls) total += c;  // what the workers wrote is visible once run() returns
      REQUIRE(total == int64_t{threads} * (round + 1));
    }
    for (const int64_t c : calls) CHECK(c == kRounds);
  }
}

TEST_CASE("thread pool: split() covers every index once, borders at multiples of the grain") {
  for (const int threads : {1, 2, 3, 5, 8}) {
    ThreadPool pool(threads);
    for (const int64_t grain : {1, 3, 16}) {
      for (const int64_t count : {0, 1, 2, 15, 16, 17, 100, 1023}) {
        std::vector<int> hits(static_cast<size_t>(count), 0);
        std::atomic<int> bad{0};
        pool.split(count, grain, [&](int64_t begin, int64_t end, int thread) {
          if (begin % grain != 0 || (end % grain != 0 && end != count) || begin >= end) ++bad;
          if (thread < 0 || thread >= threads) ++bad;
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
        CHECK(bad == 0);
        for (const int h : hits) REQUIRE(h == 1);
      }
    }
  }
}

TEST_CASE("thread pool: works after its workers went to sleep, and when the caller finishes first") {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> done{0};
    pool.run([&](int thread) {
      if (thread != 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));  // the caller has to wait
      ++done;
    });
    CHECK(done == 3);
  }
}

TEST_CASE("thread pool: ends while idle, at once, asleep, and right after a round") {
  for (int i = 0; i < 50; ++i) {
    ThreadPool unused(1 + i % 8);
  }
  {
    ThreadPool asleep(4);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (int i = 0; i < 50; ++i) {
    std::atomic<int> done{0};
    {
      ThreadPool pool(4);
      pool.run([&](int) { ++done; });
    }
    CHECK(done == 4);
  }
}

TEST_CASE("thread pool: a team of fewer than one is a team of one") {
  ThreadPool pool(0);
  int calls = 0;
  pool.run([&](int thread) { calls += thread == 0; });
  CHECK(calls == 1);
  CHECK(pool.size() == 1);
  CHECK(usable_cores() >= 1);
}

}  // namespace dsv4
