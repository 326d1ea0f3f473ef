// The cuda backend: one NVIDIA GPU, weights in its memory, decode steps recorded once and replayed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lib/backend/backend.h"

namespace dsv4 {

struct CudaOptions {
  int device = 0;               // ordinal, as the CUDA runtime counts
  uint64_t memory_limit = 0;    // bytes of device memory for weights, states and scratch together; 0: no limit of ours
  std::string dense_library{};  // path of cuBLASLt; empty: the system's
};

// Error kUnsupported says why there is no such device: no driver, no GPU, one that is too old.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

}  // namespace dsv4
