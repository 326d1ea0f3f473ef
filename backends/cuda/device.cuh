// What kernels are written in: CUDA under a handful of names that a test can give another meaning to.
// Under nvcc these are thin inline functions over the hardware's instructions. With DSV4_SIMT, which only tests define
// (tests/simt), the same kernels are compiled as C++ and run by an executor on the CPU that checks every access to
// shared memory, every barrier and every warp-wide operation; the law of a kernel is therefore to touch shared memory
// through Shared<T> and other lanes through the functions below, and through nothing else.
#pragma once

#ifdef DSV4_SIMT

#include <simt_device.h>  // by an include path that only the tests have

#else

#include <cuda_runtime.h>

#include <cstdint>
#include <tuple>

#include "backends/cuda/device_memory.cuh"
#include "backends/cuda/device_mma.cuh"
#include "backends/cuda/device_warp.cuh"
#include "backends/cuda/gpu.h"

#endif

#include "backends/cuda/device_block.cuh"

#ifndef DSV4_SIMT

namespace dsv4::cuda {

struct Grid {
  int64_t x = 1;
  int64_t y = 1;
  int64_t z = 1;
};

// A block may use so much shared memory unasked.
inline constexpr int64_t kSharedUnasked = 48 * 1024;

// Queues the kernel. Arguments are converted to its parameters' types here.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), Grid grid, int threads, int64_t shared_bytes, cudaStream_t stream,
            Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args), "a kernel's arguments are all given");
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > kSharedUnasked) {
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
          "asking for a kernel's shared memory");
  }
  std::tuple<Params...> values(static_cast<Params>(args)...);
  std::apply(
      [&](Params&... value) {
        void* pointers[] = {static_cast<void*>(&value)..., nullptr};
        const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
        check(cudaLaunchKernel(function, blocks, dim3(static_cast<unsigned>(threads)), pointers,
                               static_cast<size_t>(shared_bytes), stream),
              "launching a kernel");
      },
      values);
}

}  // namespace dsv4::cuda

#endif
