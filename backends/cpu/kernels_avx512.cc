// Kernels in AVX-512 F, BW, VL, DQ. Compiled with wider instructions than the rest: see kernels.h before including.
#include "backends/cpu/kernels.h"

#include <immintrin.h>

namespace dsv4::cpu {
namespace {
constexpr float kXScale = 0x1p60f;
#include "backends/cpu/vec_avx512.inl"
#include "backends/cpu/vec_kernels.inl"
#include "backends/cpu/vec_index.inl"
}  // namespace

const Kernels& avx512_kernels() {
  static const Kernels table = with_index_codes(vec_kernels("avx512"));
  return table;
}

}  // namespace dsv4::cpu
