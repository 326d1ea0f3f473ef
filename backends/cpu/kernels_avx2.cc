// Kernels in AVX2, FMA and F16C. Compiled with wider instructions than the rest: see kernels.h before including.
#include "backends/cpu/kernels.h"

#include <immintrin.h>

namespace dsv4::cpu {
namespace {

using V = __m256;
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
constexpr int kCodes = 1;
constexpr float kXScale = 0x1p60f;
constexpr float kUnitE4M3 = 0x1p60f;   // 2^120 of v_e4m3 / kXScale
constexpr float kUnitFP4 = 0x1p-61f;   // half of what v_fp4 gives / kXScale
constexpr float kE4M3Value = 0x1p120f;
constexpr float kFP4Value = 0.5f;

inline V v_zero() { return _mm256_setzero_ps(); }
inline V v_set(float x) { return _mm256_set1_ps(x); }
inline V v_load(const float* p) { return _mm256_loadu_ps(p); }
inline void v_store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline V v_load_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void v_store_n(float* p, V x, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), x); }
inline V v_add(V a, V b) { return _mm256_add_ps(a, b); }
inline V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V v_div(V a, V b) { return _mm256_div_ps(a, b); }
inline V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V v_max(V a, V b) { return _mm256_max_ps(a, b); }
inline V v_min(V a, V b) { return _mm256_min_ps(a, b); }
inline V v_abs(V a) { return _mm256_andnot_ps(v_set(-0.0f), a); }
inline V v_or_sign(V x, V s) { return _mm256_or_ps(x, _mm256_and_ps(s, v_set(-0.0f))); }
inline V v_and(V x, uint32_t bits) {
  return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(bits))));
}
inline V v_binade(V x) { return v_and(x, 0x7f800000u); }
inline V v_rint(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline V v_exp2i(V n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline float v_sum(V x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float v_maximum(V x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

inline V v_fused(V a, V b, V c) { return v_fma(a, b, c); }

struct VD {
  __m256d low, high;
};
inline VD vd_zero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
inline VD vd_add_square(VD s, V x) {
  const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(x)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
  return {_mm256_fmadd_pd(a, a, s.low), _mm256_fmadd_pd(b, b, s.high)};
}
inline double vd_sum(VD s) {
  const __m256d t = _mm256_add_pd(s.low, s.high);
  const __m128d u = _mm_add_pd(_mm256_castpd256_pd128(t), _mm256_extractf128_pd(t, 1));
  return _mm_cvtsd_f64(_mm_add_sd(u, _mm_unpackhi_pd(u, u)));
}

inline V v_load16(const uint16_t* p) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(b), 16));
}
// BF16 in the upper half of every lane, rounded to nearest even; a NaN keeps its upper bits and stays one.
inline __m256i rounded16(V x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(r, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
}
inline void v_store16(uint16_t* p, V x) {
  const __m256i r = _mm256_srli_epi32(rounded16(x), 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}
inline V v_round16(V x) { return v_and(_mm256_castsi256_ps(rounded16(x)), 0xffff0000u); }
inline void v_load_pairs(const uint16_t* p, V& even, V& odd) {
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  even = _mm256_castsi256_ps(_mm256_slli_epi32(b, 16));
  odd = v_and(_mm256_castsi256_ps(b), 0xffff0000u);
}
inline void v_store_pairs(uint16_t* p, V even, V odd) {
  const __m256i lo = _mm256_srli_epi32(rounded16(even), 16), hi = _mm256_castps_si256(v_round16(odd));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_or_si256(lo, hi));
}

template <int kStride>
inline V v_swap(V x) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_permutevar8x32_ps(x, _mm256_xor_si256(lanes, _mm256_set1_epi32(kStride)));
}
template <int kStride>
inline V v_alternate() {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), bit = _mm256_set1_epi32(kStride);
  const __m256i upper = _mm256_cmpeq_epi32(_mm256_and_si256(lanes, bit), bit);
  return _mm256_blendv_ps(v_set(1.0f), v_set(-1.0f), _mm256_castsi256_ps(upper));
}

// Sign, exponent and mantissa of a code in their FP32 places: the value times 2^-120, subnormal codes included.
inline void v_e4m3(V (&v)[kCodes], const uint8_t* p) {
  const __m256i b = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  v[0] = v_and(_mm256_castsi256_ps(_mm256_slli_epi32(b, 20)), 0x87f00000u);
}
// Twice the value of every code.
inline __m128i fp4_doubled() { return _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12); }
// Twice the values, as small integers.
inline void v_fp4(V (&v)[4], const uint8_t* p) {
  const __m128i table = fp4_doubled();
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), mask = _mm_set1_epi8(15);
  const __m128i lo = _mm_shuffle_epi8(table, _mm_and_si128(b, mask));
  const __m128i hi = _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(b, 4), mask));
  const __m128i first = _mm_unpacklo_epi8(lo, hi), second = _mm_unpackhi_epi8(lo, hi);
  v[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(first));
  v[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(first, 8)));
  v[2] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(second));
  v[3] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(second, 8)));
}

using VI = __m256i;
using VS = VI;
inline VI vi_load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline VS vi_sums(const uint8_t* begin) { return vi_load(begin); }
inline VI vi_broadcast(const uint8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}
// Two sums of two products each, in 16 bits.
inline VI vi_dot(VI sum, VI bytes, VI codes) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(bytes, codes)); }
inline V vi_float(VI sum) { return _mm256_cvtepi32_ps(_mm256_madd_epi16(sum, _mm256_set1_epi16(1))); }
inline int32_t vi_begin(int lower, int upper) {
  return static_cast<int32_t>(static_cast<uint32_t>(upper) << 16 | (static_cast<uint32_t>(lower) & 0xffffu));
}

#include "backends/cpu/vec_kernels.inl"
#include "backends/cpu/x86_nibbles.inl"
#include "backends/cpu/vec_index.inl"
#include "backends/cpu/avx2_fp4.inl"
#include "backends/cpu/avx2_e4m3.inl"
}  // namespace

const Kernels& avx2_kernels() {
  static const Kernels table = [] {
    Kernels t = with_index_codes(vec_kernels("avx2"));
    t.direct[kFormatFP4] = direct_fp4_digits;
    t.direct[kFormatE4M3] = direct_e4m3_quads;
    t.direct[kFormatBF16] = direct_several<Bf16Part, Bf16Rows>;
    t.max_direct[kFormatE4M3] = t.few_rows[kFormatE4M3] = kMaxDirect;
    t.max_direct[kFormatBF16] = t.few_rows[kFormatBF16] = kMaxDirect;
    return t;
  }();
  return table;
}

}  // namespace dsv4::cpu
