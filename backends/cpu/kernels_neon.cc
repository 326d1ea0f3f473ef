// Kernels in Advanced SIMD, which every 64-bit Arm has.
#include "backends/cpu/kernels.h"

#include <arm_neon.h>

namespace dsv4::cpu {
namespace {
#include "backends/cpu/vec_neon.inl"
#include "backends/cpu/vec_kernels.inl"
#include "backends/cpu/vec_index.inl"
#include "backends/cpu/neon_fp4.inl"
}  // namespace

const Kernels& neon_kernels() {
  static const Kernels table = [] {
    Kernels t = with_index_codes(vec_kernels("neon"));
    t.direct[kFormatFP4] = direct_fp4_digits;
    return t;
  }();
  return table;
}

}  // namespace dsv4::cpu
