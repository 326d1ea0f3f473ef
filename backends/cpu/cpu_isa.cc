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
  const char* missing;     // what this machine lacks for it; null: nothing
  bool runs() const { return kernels != nullptr && missing == nullptr; }
};

struct Candidates {
  Candidate list[4];
};

#if defined(__x86_64__)
#define DSV4_NEEDS(feature) \
  if (!__builtin_cpu_supports(feature)) return feature
const char* missing_for_avx2() {
  DSV4_NEEDS("avx2");
  DSV4_NEEDS("fma");
  return nullptr;
}
const char* missing_for_avx512() {
  if (const char* missing = missing_for_avx2()) return missing;
  DSV4_NEEDS("avx512f");
  DSV4_NEEDS("avx512bw");
  DSV4_NEEDS("avx512vl");
  DSV4_NEEDS("avx512dq");
  return nullptr;
}
const char* missing_for_bf16() {
  if (const char* missing = missing_for_avx512()) return missing;
  DSV4_NEEDS("avx512bf16");
  DSV4_NEEDS("avx512vbmi");
  DSV4_NEEDS("avx512vnni");
  return nullptr;
}
#undef DSV4_NEEDS
#else
const char* missing_for_avx2() { return "x86-64"; }
const char* missing_for_avx512() { return "x86-64"; }
const char* missing_for_bf16() { return "x86-64"; }
#endif

Candidates candidates() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  return {{{"scalar", &scalar_kernels(), nullptr},
           {"avx2", avx2_kernels(), missing_for_avx2()},
           {"avx512", avx512_kernels(), missing_for_avx512()},
           {"avx512-bf16", avx512_bf16_kernels(), missing_for_bf16()}}};
}

std::string names_of(const Candidates& all) {
  std::string names;
  for (const Candidate& c : all.list) {
    if (c.runs()) names += (names.empty() ? "" : ", ") + std::string(c.name);
  }
  return names;
}

}  // namespace

const Kernels& choose_kernels(const std::string& isa) {
  const Candidates all = candidates();
  const Kernels* best = nullptr;
  for (const Candidate& c : all.list) {
    if (isa.empty()) {
      if (c.runs()) best = c.kernels;
    } else if (isa == c.name) {
      if (c.missing != nullptr) {
        fail(Status::kUnsupported, "cpu backend: {}: this machine lacks {}; it runs {}", isa, c.missing, names_of(all));
      }
      if (c.kernels == nullptr) {
        fail(Status::kUnsupported, "cpu backend: {}: not in this build; it runs {}", isa, names_of(all));
      }
      return *c.kernels;
    }
  }
  if (best == nullptr) {
    fail(Status::kUnsupported, "cpu backend: unknown instruction set '{}'; this machine runs {}", isa, names_of(all));
  }
  return *best;
}

}  // namespace cpu

std::vector<std::string> cpu_isa_levels() {
  std::vector<std::string> names;
  const cpu::Candidates all = cpu::candidates();
  for (const cpu::Candidate& c : all.list) {
    if (c.runs()) names.emplace_back(c.name);
  }
  return names;
}

}  // namespace dsv4
