// See probe.h.
#include "probe.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <new>
#include <thread>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace cli {
namespace {

constexpr size_t kPage = size_t{2} << 20;  // of a huge page

// GNU vectors rather than a loop for the vectoriser: what that makes of a sum differs tenfold between compilers and
// flags, and a probe must measure the machine. Four sums, so that additions do not wait for each other.
typedef uint64_t Vector128 __attribute__((vector_size(16)));
typedef uint64_t Vector256 __attribute__((vector_size(32)));
typedef uint64_t Vector512 __attribute__((vector_size(64)));

template <class Vector>
[[gnu::always_inline]] inline uint64_t sum_vectors(const uint64_t* words, size_t count) {
  constexpr size_t kWords = sizeof(Vector) / sizeof(uint64_t);
  const auto* vectors = reinterpret_cast<const Vector*>(words);
  Vector a = {}, b = {}, c = {}, d = {};
  for (size_t i = 0; i + 4 <= count / kWords; i += 4) {
    a += vectors[i];
    b += vectors[i + 1];
    c += vectors[i + 2];
    d += vectors[i + 3];
  }
  const Vector sums = a + b + c + d;
  uint64_t total = 0;
  for (size_t word = 0; word < kWords; ++word) total += sums[word];
  return total;
}

#if defined(__x86_64__)
[[gnu::target("avx512f")]] uint64_t sum_512(const uint64_t* words, size_t count) {
  return sum_vectors<Vector512>(words, count);
}
[[gnu::target("avx2")]] uint64_t sum_256(const uint64_t* words, size_t count) {
  return sum_vectors<Vector256>(words, count);
}

uint64_t sum(const uint64_t* words, size_t count) {
  if (__builtin_cpu_supports("avx512f")) return sum_512(words, count);
  if (__builtin_cpu_supports("avx2")) return sum_256(words, count);
  return sum_vectors<Vector128>(words, count);
}
#else
uint64_t sum(const uint64_t* words, size_t count) { return sum_vectors<Vector128>(words, count); }
#endif

template <class Work>
void on_threads(size_t threads, Work&& work) {
  std::vector<std::thread> workers;
  for (size_t id = 0; id < threads; ++id) workers.emplace_back(work, id);
  for (std::thread& worker : workers) worker.join();
}

}  // namespace

void BandwidthProbe::Free::operator()(uint64_t* words) const { ::operator delete[](words, std::align_val_t{kPage}); }

BandwidthProbe::BandwidthProbe(size_t bytes, size_t threads)
    : threads_(threads), slice_((bytes / threads / kPage + 1) * kPage / sizeof(uint64_t)) {
  const size_t words = threads_ * slice_;
  words_.reset(static_cast<uint64_t*>(::operator new[](words * sizeof(uint64_t), std::align_val_t{kPage})));
#ifdef __linux__
  // With small pages the probe would measure address translation too. A refusal only makes it slower.
  madvise(words_.get(), words * sizeof(uint64_t), MADV_HUGEPAGE);
#endif
  on_threads(threads_, [this](size_t id) {
    for (size_t i = 0; i < slice_; ++i) words_[id * slice_ + i] = i * 0x9E3779B97F4A7C15u;
  });
}

void BandwidthProbe::run(size_t passes, std::vector<double>& out) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<Clock::time_point>> begins(passes, std::vector<Clock::time_point>(threads_));
  auto ends = begins;
  std::barrier together(static_cast<std::ptrdiff_t>(threads_));
  std::atomic<uint64_t> total{0};
  on_threads(threads_, [&](size_t id) {
    for (size_t pass = 0; pass < passes; ++pass) {
      together.arrive_and_wait();
      begins[pass][id] = Clock::now();
      total += sum(words_.get() + id * slice_, slice_);
      ends[pass][id] = Clock::now();
    }
  });
  checksum_ += total;
  const double bytes = static_cast<double>(threads_ * slice_ * sizeof(uint64_t));
  for (size_t pass = 0; pass < passes; ++pass) {
    const auto first = *std::min_element(begins[pass].begin(), begins[pass].end());
    const auto last = *std::max_element(ends[pass].begin(), ends[pass].end());
    out.push_back(bytes / std::chrono::duration<double>(last - first).count() / 1e9);
  }
}

}  // namespace cli
