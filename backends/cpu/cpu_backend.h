// The cpu backend: SIMD kernels chosen at run time, its own team of threads, weights read in the checkpoint's layout.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/backend/backend.h"

namespace dsv4 {

struct CpuOptions {
  int threads = 0;  // 0: every core this process may use
  std::string isa;  // "": the best this machine runs; or one of cpu_isa_levels(), for tests and comparisons
};

// Error kUnsupported: an instruction set this build or this machine lacks.
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);

// Instruction-set levels that this build has and this machine can run, plain one first: "scalar", "avx2", "avx512",
// "avx512-bf16", "amx".
std::vector<std::string> cpu_isa_levels();

// Version of the oneDNN in use ("3.2.0"), "" in a build without it.
std::string cpu_onednn_version();

}  // namespace dsv4
