// Kernels in Advanced SIMD with dot products of bytes (Armv8.2's asimddp, most processors since 2018): FP4 weights and
// the indexer. Compiled with wider instructions than the rest: see kernels.h before including.
#include "backends/cpu/kernels.h"

#include <arm_neon.h>

namespace dsv4::cpu {
namespace {
#include "backends/cpu/vec_neon.inl"
#include "backends/cpu/vec_kernels.inl"
#include "backends/cpu/vec_index.inl"
#include "backends/cpu/neon_fp4.inl"
}  // namespace

const Kernels& neon_dotprod_kernels() {
  static const Kernels table = [] {
    Kernels t = with_index_codes(vec_kernels("neon-dotprod"));
    t.direct[kFormatFP4] = direct_fp4_digits;
    return t;
  }();
  return table;
}

}  // namespace dsv4::cpu
