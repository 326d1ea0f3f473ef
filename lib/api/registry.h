// The only place that knows which backends exist.
#pragma once

#include <memory>
#include <string>

#include "lib/backend/backend.h"

namespace dsv4 {

struct BackendChoice {
  std::string name;  // "", "auto", "cpu", "reference"
  std::string isa;   // cpu: "" for the best
  int threads = 0;   // cpu: 0 for all usable cores
};

// Error kUnsupported names the backends there are; kInvalidArgument for threads or isa out of range.
std::unique_ptr<Backend> make_backend(const BackendChoice& choice);

const char* backend_names();         // "cpu reference"; static
const char* cpu_instruction_sets();  // usable here, best first; static
const char* onednn_version();        // "" without; static

}  // namespace dsv4
