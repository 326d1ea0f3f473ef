#include "lib/api/registry.h"

#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/base/error.h"

namespace dsv4 {

std::unique_ptr<Backend> make_backend(const BackendChoice& choice) {
  if (choice.threads < 0 || choice.threads > 1024) {
    fail(Status::kInvalidArgument, "threads: {}; 0 (all cores) to 1024 expected", choice.threads);
  }
  if (choice.name.empty() || choice.name == "auto" || choice.name == "cpu") {
    CpuOptions options;
    options.threads = choice.threads;
    options.isa = choice.isa;
    return make_cpu_backend(options);
  }
  if (choice.name == "reference") return make_reference_backend();
  fail(Status::kUnsupported, "backend \"{}\" is not in this build; there are: auto {}", choice.name, backend_names());
}

const char* backend_names() { return "cpu reference"; }

// The strings below are made once and never destroyed: a library has no destructors that run at exit.

const char* cpu_instruction_sets() {
  static const std::string* const names = [] {
    std::string all;
    const std::vector<std::string> levels = cpu_isa_levels();  // plain one first
    for (auto it = levels.rbegin(); it != levels.rend(); ++it) all += (all.empty() ? "" : " ") + *it;
    return new std::string(std::move(all));
  }();
  return names->c_str();
}

const char* onednn_version() {
  static const std::string* const version = new std::string(cpu_onednn_version());
  return version->c_str();
}

}  // namespace dsv4
