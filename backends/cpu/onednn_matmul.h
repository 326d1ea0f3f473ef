// Products of many rows by oneDNN, one call on one thread at a time: our own workers share the work out, and no OpenMP
// team ever starts. What cannot be had (no oneDNN in the build, an engine or a primitive that it will not make) is a
// refusal, not an error: the caller goes on to its next candidate. Memory that runs out is an error, as the next
// candidate sums in another order: the same step would give other bits when it is tried again.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace dsv4::cpu {

// dst[i * dst_stride + m] (+)= Σ_c w[i * w_stride + c] · x[m][c], i < count, m < rows, c < cols; w and x both BF16 or
// both FP32, FP32 sums. Weight rows come first, so that the widened tile is oneDNN's plain left matrix; x is blocked
// once for all tiles that it meets, in a layout that is oneDNN's own affair, of rows * cols elements.
struct MatmulShape {
  int64_t count, rows, cols;
  int64_t w_stride, dst_stride;
  bool add;
  bool operator==(const MatmulShape&) const = default;
};

class OnednnMatmul {
 public:
  OnednnMatmul(int threads, bool bf16);  // Error kOutOfMemoryHost
  ~OnednnMatmul();
  OnednnMatmul(const OnednnMatmul&) = delete;
  OnednnMatmul& operator=(const OnednnMatmul&) = delete;

  bool ready() const { return impl_ != nullptr; }
  const std::string& refusal() const { return refusal_; }  // why it is not ready

  // Both: false where refused, and then nothing of use was written. They allocate when `thread` meets a shape for the
  // first time, or again after so many others that it was dropped; besides that only what a call of oneDNN does.
  bool block(int thread, int64_t rows, int64_t cols, int64_t x_stride, void* blocked, const void* x) noexcept;
  bool multiply(int thread, const MatmulShape& shape, float* dst, const void* w, const void* blocked) noexcept;
  // Error kOutOfMemoryHost where that was why one of them was refused since the last time. Not while they run.
  void check_memory();

 private:
  bool refuse() noexcept;  // in a handler of exceptions: false, and remembers memory that ran out

  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string refusal_;
  std::atomic<bool> out_of_memory_{false};
};

}  // namespace dsv4::cpu
