// One NVIDIA device as the backend sees it: its stream, its memory, checked calls. Everything the backend asks of the
// CUDA runtime outside of kernels goes through here, so that every call is checked and every failure is a Status.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace dsv4::cuda {

// Throws: kOutOfMemoryDevice; kDeviceLost where the device can no longer be used; else kInternal. `what` is a phrase
// that ends "cuda: ... failed".
void check(cudaError_t result, const char* what);

// kUnsupported, with a reason that can be read: no driver, no device, none that is new enough.
void check_devices();

class Gpu {
 public:
  explicit Gpu(int device);  // kUnsupported with a reason that can be read: no driver, no device, too old
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  cudaStream_t stream() const { return stream_; }         // every verb's work, in order
  int processors() const { return processors_; }          // SMs
  int64_t shared_bytes() const { return shared_bytes_; }  // of one block, opted in
  int capability() const { return capability_; }          // 90 for sm_90
  const char* name() const { return name_; }
  size_t total_bytes() const { return total_bytes_; }
  size_t free_bytes() const;
  void make_current() const;  // for the calling thread: before anything else on it
  // The account of device memory against the host's limit (0: none). kOutOfMemoryDevice where it would be passed.
  void set_limit(size_t bytes) { limit_ = bytes; }
  size_t limit() const { return limit_; }
  size_t used_bytes() const { return used_; }
  void take(size_t bytes, const char* what) const;
  void give(size_t bytes) const { used_ -= bytes; }
  void synchronize() const;  // waits; a kernel's failure is reported here

 private:
  int device_ = 0;
  int processors_ = 0;
  int64_t shared_bytes_ = 0;
  int capability_ = 0;
  size_t total_bytes_ = 0;
  size_t limit_ = 0;
  mutable std::atomic<size_t> used_{0};  // sessions go on their own threads
  char name_[256] = {};
  cudaStream_t stream_ = nullptr;
};

// Device memory; zeroed (on the stream) unless its contents are said to come anyway. The Gpu outlives it.
class DeviceBuffer {
 public:
  enum Contents { kZeroed, kUninitialised };
  DeviceBuffer() = default;
  // kOutOfMemoryDevice names `what` and the bytes.
  DeviceBuffer(const Gpu& gpu, size_t bytes, const char* what, Contents contents = kZeroed);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t size() const { return size_; }
  // Makes it hold at least `bytes`; contents are lost when it grows. Never called inside a verb.
  void grow(const Gpu& gpu, size_t bytes, const char* what);

 private:
  void release();

  const Gpu* gpu_ = nullptr;
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Host memory that the device copies from and to without a stop in between (page-locked).
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(size_t bytes, const char* what);  // kOutOfMemoryHost
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dsv4::cuda
