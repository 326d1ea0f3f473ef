#include "lib/api/registry.h"

#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/backend/backend_module.h"
#include "lib/base/error.h"

namespace dsv4 {

namespace {

// What is made once and never destroyed: a library has no destructors that run at exit.
struct CudaModule {
  const BackendModule* module = nullptr;
  std::string reason, version;
};

const CudaModule& cuda_module() {
  static const CudaModule* const found = [] {
    auto* m = new CudaModule;
    m->module = open_backend_module("cuda", m->reason);
    if (m->module != nullptr)
      m->version = fmt::format("{}.{}", m->module->version / 1000, m->module->version % 1000 / 10);
    return m;
  }();
  return *found;
}

std::unique_ptr<Backend> make_cpu(const BackendChoice& choice) {
  CpuOptions options;
  options.threads = choice.threads;
  options.isa = choice.isa;
  return make_cpu_backend(options);
}

std::unique_ptr<Backend> make_cuda(const BackendChoice& choice) {
  const CudaModule& cuda = cuda_module();
  if (cuda.module == nullptr) fail(Status::kUnsupported, "backend \"cuda\" cannot be used here: {}", cuda.reason);
  return std::unique_ptr<Backend>(cuda.module->make({choice.device, choice.memory_limit}));
}

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendChoice& choice) {
  if (choice.threads < 0 || choice.threads > 1024) {
    fail(Status::kInvalidArgument, "threads: {}; 0 (all cores) to 1024 expected", choice.threads);
  }
  if (choice.is_auto()) return *cuda_reason() == '\0' && choice.isa.empty() ? make_cuda(choice) : make_cpu(choice);
  if (choice.name == "cpu") return make_cpu(choice);
  if (choice.name == "cuda") return make_cuda(choice);
  if (choice.name == "reference") return make_reference_backend();
  fail(Status::kUnsupported, "backend \"{}\" is not in this build; there are: auto {}", choice.name, backend_names());
}

const char* backend_names() { return cuda_module().module != nullptr ? "cuda cpu reference" : "cpu reference"; }
const char* cuda_version() { return cuda_module().version.c_str(); }
const char* cuda_reason() { return cuda_module().reason.c_str(); }

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
