// What backends/cuda/device.cuh is when kernels are compiled as C++ for the executor (-DDSV4_SIMT, with this folder in
// the include path): CUDA's names and the device layer's functions, over tests/simt/executor.h; and launch(), which
// hands the kernel to the fake runtime's stream.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <tuple>
#include <utility>

#include "backends/cuda/gpu.h"
#include "tests/simt/executor.h"
#include "tests/simt/fake_cuda.h"
#include "tests/simt/simt_math.h"
#include "tests/simt/simt_memory.h"
#include "tests/simt/simt_mma.h"
#include "tests/simt/simt_warp.h"

#define threadIdx (::dsv4::simt::thread_idx)
#define blockIdx (::dsv4::simt::block_idx)
#define blockDim (::dsv4::simt::block_dim)
#define gridDim (::dsv4::simt::grid_dim)

namespace dsv4::cuda {

struct Grid {
  int64_t x = 1;
  int64_t y = 1;
  int64_t z = 1;
};

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), Grid grid, int threads, int64_t shared_bytes, cudaStream_t stream,
            Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args), "a kernel's arguments are all given");
  struct Call {
    void (*kernel)(Params...);
    std::tuple<Params...> values;
  };
  const auto thread = [](const void* call) {
    std::apply(static_cast<const Call*>(call)->kernel, static_cast<const Call*>(call)->values);
  };
  const auto call = std::make_shared<Call>(Call{kernel, {static_cast<Params>(args)...}});
  simt::KernelLaunch launch{{reinterpret_cast<const void*>(kernel), thread, call.get(), {}, threads, shared_bytes},
                            call};
  check(simt::launch_kernel(launch, grid.x, grid.y, grid.z, stream), "launching a kernel");
}

}  // namespace dsv4::cuda
