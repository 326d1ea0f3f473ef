#include "tests/support/backends_under_test.h"

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "tests/support/sanitizers.h"

namespace dsv4::test {

const std::vector<BackendUnderTest>& backends_under_test() {
  static const std::vector<BackendUnderTest> list = [] {
    std::vector<BackendUnderTest> all = {{"reference", make_reference_backend, true}};
    std::vector<std::string> levels = cpu_isa_levels();
    if (kSanitized && levels.size() > 2) levels = {levels.front(), levels.back()};  // all of them: tests/ops/cpu_*_test
    for (const std::string& isa : levels) {
      const CpuOptions options{2, isa};
      all.push_back({"cpu " + isa, [options] { return make_cpu_backend(options); }, false});
    }
    return all;
  }();
  return list;
}

}  // namespace dsv4::test
