// What libdsv4_cuda.so exports (lib/backend/backend_module.h).
#include <cuda_runtime_api.h>

#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/gpu.h"
#include "lib/backend/backend_module.h"

namespace dsv4 {
namespace {

Backend* make(const ModuleOptions& options) {
  return make_cuda_backend({options.device, options.memory_limit}).release();
}

constexpr BackendModule kModule = {kSeam, CUDART_VERSION, make, cuda::check_devices};

}  // namespace
}  // namespace dsv4

extern "C" [[gnu::visibility("default")]] const dsv4::BackendModule* dsv4_backend_module() { return &dsv4::kModule; }
