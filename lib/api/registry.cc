#include "lib/api/registry.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/backend/backend_module.h"
#include "lib/base/error.h"

namespace dsv4 {

namespace {

// Text that is made once and lies in the library's own memory: no destructor runs at exit, and a host that unloads the
// library finds nothing left of it (tests/abi/two_copies.c).
template <size_t kRoom>
struct StaticText {
  explicit StaticText(std::string_view from) {
    const size_t length = from.copy(text, kRoom - 1);
    text[length] = '\0';
  }
  char text[kRoom];
};

struct CudaModule {
  const BackendModule* module;
  StaticText<512> reason;
  StaticText<16> version;
};

const CudaModule& cuda_module() {
  static const CudaModule found = [] {
    std::string reason, version;
    const BackendModule* module = open_backend_module("cuda", reason);
    if (module != nullptr) version = fmt::format("{}.{}", module->version / 1000, module->version % 1000 / 10);
    return CudaModule{module, StaticText<512>(reason), StaticText<16>(version)};
  }();
  return found;
}

std::unique_ptr<Backend> make_cpu(const BackendChoice& choice) {
  CpuOptions options;
  options.threads = choice.threads;
  options.isa = choice.isa;
  return make_cpu_backend(options);
}

std::unique_ptr<Backend> make_cuda(const BackendChoice& choice) {
  const CudaModule& cuda = cuda_module();
  if (cuda.module == nullptr) fail(Status::kUnsupported, "backend \"cuda\" cannot be used here: {}", cuda.reason.text);
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
const char* cuda_version() { return cuda_module().version.text; }
const char* cuda_reason() { return cuda_module().reason.text; }

const char* cpu_instruction_sets() {
  static const StaticText<128> names([] {
    std::string all;
    const std::vector<std::string> levels = cpu_isa_levels();  // plain one first
    for (auto it = levels.rbegin(); it != levels.rend(); ++it) all += (all.empty() ? "" : " ") + *it;
    return all;
  }());
  return names.text;
}

const char* onednn_version() {
  static const StaticText<32> version(cpu_onednn_version());
  return version.text;
}

}  // namespace dsv4
