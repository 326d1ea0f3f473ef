#include "backends/cuda/gpu.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/error.h"

namespace dsv4::cuda {
namespace {

// Errors after which a context answers every call with the same error: only a new process can use the device again.
bool is_lost(cudaError_t result) {
  switch (result) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorDevicesUnavailable:
    case cudaErrorDeviceUninitialized:
    case cudaErrorContextIsDestroyed:
    case cudaErrorSystemNotReady:
    case cudaErrorCudartUnloading: return true;
    default: return false;
  }
}

constexpr int kLeastCapability = 80;  // BF16 tensor cores and cp.async

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "asking for a device's properties");
  return value;
}

int capability_of(int device) {
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor, device) +
         attribute(cudaDevAttrComputeCapabilityMinor, device);
}

int usable_devices() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaErrorNoDevice || (result == cudaSuccess && count == 0)) {
    fail(Status::kUnsupported, "cuda: no NVIDIA GPU was found");
  }
  if (result != cudaSuccess) {
    cudaGetLastError();  // it is ours, and told
    fail(Status::kUnsupported, "cuda: {} (driver missing, or older than this build's CUDA {}.{})",
         cudaGetErrorString(result), CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  return count;
}

}  // namespace

void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // an error that can be passed over must not be met again by the next call
  const Status status = result == cudaErrorMemoryAllocation ? Status::kOutOfMemoryDevice
                        : is_lost(result)                   ? Status::kDeviceLost
                                                            : Status::kInternal;
  fail(status, "cuda: {} failed: {} ({})", what, cudaGetErrorString(result), cudaGetErrorName(result));
}

void check_devices() {
  const int count = usable_devices();
  int best = 0;
  for (int device = 0; device < count; ++device) best = std::max(best, capability_of(device));
  if (best < kLeastCapability) {
    fail(Status::kUnsupported, "cuda: compute capability {}.{} found, {}.{} or newer expected", best / 10, best % 10,
         kLeastCapability / 10, kLeastCapability % 10);
  }
}

Gpu::Gpu(int device) : device_(device) {
  const int count = usable_devices();
  if (device < 0 || device >= count) {
    fail(Status::kInvalidArgument, "cuda: device {}; 0 to {} expected", device, count - 1);
  }
  capability_ = capability_of(device);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "asking for a device's name");
  std::memcpy(name_, properties.name, std::min(sizeof(name_), sizeof(properties.name)));
  name_[sizeof(name_) - 1] = 0;
  if (capability_ < kLeastCapability) {
    fail(Status::kUnsupported, "cuda: {} has compute capability {}.{}; {}.{} or newer expected", name_,
         capability_ / 10, capability_ % 10, kLeastCapability / 10, kLeastCapability % 10);
  }
  processors_ = attribute(cudaDevAttrMultiProcessorCount, device);
  shared_bytes_ = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  total_bytes_ = properties.totalGlobalMem;
  make_current();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

Gpu::~Gpu() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void Gpu::make_current() const { check(cudaSetDevice(device_), "choosing the device"); }

size_t Gpu::free_bytes() const {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

void Gpu::take(size_t bytes, const char* what) const {
  size_t used = used_.load();
  do {
    if (limit_ != 0 && (used > limit_ || bytes > limit_ - used)) {
      fail(Status::kOutOfMemoryDevice,
           "cuda: {}: {} bytes needed, {} of the limit of {} bytes (device_memory_limit) are in use", what, bytes, used,
           limit_);
    }
  } while (!used_.compare_exchange_weak(used, used + bytes));
}

void Gpu::synchronize() const { check(cudaStreamSynchronize(stream_), "a kernel"); }

DeviceBuffer::DeviceBuffer(const Gpu& gpu, size_t bytes, const char* what, Contents contents) {
  if (bytes == 0) return;
  gpu.take(bytes, what);
  gpu_ = &gpu;
  size_ = bytes;
  const cudaError_t result = cudaMalloc(&data_, bytes);
  if (result != cudaSuccess) {
    data_ = nullptr;
    release();
    if (result != cudaErrorMemoryAllocation) check(result, what);
    cudaGetLastError();
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) free = 0;
    fail(Status::kOutOfMemoryDevice, "cuda: {}: {} bytes of device memory needed, {} are free", what, bytes, free);
  }
  if (contents == kZeroed) {
    const cudaError_t cleared = cudaMemsetAsync(data_, 0, bytes, gpu.stream());
    if (cleared != cudaSuccess) {
      release();
      check(cleared, "clearing device memory");
    }
  }
}

void DeviceBuffer::release() {
  // cudaFree waits for what still uses the memory. A lost device answers with an error that has been reported already.
  if (data_ != nullptr && cudaFree(data_) != cudaSuccess) cudaGetLastError();
  if (gpu_ != nullptr) gpu_->give(size_);
  data_ = nullptr;
  gpu_ = nullptr;
  size_ = 0;
}

DeviceBuffer::~DeviceBuffer() { release(); }

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : gpu_(std::exchange(other.gpu_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void DeviceBuffer::grow(const Gpu& gpu, size_t bytes, const char* what) {
  if (bytes <= size_) return;
  *this =
      DeviceBuffer(gpu, bytes, what);  // the old one goes last: where there is no room for both, nothing has changed
}

PinnedBuffer::PinnedBuffer(size_t bytes, const char* what) {
  if (bytes == 0) return;
  const cudaError_t result = cudaMallocHost(&data_, bytes);
  if (result == cudaErrorMemoryAllocation) {
    data_ = nullptr;
    cudaGetLastError();
    fail(Status::kOutOfMemoryHost, "cuda: {}: no {} bytes of page-locked host memory", what, bytes);
  }
  check(result, what);
  size_ = bytes;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr && cudaFreeHost(data_) != cudaSuccess) cudaGetLastError();
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace dsv4::cuda
