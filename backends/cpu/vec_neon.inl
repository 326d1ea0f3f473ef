// The vector type of vec_kernels.inl in Advanced SIMD of 64-bit Arm: 4 lanes, 32 registers. Text for kernels_neon*.cc.
// Subnormal numbers are as they are, unless FPCR says otherwise: float_mode.h sees to that.

using V = float32x4_t;
constexpr int kLanes = 4;
constexpr int kRegisters = 32;
constexpr int kCodes = 4;
constexpr float kXScale = 0x1p60f;
constexpr float kUnitE4M3 = 0x1p60f;  // 2^120 of v_e4m3 / kXScale
constexpr float kUnitFP4 = 1.0f / kXScale;
constexpr float kE4M3Value = 0x1p120f;
constexpr float kFP4Value = 1.0f;

static inline uint32x4_t bits_of(V x) { return vreinterpretq_u32_f32(x); }
static inline V of_bits(uint32x4_t x) { return vreinterpretq_f32_u32(x); }

static inline V v_zero() { return vdupq_n_f32(0.0f); }
static inline V v_set(float x) { return vdupq_n_f32(x); }
static inline V v_load(const float* p) { return vld1q_f32(p); }
static inline void v_store(float* p, V x) { vst1q_f32(p, x); }
static inline V v_load_n(const float* p, int64_t n) {
  float lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, static_cast<size_t>(n) * 4);
  return v_load(lanes);
}
static inline void v_store_n(float* p, V x, int64_t n) {
  float lanes[kLanes];
  v_store(lanes, x);
  __builtin_memcpy(p, lanes, static_cast<size_t>(n) * 4);
}
static inline V v_add(V a, V b) { return vaddq_f32(a, b); }
static inline V v_sub(V a, V b) { return vsubq_f32(a, b); }
static inline V v_mul(V a, V b) { return vmulq_f32(a, b); }
static inline V v_div(V a, V b) { return vdivq_f32(a, b); }
static inline V v_fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
static inline V v_fused(V a, V b, V c) { return vfmaq_f32(c, a, b); }
// As on other machines, where one side is no number: the second. fmax would hand it on to a whole block.
static inline V v_max(V a, V b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline V v_min(V a, V b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static inline V v_abs(V a) { return vabsq_f32(a); }
static inline V v_or_sign(V x, V s) {
  return of_bits(vorrq_u32(bits_of(x), vandq_u32(bits_of(s), vdupq_n_u32(0x80000000u))));
}
static inline V v_binade(V x) { return of_bits(vandq_u32(bits_of(x), vdupq_n_u32(0x7f800000u))); }
static inline V v_rint(V x) { return vrndnq_f32(x); }
static inline V v_exp2i(V n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}
static inline float v_sum(V x) { return vaddvq_f32(x); }
static inline float v_maximum(V x) { return vmaxnmvq_f32(x); }

struct VD {
  float64x2_t low, high;
};
static inline VD vd_zero() { return {vdupq_n_f64(0.0), vdupq_n_f64(0.0)}; }
static inline VD vd_add_square(VD s, V x) {
  const float64x2_t a = vcvt_f64_f32(vget_low_f32(x)), b = vcvt_high_f64_f32(x);
  return {vfmaq_f64(s.low, a, a), vfmaq_f64(s.high, b, b)};
}
static inline double vd_sum(VD s) { return vaddvq_f64(vaddq_f64(s.low, s.high)); }

static inline V v_load16(const uint16_t* p) { return of_bits(vshll_n_u16(vld1_u16(p), 16)); }
// BF16 in the upper half of every lane, rounded to nearest even; a NaN keeps its upper bits and stays one.
static inline uint32x4_t rounded16(V x) {
  const uint32x4_t u = bits_of(x), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t r = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
  return vbslq_u32(vceqq_f32(x, x), r, vorrq_u32(u, vdupq_n_u32(0x400000)));
}
static inline void v_store16(uint16_t* p, V x) { vst1_u16(p, vshrn_n_u32(rounded16(x), 16)); }
static inline V v_round16(V x) { return of_bits(vandq_u32(rounded16(x), vdupq_n_u32(0xffff0000u))); }
static inline void v_load_pairs(const uint16_t* p, V& even, V& odd) {
  const uint32x4_t b = vreinterpretq_u32_u16(vld1q_u16(p));
  even = of_bits(vshlq_n_u32(b, 16));
  odd = of_bits(vandq_u32(b, vdupq_n_u32(0xffff0000u)));
}
static inline void v_store_pairs(uint16_t* p, V even, V odd) {
  vst1q_u16(p, vreinterpretq_u16_u32(vsriq_n_u32(rounded16(odd), rounded16(even), 16)));
}

template <int kStride>
static inline V v_swap(V x) {
  return kStride == 1 ? vrev64q_f32(x) : vextq_f32(x, x, 2);
}
template <int kStride>
static inline V v_alternate() {
  return kStride == 1 ? V{1.0f, -1.0f, 1.0f, -1.0f} : V{1.0f, 1.0f, -1.0f, -1.0f};
}

// 16 codes. Sign, exponent and mantissa in their FP32 places: the value times 2^-120, subnormal codes included. The
// upper halves of the lanes are made as 16 bits, twice as many at a time.
static inline void v_e4m3(V (&v)[kCodes], const uint8_t* p) {
  const int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(p));
  const uint16x8_t fields = vdupq_n_u16(0x87f0);
  const uint16x8_t a = vandq_u16(vreinterpretq_u16_s16(vshll_n_s8(vget_low_s8(codes), 4)), fields);
  const uint16x8_t b = vandq_u16(vreinterpretq_u16_s16(vshll_high_n_s8(codes, 4)), fields);
  v[0] = of_bits(vshll_n_u16(vget_low_u16(a), 16));
  v[1] = of_bits(vshll_high_n_u16(a, 16));
  v[2] = of_bits(vshll_n_u16(vget_low_u16(b), 16));
  v[3] = of_bits(vshll_high_n_u16(b, 16));
}

// The two bytes of every E2M1 value as BF16.
alignas(16) constexpr uint8_t kFP4Upper[16] = {0x00, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40,
                                               0x80, 0xbf, 0xbf, 0xbf, 0xc0, 0xc0, 0xc0, 0xc0};
alignas(16) constexpr uint8_t kFP4Lower[16] = {0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0,
                                               0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0};
static inline void v_fp4(V (&v)[8], const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p), upper = vld1q_u8(kFP4Upper), lower = vld1q_u8(kFP4Lower);
  const uint8x16_t even = vandq_u8(bytes, vdupq_n_u8(15)), odd = vshrq_n_u8(bytes, 4);
  const uint8x16_t codes[2] = {vzip1q_u8(even, odd), vzip2q_u8(even, odd)};
  for (int k = 0; k < 2; ++k) {
    const uint8x16_t high = vqtbl1q_u8(upper, codes[k]), low = vqtbl1q_u8(lower, codes[k]);
    const uint16x8_t a = vreinterpretq_u16_u8(vzip1q_u8(low, high)), b = vreinterpretq_u16_u8(vzip2q_u8(low, high));
    v[4 * k] = of_bits(vshll_n_u16(vget_low_u16(a), 16));
    v[4 * k + 1] = of_bits(vshll_high_n_u16(a, 16));
    v[4 * k + 2] = of_bits(vshll_n_u16(vget_low_u16(b), 16));
    v[4 * k + 3] = of_bits(vshll_high_n_u16(b, 16));
  }
}

// ---- integers: both sides of vi_dot are signed here, and the unsigned bytes of vec_index.inl, at most 24, are both
using VI = int8x16_t;
static inline VI vi_load(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
static inline VI vi_broadcast(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, 4);
  return vreinterpretq_s8_u32(vdupq_n_u32(word));
}
static inline void vi_nibbles(uint8_t* even, uint8_t* odd, const uint8_t* table, const uint8_t* p) {
  const uint8x16_t values = vld1q_u8(table), bytes = vld1q_u8(p);
  vst1q_u8(even, vqtbl1q_u8(values, vandq_u8(bytes, vdupq_n_u8(15))));
  vst1q_u8(odd, vqtbl1q_u8(values, vshrq_n_u8(bytes, 4)));
}
#ifdef __ARM_FEATURE_DOTPROD
using VS = int32x4_t;
static inline VS vi_sums(const uint8_t* begin) { return vreinterpretq_s32_u8(vld1q_u8(begin)); }
static inline VS vi_dot(VS sum, VI bytes, VI codes) { return vdotq_s32(sum, bytes, codes); }
static inline V vi_float(VS sum) { return vcvtq_f32_s32(sum); }
static inline int32_t vi_begin(int lower, int upper) { return lower + upper; }
#else
// Every product's sum in 16 bits of its own, in which eight products of at most 24 · 12 and the beginning fit.
struct VS {
  int16x8_t low, high;
};
static inline VS vi_sums(const uint8_t* begin) {
  const uint32x4_t pairs = vreinterpretq_u32_u8(vld1q_u8(begin));
  return {vreinterpretq_s16_u64(vmovl_u32(vget_low_u32(pairs))), vreinterpretq_s16_u64(vmovl_high_u32(pairs))};
}
static inline VS vi_dot(VS sum, VI bytes, VI codes) {
  return {vmlal_s8(sum.low, vget_low_s8(bytes), vget_low_s8(codes)), vmlal_high_s8(sum.high, bytes, codes)};
}
static inline V vi_float(VS sum) { return vcvtq_f32_s32(vpaddlq_s16(vpaddq_s16(sum.low, sum.high))); }
static inline int32_t vi_begin(int lower, int upper) {
  return static_cast<int32_t>(static_cast<uint32_t>(upper) << 16 | (static_cast<uint32_t>(lower) & 0xffffu));
}
#endif
