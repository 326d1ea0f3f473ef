// A CUDA runtime without a device: the functions of cuda_runtime_api.h that backends/cuda calls, over host memory and
// the executor; and what tests do to it. What the host may not do answers the error of the real runtime; what a kernel
// may not do is a SimtError, thrown out of the call that runs it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "tests/simt/executor.h"

namespace dsv4::simt {

// What the runtime says of itself. Set before a backend is made.
struct FakeDevice {
  int devices = 1;
  int major = 9;
  int minor = 0;
  int processors = 132;
  size_t memory = size_t{16} << 30;  // of the device; more is cudaErrorMemoryAllocation
  size_t shared_bytes = 227 * 1024;  // of a block
  int driver = CUDART_VERSION;       // 0: none
  bool deferred = false;             // a stream's work begins when somebody waits for it
  bool strict = false;               // device memory is closed to the host (slow)
};
FakeDevice& fake_device();

// The n-th call from now (1: the next), of that function or of any, answers the error; with `forever`, all after it,
// too.
void fail_call(int64_t n, cudaError_t error, std::string_view function = {}, bool forever = false);
// From now on every call answers the error, as on a device that has been lost.
void lose_device(cudaError_t error);
// The settings, failures and counts of a new process. Memory, streams and graphs that are alive stay so.
void reset_fake_cuda();

int64_t calls(std::string_view function = {});  // since the last reset; a launch counts as cudaLaunchKernel

// What the program has made and not released: "2 device blocks (8192 bytes), 1 streams", or "".
std::string unreleased();
size_t device_bytes();  // allocated now

// A kernel with its arguments, which live as long as it may be run.
struct KernelLaunch {
  Launch launch;
  std::shared_ptr<const void> arguments;
};
// What cudaLaunchKernel is for kernels of the executor.
cudaError_t launch_kernel(KernelLaunch launch, int64_t x, int64_t y, int64_t z, cudaStream_t stream);

}  // namespace dsv4::simt
