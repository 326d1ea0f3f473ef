// The vector type of vec_kernels.inl in AVX-512 (F, BW, VL, DQ): 16 lanes. The including file has defined kXScale.

using V = __m512;
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
constexpr int kCodes = 1;
constexpr float kUnitE4M3 = 0x1p120f / kXScale;
constexpr float kUnitFP4 = 1.0f / kXScale;
constexpr float kE4M3Value = 0x1p120f;
constexpr float kFP4Value = 1.0f;

static inline V v_zero() { return _mm512_setzero_ps(); }
static inline V v_set(float x) { return _mm512_set1_ps(x); }
static inline V v_load(const float* p) { return _mm512_loadu_ps(p); }
static inline void v_store(float* p, V x) { _mm512_storeu_ps(p, x); }
static inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
static inline V v_load_n(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
static inline void v_store_n(float* p, V x, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }
static inline V v_add(V a, V b) { return _mm512_add_ps(a, b); }
static inline V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
static inline V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
static inline V v_div(V a, V b) { return _mm512_div_ps(a, b); }
static inline V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
static inline V v_max(V a, V b) { return _mm512_max_ps(a, b); }
static inline V v_min(V a, V b) { return _mm512_min_ps(a, b); }
static inline V v_abs(V a) { return _mm512_abs_ps(a); }
static inline V v_or_sign(V x, V s) { return _mm512_or_ps(x, _mm512_and_ps(s, v_set(-0.0f))); }
static inline V v_binade(V x) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7f800000)));
}
static inline V v_rint(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline V v_exp2i(V n) {
  const __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}
static inline float v_sum(V x) { return _mm512_reduce_add_ps(x); }
static inline float v_maximum(V x) { return _mm512_reduce_max_ps(x); }

static inline V v_fused(V a, V b, V c) { return v_fma(a, b, c); }

struct VD {
  __m512d low, high;
};
static inline VD vd_zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
static inline VD vd_add_square(VD s, V x) {
  const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
  return {_mm512_fmadd_pd(a, a, s.low), _mm512_fmadd_pd(b, b, s.high)};
}
static inline double vd_sum(VD s) { return _mm512_reduce_add_pd(_mm512_add_pd(s.low, s.high)); }

static inline V v_load16(const uint16_t* p) {
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}
// BF16 in the upper half of every lane, rounded to nearest even; a NaN keeps its upper bits and stays one.
static inline __m512i rounded16(V x) {
  const __m512i u = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
}
static inline void v_store16(uint16_t* p, V x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded16(x), 16)));
}
static inline V v_round16(V x) {
  return _mm512_castsi512_ps(_mm512_and_si512(rounded16(x), _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
static inline void v_load_pairs(const uint16_t* p, V& even, V& odd) {
  const __m512i b = _mm512_loadu_si512(p);
  even = _mm512_castsi512_ps(_mm512_slli_epi32(b, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(b, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
static inline void v_store_pairs(uint16_t* p, V even, V odd) {
  const __m512i lo = _mm512_srli_epi32(rounded16(even), 16);
  const __m512i hi = _mm512_and_si512(rounded16(odd), _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  _mm512_storeu_si512(p, _mm512_or_si512(lo, hi));
}

static inline __m512i lane_numbers() {
  return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
template <int kStride>
static inline V v_swap(V x) {
  return _mm512_permutexvar_ps(_mm512_xor_si512(lane_numbers(), _mm512_set1_epi32(kStride)), x);
}
template <int kStride>
static inline V v_alternate() {
  const __mmask16 upper = _mm512_test_epi32_mask(lane_numbers(), _mm512_set1_epi32(kStride));
  return _mm512_mask_blend_ps(upper, v_set(1.0f), v_set(-1.0f));
}

// Sign, exponent and mantissa of a code in their FP32 places: the value times 2^-120, subnormal codes included.
static inline void v_e4m3(V (&v)[kCodes], const uint8_t* p) {
  const __m512i b = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m512i fields = _mm512_set1_epi32(static_cast<int>(0x87f00000u));
  v[0] = _mm512_castsi512_ps(_mm512_and_si512(_mm512_slli_epi32(b, 20), fields));
}
static inline V e2m1_values(__m128i codes) {
  const __m512 table = _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f,
                                      -2.0f, -3.0f, -4.0f, -6.0f);
  return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(codes), table);
}
static inline void v_fp4(V (&v)[2], const uint8_t* p) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), mask = _mm_set1_epi8(15);
  const __m128i lo = _mm_and_si128(b, mask), hi = _mm_and_si128(_mm_srli_epi16(b, 4), mask);
  v[0] = e2m1_values(_mm_unpacklo_epi8(lo, hi));
  v[1] = e2m1_values(_mm_unpackhi_epi8(lo, hi));
}

using VI = __m512i;
using VS = VI;
static inline VI vi_load(const uint8_t* p) { return _mm512_loadu_si512(p); }
static inline VS vi_sums(const uint8_t* begin) { return vi_load(begin); }
static inline VI vi_broadcast(const uint8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}
#ifdef __AVX512VNNI__
static inline VI vi_dot(VI sum, VI bytes, VI codes) { return _mm512_dpbusd_epi32(sum, bytes, codes); }
static inline V vi_float(VI sum) { return _mm512_cvtepi32_ps(sum); }
static inline int32_t vi_begin(int lower, int upper) { return lower + upper; }
#else
// Two sums of two products each, in 16 bits.
static inline VI vi_dot(VI sum, VI bytes, VI codes) {
  return _mm512_add_epi16(sum, _mm512_maddubs_epi16(bytes, codes));
}
static inline V vi_float(VI sum) { return _mm512_cvtepi32_ps(_mm512_madd_epi16(sum, _mm512_set1_epi16(1))); }
static inline int32_t vi_begin(int lower, int upper) {
  return static_cast<int32_t>(static_cast<uint32_t>(upper) << 16 | (static_cast<uint32_t>(lower) & 0xffffu));
}
#endif
#include "backends/cpu/x86_nibbles.inl"
