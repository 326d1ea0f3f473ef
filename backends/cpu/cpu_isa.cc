// The candidates in order, plain one first, each with what it needs. __builtin_cpu_supports answers for the processor
// and for the operating system (it looks at XCR0), so a level is only offered where its registers are saved.
// DSV4_CPU_X86, DSV4_CPU_AMX, DSV4_CPU_ARM: the kernels that this build has (CMakeLists.txt).
#include "backends/cpu/cpu_isa.h"

#if defined(DSV4_CPU_X86)
#include <cpuid.h>
#endif

#include <fmt/format.h>

#include "backends/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/base/system_cpu.h"

namespace dsv4 {
namespace cpu {
namespace {

struct Candidate {
  const char* name;
  const Kernels* kernels;  // null: not in this build
  const char* missing;     // what this machine lacks for it; null: nothing
};

struct Candidates {
  Candidate list[7];
};

#if defined(DSV4_CPU_X86)
struct Feature {
  const char* name;
  bool here;
};

// Every level needs what the one before it needs, and a few features more.
const char* first_missing(const Feature* features, int count) {
  for (int i = 0; i < count; ++i) {
    if (!features[i].here) return features[i].name;
  }
  return nullptr;
}

#if defined(DSV4_CPU_AMX)
// AMX: the compilers' own look-up does not know it everywhere, and the kernel has to be asked for its registers. That is
// done where the processor has them only, since it makes the frames of the process's signals larger.
const char* amx_missing() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 24 & 1) == 0) return "amx-tile";
  if ((d >> 22 & 1) == 0) return "amx-bf16";
  return request_tile_registers();
}
#endif
#endif

Candidates candidates() {
  [[maybe_unused]] constexpr const char *kX86 = "x86-64", *kArm = "aarch64";
#if defined(DSV4_CPU_X86)
  __builtin_cpu_init();
#define DSV4_FEATURE(name) {name, __builtin_cpu_supports(name) != 0}
  const Feature features[] = {DSV4_FEATURE("avx2"),       DSV4_FEATURE("fma"),        DSV4_FEATURE("avx512f"),
                              DSV4_FEATURE("avx512bw"),   DSV4_FEATURE("avx512vl"),   DSV4_FEATURE("avx512dq"),
                              DSV4_FEATURE("avx512bf16"), DSV4_FEATURE("avx512vbmi"), DSV4_FEATURE("avx512vnni")};
#undef DSV4_FEATURE
  constexpr int kAvx2 = 2, kAvx512 = 6, kBf16 = 9;
#if defined(DSV4_CPU_AMX)
  Candidate amx = {"amx", &amx_kernels(), first_missing(features, kBf16)};
  if (amx.missing == nullptr) amx.missing = amx_missing();
#else
  const Candidate amx = {"amx", nullptr, "a system that saves tile registers"};
#endif
  return {{{"scalar", &scalar_kernels(), nullptr},
           {"avx2", &avx2_kernels(), first_missing(features, kAvx2)},
           {"avx512", &avx512_kernels(), first_missing(features, kAvx512)},
           {"avx512-bf16", &avx512_bf16_kernels(), first_missing(features, kBf16)},
           amx,
           {"neon", nullptr, kArm},
           {"neon-dotprod", nullptr, kArm}}};
#else
#if defined(DSV4_CPU_ARM)
  const Candidate neon = {"neon", &neon_kernels(), nullptr};
  const Candidate dotprod = {"neon-dotprod", &neon_dotprod_kernels(), has_byte_dot_products() ? nullptr : "asimddp"};
#else
  const Candidate neon = {"neon", nullptr, kArm}, dotprod = {"neon-dotprod", nullptr, kArm};
#endif
  return {{{"scalar", &scalar_kernels(), nullptr},
           neon,
           dotprod,
           {"avx2", nullptr, kX86},
           {"avx512", nullptr, kX86},
           {"avx512-bf16", nullptr, kX86},
           {"amx", nullptr, kX86}}};
#endif
}

}  // namespace

const Kernels& choose_kernels(const std::string& isa) {
  const Candidates all = candidates();
  const Kernels* best = nullptr;
  for (const Candidate& c : all.list) {
    if (isa.empty()) {
      if (c.missing == nullptr) best = c.kernels;
    } else if (isa == c.name) {
      if (c.missing != nullptr) {
        fail(Status::kUnsupported, "cpu backend: {}: this machine lacks {}; it runs {}", isa, c.missing, fmt::join(cpu_isa_levels(), ", "));
      }
      return *c.kernels;
    }
  }
  if (best == nullptr) {
    fail(Status::kUnsupported, "cpu backend: unknown instruction set '{}'; this machine runs {}", isa, fmt::join(cpu_isa_levels(), ", "));
  }
  return *best;
}

}  // namespace cpu

std::vector<std::string> cpu_isa_levels() {
  std::vector<std::string> names;
  const cpu::Candidates all = cpu::candidates();
  for (const cpu::Candidate& c : all.list) {
    if (c.missing == nullptr) names.emplace_back(c.name);
  }
  return names;
}

}  // namespace dsv4
