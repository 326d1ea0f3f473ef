// The state of the fake runtime and what its functions have in common: every call is counted, may be made to fail, and
// takes the one lock.
#pragma once

#include <cuda_runtime_api.h>

#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "tests/simt/fake_cuda.h"
#include "tests/simt/fake_memory.h"
#include "tests/simt/fake_stream.h"

namespace dsv4::simt {

struct Failure {
  int64_t calls = 0;  // until it comes; 0: none is planned
  cudaError_t error = cudaSuccess;
  std::string function;
  bool forever = false;
};

struct Runtime {
  std::recursive_mutex mutex;  // kernels run under it, too: the device is one
  FakeDevice device;
  FakeMemory memory;
  FakeStreams streams;
  std::set<cudaEvent_t> events;
  std::set<cudaGraph_t> graphs;
  std::set<cudaGraphExec_t> executables;
  Failure failure;
  cudaError_t lost = cudaSuccess;
  std::map<std::string, int64_t, std::less<>> calls;
  std::exception_ptr late;  // of work that ran in a call that must not throw
};

Runtime& runtime();

extern constinit thread_local cudaError_t last_error;

// Counts a call; what it has to answer before it does anything.
cudaError_t begin_call(Runtime& r, std::string_view function);
void throw_late(Runtime& r);
// Run what is queued, with device memory open all the while.
void drain(Runtime& r, cudaStream_t stream);
void drain_all(Runtime& r);

template <class Body>
cudaError_t call(const char* function, Body body) {
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  cudaError_t error = begin_call(r, function);
  if (error == cudaSuccess) error = body(r);
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

// A call that releases something: it does so even where it answers a failure, and it throws nothing.
template <class Body>
cudaError_t release(const char* function, Body body) {
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  const cudaError_t failed = begin_call(r, function);
  cudaError_t error = cudaSuccess;
  try {
    drain_all(r);
  } catch (...) {
    r.late = std::current_exception();
  }
  error = body(r);
  if (failed != cudaSuccess) error = failed;
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t queue(Runtime& r, cudaStream_t handle, Work work);

// Rows of bytes from one place to another.
struct Copy {
  unsigned char* to;
  size_t to_pitch;
  const unsigned char* from;
  size_t from_pitch;
  size_t width;
  size_t rows;

  size_t to_bytes() const { return rows == 0 || width == 0 ? 0 : (rows - 1) * to_pitch + width; }
  size_t from_bytes() const { return rows == 0 || width == 0 ? 0 : (rows - 1) * from_pitch + width; }
  void run() const {
    for (size_t i = 0; i < rows; ++i) std::memcpy(to + i * to_pitch, from + i * from_pitch, width);
  }
};

// As the real one: what is not page-locked is copied to or from before the call returns.
cudaError_t queue_copy(Runtime& r, const Copy& copy, cudaMemcpyKind kind, cudaStream_t handle);
cudaError_t queue_set(Runtime& r, void* to, int value, size_t bytes, cudaStream_t stream);

cudaError_t fill_properties(const FakeDevice& device, cudaDeviceProp* p);
cudaError_t attribute(const FakeDevice& device, cudaDeviceAttr which, int* value);

}  // namespace dsv4::simt
