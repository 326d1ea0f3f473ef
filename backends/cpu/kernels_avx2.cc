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
constexpr float kUnitFP4 = 1.0f / kXScale;
constexpr float kE4M3Value = 0x1p120f;
constexpr float kFP4Value = 1.0f;

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
// Twice the value of every code, as an integer.
inline __m128i fp4_doubled() { return _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12); }
inline __m256i in_both_lanes(__m128i x) { return _mm256_broadcastsi128_si256(x); }
// Values of codes, one a byte, from their BF16: lanes of v[2k] are bytes 8k to 8k + 3, of v[2k + 1] the next four.
inline void fp4_values(V (&v)[4], __m256i codes) {
  const __m256i lower = in_both_lanes(_mm_set1_epi64x(static_cast<int64_t>(0xc0804000'c0800000u)));
  const __m256i upper = in_both_lanes(_mm_set_epi64x(static_cast<int64_t>(0xc0c0c0c0'bfbfbf80u), 0x40404040'3f3f3f00));
  const __m256i low = _mm256_shuffle_epi8(lower, codes), high = _mm256_shuffle_epi8(upper, codes);
  const __m256i words[2] = {_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)};
  for (int k = 0; k < 2; ++k) {
    v[2 * k] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(_mm256_setzero_si256(), words[k]));
    v[2 * k + 1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(_mm256_setzero_si256(), words[k]));
  }
}
inline void v_fp4(V (&v)[4], const uint8_t* p) {
  // Each byte twice, so that fp4_values finds the columns in order; then one code of it is kept.
  const __m256i places = _mm256_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13,
                                          2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15);
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m256i twice = _mm256_shuffle_epi8(in_both_lanes(bytes), places);
  const __m256i even = _mm256_and_si256(twice, _mm256_set1_epi16(0x000f));
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(twice, 4), _mm256_set1_epi16(0x0f00));
  fp4_values(v, _mm256_or_si256(even, odd));
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
#include "backends/cpu/avx2_several.inl"
#include "backends/cpu/avx2_fp4.inl"
#include "backends/cpu/avx2_e4m3.inl"
}  // namespace

const Kernels& avx2_kernels() {
  static const Kernels table = [] {
    Kernels t = with_index_codes(vec_kernels("avx2"));
    t.direct[kFormatFP4] = direct_fp4_digits;
    t.direct[kFormatE4M3] = direct_e4m3_quads;
    t.direct[kFormatBF16] = direct_several<Bf16Part, Bf16Rows>;
    for (int format = kFormatE4M3; format < kFormatF32; ++format) {
      t.max_direct[format] = t.few_rows[format] = kMaxDirect;
    }
    return t;
  }();
  return table;
}

}  // namespace dsv4::cpu
