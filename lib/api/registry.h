// The only place that knows which backends exist.
#pragma once

#include <memory>
#include <string>

#include "lib/backend/backend.h"

namespace dsv4 {

struct BackendChoice {
  std::string name;           // "", "auto", "cuda", "cpu", "reference"
  std::string isa;            // cpu: "" for the best
  int threads = 0;            // cpu: 0 for all usable cores
  int device = 0;             // cuda
  uint64_t memory_limit = 0;  // cuda: bytes; 0: no limit of ours

  bool is_auto() const { return name.empty() || name == "auto"; }
};

// Error kUnsupported names the backends there are; kInvalidArgument for threads or isa out of range.
std::unique_ptr<Backend> make_backend(const BackendChoice& choice);

const char* backend_names();         // that can be used here, best first: "cuda cpu reference"; static
const char* cuda_version();          // of the module's toolkit, "13.0"; "" without one; static
const char* cuda_reason();           // why the cuda backend cannot be used here; "" where it can; static
const char* cpu_instruction_sets();  // usable here, best first; static
const char* onednn_version();        // "" without; static

}  // namespace dsv4
