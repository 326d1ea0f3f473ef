// Part of kernels_neon*.cc: FP4 weights times one input row that was quantised to E4M3, in integers, as avx2_fp4.inl
// says. Bytes are signed on both sides here, so that a weight is its integer |w| <= 12 itself. In 128 columns
//   x = unit · (d0 + 256·d1 + 65536·d2), -128 <= d < 128; d2 only where two digits are not enough.

constexpr int64_t kDigitCols = 8192;  // columns of a row that are taken, at most

struct alignas(16) DigitBlock {  // 32 columns
  int8_t digit[3][2][16];        // of each the even columns first, as nibbles fall apart
};

struct DigitRow {
  DigitBlock block[kDigitCols / 32];
  float unit[kDigitCols / 128];  // a weight's half and kXScale are in it
  bool wide[kDigitCols / 128];   // d2 is not zero everywhere
};

// 32 columns.
static inline void put_digits(DigitBlock& block, const int32x4_t* v) {
  // With 128 added to the lower digits these are plain bytes.
  const int32x4_t bias = vdupq_n_s32(0x8080);
  for (int odd = 0; odd < 2; ++odd) {
    uint16x8_t u[4];
    for (int k = 0; k < 4; ++k) {
      const int32x4_t a = vaddq_s32(v[2 * k], bias), b = vaddq_s32(v[2 * k + 1], bias);
      u[k] = vreinterpretq_u16_s32(odd == 0 ? vuzp1q_s32(a, b) : vuzp2q_s32(a, b));
    }
    const uint8x16_t sign = vdupq_n_u8(128);
    uint8x16_t low[2], high[2];  // two bytes of every number each
    for (int k = 0; k < 2; ++k) {
      low[k] = vreinterpretq_u8_u16(vuzp1q_u16(u[2 * k], u[2 * k + 1]));
      high[k] = vreinterpretq_u8_u16(vuzp2q_u16(u[2 * k], u[2 * k + 1]));
    }
    vst1q_s8(block.digit[0][odd], vreinterpretq_s8_u8(veorq_u8(vuzp1q_u8(low[0], low[1]), sign)));
    vst1q_s8(block.digit[1][odd], vreinterpretq_s8_u8(veorq_u8(vuzp2q_u8(low[0], low[1]), sign)));
    vst1q_s8(block.digit[2][odd], vreinterpretq_s8_u8(vuzp1q_u8(high[0], high[1])));
  }
}

// 128 columns as integers of so many bits. False: not what they are.
static inline bool find_integers(int32x4_t (&v)[32], const float* x, int exponent, int bits) {
  const V inverse = v_set(exponent_value(bits - 1 - exponent));  // the largest value becomes one of 2^(bits - 1) on
  uint32x4_t kept = vdupq_n_u32(~0u);
  for (int k = 0; k < 32; ++k) {
    const V scaled = v_mul(v_load(x + 4 * k), inverse);
    v[k] = vcvtnq_s32_f32(scaled);
    kept = vandq_u32(kept, vceqq_f32(vcvtq_f32_s32(v[k]), scaled));
  }
  return vminvq_u32(kept) != 0;
}

// 128 columns. False: not values that E4M3 and a scale give, or such near FP32's ends.
static inline bool find_digits(DigitBlock* block, float& unit, bool& wide, const float* x) {
  V most = v_zero();
  for (int64_t i = 0; i < 128; i += kLanes) most = v_max(most, v_abs(v_load(x + i)));
  const float top = v_maximum(most);
  uint32_t raw;
  __builtin_memcpy(&raw, &top, 4);
  const int exponent = top == 0.0f ? 0 : static_cast<int>(raw >> 23) - 127;
  if (exponent < -27 || exponent > 123) return false;
  int32x4_t v[32];
  // Past 0x7f7f two digits are not enough: E4M3's largest, 0x7800, is below.
  const bool few = top * exponent_value(14 - exponent) <= 0x7f7f && find_integers(v, x, exponent, 15);
  if (!few && !find_integers(v, x, exponent, 18)) return false;
  wide = !few;
  unit = exponent_value(exponent - (few ? 14 : 17)) * (0.5f / kXScale);
  for (int k = 0; k < 4; ++k) put_digits(block[k], v + 8 * k);
  return true;
}

// Σ w·d of 32 columns: eight to a lane.
static inline int32x4_t digit_dot(int8x16_t even, int8x16_t odd, const int8_t (&digit)[2][16]) {
  const int8x16_t d[2] = {vld1q_s8(digit[0]), vld1q_s8(digit[1])};
#ifdef __ARM_FEATURE_DOTPROD
  return vdotq_s32(vdotq_s32(vdupq_n_s32(0), even, d[0]), odd, d[1]);
#else  // in 16 bits: four products of at most 12·128 a lane
  const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(even), vget_low_s8(d[0])), vget_low_s8(odd), vget_low_s8(d[1]));
  return vpaddlq_s16(vmlal_high_s8(vmlal_high_s8(low, even, d[0]), odd, d[1]));
#endif
}

alignas(16) constexpr int8_t kFP4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Exact in 32 bits, and rounded to FP32 once.
template <bool kWide>
static inline V digit_block(const uint8_t* p, const DigitBlock& x) {
  const int8x16_t table = vld1q_s8(kFP4Doubled);
  const uint8x16_t bytes = vld1q_u8(p);
  const int8x16_t even = vqtbl1q_s8(table, vandq_u8(bytes, vdupq_n_u8(15)));
  const int8x16_t odd = vqtbl1q_s8(table, vshrq_n_u8(bytes, 4));
  int32x4_t all = vaddq_s32(digit_dot(even, odd, x.digit[0]), vshlq_n_s32(digit_dot(even, odd, x.digit[1]), 8));
  if constexpr (kWide) all = vaddq_s32(all, vshlq_n_s32(digit_dot(even, odd, x.digit[2]), 16));
  return vcvtq_f32_s32(all);
}

// 128 columns; the sums of a row's blocks do not wait for each other.
template <bool kWide>
static inline void digit_group(V (&total)[4], const uint8_t* p, V scales, V unit, const DigitBlock* x) {
  total[0] = vfmaq_laneq_f32(total[0], v_mul(digit_block<kWide>(p, x[0]), unit), scales, 0);
  total[1] = vfmaq_laneq_f32(total[1], v_mul(digit_block<kWide>(p + 16, x[1]), unit), scales, 1);
  total[2] = vfmaq_laneq_f32(total[2], v_mul(digit_block<kWide>(p + 32, x[2]), unit), scales, 2);
  total[3] = vfmaq_laneq_f32(total[3], v_mul(digit_block<kWide>(p + 48, x[3]), unit), scales, 3);
}

static inline float digit_row(const WeightView& w, int64_t row, const DigitRow& x) {
  const uint8_t* p = w.data + row * w.row_bytes;
  const uint8_t* s = w.scale + row * w.scale_cols;
  V total[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
  for (int64_t g = 0; g < w.cols / 128; ++g) {
    prefetch_ahead(p + 64 * g + kPage);
    if (g % 16 == 0) prefetch_ahead(s + 4 * g + kPage / 16);
    uint32_t four;
    __builtin_memcpy(&four, s + 4 * g, 4);
    // 2^(e - 127), of e = 0 the subnormal one.
    const uint16x4_t e = vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four))));
    const V scales = of_bits(vmaxq_u32(vshlq_n_u32(vmovl_u16(e), 23), vdupq_n_u32(0x00400000)));
    if (x.wide[g]) {
      digit_group<true>(total, p + 64 * g, scales, v_set(x.unit[g]), x.block + 4 * g);
    } else {
      digit_group<false>(total, p + 64 * g, scales, v_set(x.unit[g]), x.block + 4 * g);
    }
  }
  return v_sum(v_add(v_add(total[0], total[1]), v_add(total[2], total[3])));
}

// Which rows are taken depends on nothing but the row and the weight's shape: not on how many threads share the work.
static void direct_fp4_digits(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                              const void* const* x, int rows) {
  bool whole = rows == 1 && w.cols <= kDigitCols && w.cols % 128 == 0;
  if (whole) {
    DigitRow row;
    const float* from = static_cast<const float*>(x[0]);
    for (int64_t g = 0; whole && g < w.cols / 128; ++g) {
      whole = find_digits(row.block + 4 * g, row.unit[g], row.wide[g], from + 128 * g);
    }
    for (int64_t i = 0; whole && i < count; ++i) y[i] = digit_row(w, first + i, row);
  }
  if (!whole) direct<Fp4Rows>(y, y_stride, w, first, count, x, rows);
}
