// The candidates in order, plain one first, each with what it needs. __builtin_cpu_supports answers for the processor
// and for the operating system (it looks at XCR0), so a level is only offered where its registers are saved.
#include "backends/cpu/cpu_isa.h"

#include "backends/cpu/cpu_backend.h"
#include "lib/base/error.h"

namespace dsv4 {
namespace cpu {
namespace {

struct Candidate {
  const char* name;
  const Kernels* kernels;  // null: not in this build
  bool runs;
};

struct Candidates {
  Candidate list[4];
};

Candidates candidates() {
  bool avx2 = false, avx512 = false, bf16 = false;
#if defined(__x86_64__)
  __builtin_cpu_init();
  avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  bf16 = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni");
#endif
  return {{{"scalar", &scalar_kernels(), true},
           {"avx2", avx2_kernels(), avx2},
           {"avx512", avx512_kernels(), avx512},
           {"avx512-bf16", avx512_bf16_kernels(), bf16}}};
}

}  // namespace

const Kernels& choose_kernels(const std::string& isa) {
  const Candidates all = candidates();
  const Kernels* best = nullptr;
  for (const Candidate& c : all.list) {
    if (isa.empty()) {
      if (c.kernels != nullptr && c.runs) best = c.kernels;
    } else if (isa == c.name) {
      if (c.kernels == nullptr) fail(Status::kUnsupported, "cpu backend: this build has no {} kernels", isa);
      if (!c.runs) fail(Status::kUnsupported, "cpu backend: this machine does not run {}", isa);
      return *c.kernels;
    }
  }
  if (best == nullptr) fail(Status::kUnsupported, "cpu backend: unknown instruction set {}", isa);
  return *best;
}

}  // namespace cpu

std::vector<std::string> cpu_isa_levels() {
  std::vector<std::string> names;
  const cpu::Candidates all = cpu::candidates();
  for (const cpu::Candidate& c : all.list) {
    if (c.kernels != nullptr && c.runs) names.emplace_back(c.name);
  }
  return names;
}

}  // namespace dsv4
