// What the card itself can do, measured now: what decode and prefill are held against.
#include <algorithm>

#include "backends/cuda/cuda_verbs.h"
#include "backends/cuda/peak_kernels.h"

namespace dsv4::cuda {
namespace {

constexpr int kRuns = 5;

// The best of several runs of what queue() queues, in seconds.
template <class Queue>
double best_seconds(const Gpu& gpu, Queue&& queue) {
  struct Timer {
    cudaEvent_t event = nullptr;
    Timer() { check(cudaEventCreate(&event), "making an event"); }
    ~Timer() { cudaEventDestroy(event); }
    void record(const Gpu& on) const { check(cudaEventRecord(event, on.stream()), "recording an event"); }
  };
  const Timer begin, end;
  double best = 0;
  for (int run = 0; run <= kRuns; ++run) {
    begin.record(gpu);
    queue();
    end.record(gpu);
    gpu.synchronize();
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin.event, end.event), "timing");
    const double seconds = static_cast<double>(ms) / 1e3;
    if (run > 0 && (best == 0 || seconds < best)) best = seconds;  // the first one warms up
  }
  return best;
}

}  // namespace

double CudaBackend::matrix_peak() {
  gpu_.make_current();
  constexpr int32_t kRounds = 4096;
  const DeviceBuffer out(gpu_, static_cast<size_t>(peak_threads(gpu_)) * sizeof(float), "matrix peak");
  double products = 0;
  const double seconds = best_seconds(gpu_, [&] { products = launch_products(gpu_, out.as<float>(), kRounds); });
  return seconds > 0 ? products / seconds : 0;
}

double CudaBackend::copy_peak() {
  gpu_.make_current();
  const size_t bytes = std::min<size_t>(size_t{1} << 30, free_device_bytes() / 4);
  if (bytes == 0) return 0;
  const DeviceBuffer from(gpu_, bytes, "copy probe"), to(gpu_, bytes, "copy probe");
  const double seconds = best_seconds(gpu_, [&] {
    check(cudaMemcpyAsync(to.as<void>(), from.as<void>(), bytes, cudaMemcpyDeviceToDevice, gpu_.stream()),
          "copying on the device");
  });
  return seconds > 0 ? 2.0 * static_cast<double>(bytes) / seconds : 0;
}

uint64_t CudaBackend::free_device_bytes() const {
  gpu_.make_current();
  const uint64_t free = gpu_.free_bytes();
  if (gpu_.limit() == 0) return free;
  return std::min<uint64_t>(free, gpu_.limit() - std::min(gpu_.limit(), gpu_.used_bytes()));
}

}  // namespace dsv4::cuda
