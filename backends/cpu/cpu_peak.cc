// What matrix products could reach here: oneDNN's, of a shape it likes, from caches, on all threads at once.
#include <algorithm>
#include <atomic>
#include <chrono>

#include "backends/cpu/cpu_verbs.h"

namespace dsv4::cpu {
namespace {

constexpr int64_t kPeakRows = 512, kPeakInputs = 256, kPeakCols = 1024;
constexpr int kProducts = 16;  // of a thread in one burst: 8 ms with BF16
constexpr int kBursts = 8;

}  // namespace

double CpuBackend::matrix_peak() {
  // Where our own kernels are faster, it is the yardstick only.
  std::unique_ptr<OnednnMatmul> made;
  if (onednn_ == nullptr && k_.dot_blocked != nullptr) {
    made = std::make_unique<OnednnMatmul>(pool_.size(), k_.bf16_tiles);
  }
  OnednnMatmul* const onednn = made != nullptr ? made.get() : onednn_.get();
  if (onednn == nullptr || !onednn->ready()) return 0;
  struct Operands {
    Block w, x, blocked, y;
  };
  std::vector<Operands> operands(static_cast<size_t>(pool_.size()));
  for (Operands& o : operands) {
    o.w.grow(kPeakRows * kPeakCols * k_.x_bytes);
    o.x.grow(kPeakInputs * kPeakCols * k_.x_bytes);
    o.blocked.grow(kPeakInputs * kPeakCols * k_.x_bytes);
    o.y.grow(kPeakRows * kPeakInputs * 4);
  }
  const MatmulShape shape{kPeakRows, kPeakInputs, kPeakCols, kPeakCols, kPeakInputs, false};
  std::atomic<bool> done{true};
  double best = 0;
  for (int burst = 0; burst <= kBursts; ++burst) {  // the first one warms up
    const auto start = std::chrono::steady_clock::now();
    pool_.run([&](int thread) {
      const Operands& o = operands[static_cast<size_t>(thread)];
      bool ok = burst > 0 || onednn->block(thread, kPeakInputs, kPeakCols, kPeakCols, o.blocked.as<void>(), o.x.as<void>());
      for (int i = 0; i < kProducts && ok; ++i) {
        ok = onednn->multiply(thread, shape, o.y.as<float>(), o.w.as<void>(), o.blocked.as<void>());
      }
      if (!ok) done.store(false, std::memory_order_relaxed);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    onednn->check_memory();
    if (!done.load(std::memory_order_relaxed)) return 0;
    const double work = static_cast<double>(pool_.size()) * kProducts * kPeakRows * kPeakInputs * kPeakCols;
    if (burst > 0) best = std::max(best, work / seconds);
  }
  return best;
}

}  // namespace dsv4::cpu
