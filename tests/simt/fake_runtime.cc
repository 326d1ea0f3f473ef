#include "tests/simt/fake_runtime.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

namespace dsv4::simt {
namespace {

// While it lives, device memory can be touched.
class MemoryAccess {
 public:
  explicit MemoryAccess(Runtime& r) : runtime_(r) { r.memory.open(); }
  ~MemoryAccess() { runtime_.memory.close(runtime_.device.strict); }
  MemoryAccess(const MemoryAccess&) = delete;
  MemoryAccess& operator=(const MemoryAccess&) = delete;

 private:
  Runtime& runtime_;
};

// Where one end of a copy lies.
enum class Place { kDevice, kLocked, kPageable, kInvalid };

Place place_of(const Runtime& r, const void* p, size_t bytes) {
  if (p == nullptr) return Place::kInvalid;
  if (r.memory.on_device(p, bytes)) return Place::kDevice;
  if (r.memory.locked(p, bytes)) return Place::kLocked;
  return r.memory.near_device(p) ? Place::kInvalid : Place::kPageable;
}

bool fits(cudaMemcpyKind kind, Place to, Place from) {
  if (to == Place::kInvalid || from == Place::kInvalid) return false;
  const bool to_device = to == Place::kDevice;
  const bool from_device = from == Place::kDevice;
  switch (kind) {
    case cudaMemcpyHostToHost: return !to_device && !from_device;
    case cudaMemcpyHostToDevice: return to_device && !from_device;
    case cudaMemcpyDeviceToHost: return !to_device && from_device;
    case cudaMemcpyDeviceToDevice: return to_device && from_device;
    case cudaMemcpyDefault: return true;
  }
  return false;
}

std::string plural(size_t count, const char* what) {
  return count == 0 ? "" : ", " + std::to_string(count) + " " + what;
}

}  // namespace

constinit thread_local cudaError_t last_error = cudaSuccess;

Runtime& runtime() {
  static Runtime* const instance = [] {
    auto* made = new Runtime;  // never destroyed: objects with static storage may still release what they hold
    set_address_names([](uintptr_t address) { return runtime().memory.describe(address); });
    return made;
  }();
  return *instance;
}

cudaError_t begin_call(Runtime& r, std::string_view function) {
  const auto it = r.calls.find(function);
  if (it == r.calls.end()) {
    r.calls.emplace(function, 1);
  } else {
    ++it->second;
  }
  if (r.lost != cudaSuccess) return r.lost;
  Failure& f = r.failure;
  if (f.calls == 0 || (!f.function.empty() && f.function != function)) return cudaSuccess;
  if (f.calls > 1) {
    --f.calls;
    return cudaSuccess;
  }
  if (!f.forever) f.calls = 0;
  return f.error;
}

void throw_late(Runtime& r) {
  if (r.late != nullptr) std::rethrow_exception(std::exchange(r.late, nullptr));
}

void drain(Runtime& r, cudaStream_t stream) {
  if (stream->queue.empty()) return;
  const MemoryAccess access(r);
  r.streams.drain(stream);
}

void drain_all(Runtime& r) {
  if (r.streams.idle()) return;
  const MemoryAccess access(r);
  r.streams.drain_all();
}

cudaError_t queue(Runtime& r, cudaStream_t handle, Work work) {
  const cudaStream_t stream = r.streams.find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  return r.streams.queue(stream, r.device.deferred, [&r, work = std::move(work)] {
    const MemoryAccess access(r);
    work();
  });
}

cudaError_t queue_copy(Runtime& r, const Copy& copy, cudaMemcpyKind kind, cudaStream_t handle) {
  if (copy.to_bytes() == 0) return cudaSuccess;
  if (copy.width > copy.to_pitch || copy.width > copy.from_pitch) return cudaErrorInvalidPitchValue;
  const Place to = place_of(r, copy.to, copy.to_bytes());
  const Place from = place_of(r, copy.from, copy.from_bytes());
  if (!fits(kind, to, from)) return cudaErrorInvalidValue;
  const cudaStream_t stream = r.streams.find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  const bool pageable = to == Place::kPageable || from == Place::kPageable;
  if (stream->recording != nullptr && pageable) {
    stream->recording->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (pageable) {
    drain(r, stream);
    const MemoryAccess access(r);
    copy.run();
    return cudaSuccess;
  }
  return queue(r, stream, [&r, copy, to, from] {
    if (place_of(r, copy.to, copy.to_bytes()) != to || place_of(r, copy.from, copy.from_bytes()) != from) {
      throw SimtError("a queued copy's memory was freed before the copy ran");
    }
    copy.run();
  });
}

cudaError_t queue_set(Runtime& r, void* to, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!r.memory.on_device(to, bytes)) return cudaErrorInvalidValue;
  return queue(r, stream, [&r, to, value, bytes] {
    if (!r.memory.on_device(to, bytes)) throw SimtError("a queued fill's memory was freed before it ran");
    std::memset(to, value, bytes);
  });
}

cudaError_t fill_properties(const FakeDevice& device, cudaDeviceProp* p) {
  *p = {};
  std::strncpy(p->name, "executor", sizeof(p->name) - 1);
  p->totalGlobalMem = device.memory;
  p->sharedMemPerBlock = 48 * 1024;
  p->sharedMemPerBlockOptin = device.shared_bytes;
  p->sharedMemPerMultiprocessor = device.shared_bytes + 1024;
  p->regsPerBlock = 65536;
  p->warpSize = kLanes;
  p->maxThreadsPerBlock = kMaxThreads;
  p->maxGridSize[0] = INT32_MAX;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->major = device.major;
  p->minor = device.minor;
  p->multiProcessorCount = device.processors;
  p->maxThreadsPerMultiProcessor = 2048;
  p->l2CacheSize = 50 << 20;
  return cudaSuccess;
}

cudaError_t attribute(const FakeDevice& device, cudaDeviceAttr which, int* value) {
  switch (which) {
    case cudaDevAttrMultiProcessorCount: *value = device.processors; break;
    case cudaDevAttrComputeCapabilityMajor: *value = device.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = device.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(device.shared_bytes); break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = 48 * 1024; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(device.shared_bytes) + 1024; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = kMaxThreads; break;
    case cudaDevAttrWarpSize: *value = kLanes; break;
    case cudaDevAttrL2CacheSize: *value = 50 << 20; break;
    case cudaDevAttrMaxGridDimX: *value = INT32_MAX; break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: *value = 65535; break;
    default: return cudaErrorNotSupported;  // add what a backend comes to ask for
  }
  return cudaSuccess;
}

FakeDevice& fake_device() { return runtime().device; }

void fail_call(int64_t n, cudaError_t error, std::string_view function, bool forever) {
  const std::lock_guard lock(runtime().mutex);
  runtime().failure = {n, error, std::string(function), forever};
}

void lose_device(cudaError_t error) {
  const std::lock_guard lock(runtime().mutex);
  runtime().lost = error;
}

void reset_fake_cuda() {
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  r.device = {};
  r.failure = {};
  r.lost = cudaSuccess;
  r.calls.clear();
  r.late = nullptr;
  last_error = cudaSuccess;
}

int64_t calls(std::string_view function) {
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  int64_t sum = 0;
  for (const auto& [name, count] : r.calls) {
    if (function.empty() || function == name) sum += count;
  }
  return sum;
}

std::string unreleased() {
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  std::string text;
  if (r.memory.device_blocks() > 0) {
    text += ", " + std::to_string(r.memory.device_blocks()) + " device blocks (" +
            std::to_string(r.memory.device_bytes()) + " bytes)";
  }
  text += plural(r.memory.host_blocks(), "page-locked blocks") + plural(r.streams.size(), "streams") +
          plural(r.events.size(), "events") + plural(r.graphs.size(), "graphs") +
          plural(r.executables.size(), "executable graphs");
  return text.empty() ? "" : text.substr(2);
}

size_t device_bytes() {
  const std::lock_guard lock(runtime().mutex);
  return runtime().memory.device_bytes();
}

cudaError_t launch_kernel(KernelLaunch kernel, int64_t x, int64_t y, int64_t z, cudaStream_t stream) {
  return call("cudaLaunchKernel", [&](Runtime& r) {
    if (x < 1 || y < 1 || z < 1 || x > INT32_MAX || y > 65535 || z > 65535 || kernel.launch.threads < 1 ||
        kernel.launch.threads > kMaxThreads) {
      return cudaErrorInvalidConfiguration;
    }
    if (kernel.launch.shared_bytes < 0 || static_cast<size_t>(kernel.launch.shared_bytes) > r.device.shared_bytes) {
      return cudaErrorInvalidValue;
    }
    kernel.launch.grid = {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
    return queue(r, stream, [kernel] { run(kernel.launch); });
  });
}

}  // namespace dsv4::simt
