// Part of kernels_avx2.cc: FP4 weights times one input row that was quantised to E4M3, in integers.
// In 128 columns such a row is a power of two times integers below 2^18, and a weight is its block's scale times w / 2
// with an integer |w| <= 12. The integers are digits of base 256, x = unit · (d0 + 256·d1 + 65536·d2), -128 <= d < 128;
// 128 values that are not too far apart need no d2. A weight is the byte w + 12, so that bytes multiply bytes without
// signs: Σ w·x = Σ (w + 12)·x - 12·Σ x. A lane sums eight columns, exact in 32 bits, and is rounded to FP32 once.

constexpr int64_t kDigitCols = 8192;  // columns of a row that are taken, at most

struct alignas(32) DigitBlock {  // 64 columns
  uint8_t digit[3][2][32];       // of each the even columns first, as nibbles fall apart
  int32_t offset[8];             // -12·Σ x, of the first 32 columns in the lower half
};

struct DigitRow {
  DigitBlock block[kDigitCols / 64];
  float unit[kDigitCols / 128];  // a weight's half and kXScale are in it
  bool wide[kDigitCols / 128];   // d2 is not zero everywhere
};

inline __m256i vi_aligned(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
inline void vi_put(void* p, __m256i x) { _mm256_store_si256(static_cast<__m256i*>(p), x); }

// Bits [8k, 8k + 8) of four vectors, as bytes in order.
inline __m256i bytes_of(const __m256i* u, int k) {
  __m256i t[4];
  for (int i = 0; i < 4; ++i) t[i] = _mm256_and_si256(_mm256_srli_epi32(u[i], 8 * k), _mm256_set1_epi32(255));
  const __m256i all = _mm256_packus_epi16(_mm256_packus_epi32(t[0], t[1]), _mm256_packus_epi32(t[2], t[3]));
  return _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

inline __m128i fold(__m256i x) { return _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }

inline void put_digits(DigitBlock& block, const __m256i* v) {
  const __m256i first = _mm256_add_epi32(_mm256_add_epi32(v[0], v[1]), _mm256_add_epi32(v[2], v[3]));
  const __m256i last = _mm256_add_epi32(_mm256_add_epi32(v[4], v[5]), _mm256_add_epi32(v[6], v[7]));
  vi_put(block.offset, _mm256_mullo_epi32(_mm256_set_m128i(fold(last), fold(first)), _mm256_set1_epi32(-12)));
  // With 128 added to the lower digits these are plain bytes.
  const __m256i bias = _mm256_set1_epi32(0x8080);
  __m256i u[2][4];
  for (int k = 0; k < 4; ++k) {
    const __m256 a = _mm256_castsi256_ps(_mm256_add_epi32(v[2 * k], bias));
    const __m256 b = _mm256_castsi256_ps(_mm256_add_epi32(v[2 * k + 1], bias));
    u[0][k] = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), 0xd8);
    u[1][k] = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8);
  }
  for (int k = 0; k < 3; ++k) {
    const __m256i sign = _mm256_set1_epi8(k < 2 ? -128 : 0);
    for (int odd = 0; odd < 2; ++odd) vi_put(block.digit[k][odd], _mm256_xor_si256(bytes_of(u[odd], k), sign));
  }
}

// 128 columns as integers of so many bits. False: not what they are.
inline bool find_integers(__m256i (&v)[16], const float* x, int exponent, int bits) {
  const V inverse = v_set(exponent_value(bits - 1 - exponent));  // the largest value becomes one of 2^(bits - 1) on
  V lost = v_zero();
  for (int k = 0; k < 16; ++k) {
    const V scaled = v_mul(v_load(x + 8 * k), inverse);
    v[k] = _mm256_cvtps_epi32(scaled);
    lost = _mm256_or_ps(lost, _mm256_cmp_ps(_mm256_cvtepi32_ps(v[k]), scaled, _CMP_NEQ_UQ));
  }
  return _mm256_movemask_ps(lost) == 0;
}

// 128 columns. False: not values that E4M3 and a scale give, or such near FP32's ends.
inline bool find_digits(DigitBlock* block, float& unit, bool& wide, const float* x) {
  V most = v_zero();
  for (int64_t i = 0; i < 128; i += kLanes) most = v_max(most, v_abs(v_load(x + i)));
  const float top = v_maximum(most);
  uint32_t raw;
  __builtin_memcpy(&raw, &top, 4);
  const int exponent = top == 0.0f ? 0 : static_cast<int>(raw >> 23) - 127;
  if (exponent < -27 || exponent > 123) return false;
  __m256i v[16];
  // Past 0x7f7f two digits are not enough: E4M3's largest, 0x7800, is below.
  const bool few = top * exponent_value(14 - exponent) <= 0x7f7f && find_integers(v, x, exponent, 15);
  if (!few && !find_integers(v, x, exponent, 18)) return false;
  wide = !few;
  unit = exponent_value(exponent - (few ? 14 : 17)) * 0.5f * kUnitFP4;
  put_digits(block[0], v);
  put_digits(block[1], v + 8);
  return true;
}

// Σ w·x of 64 columns: the first 32 in the lower half's lanes.
template <bool kWide>
inline V digit_block(__m256i even, __m256i odd, const DigitBlock& x) {
  const auto sum = [&](int k) {  // of 16 bits: four products of at most 24·128 a lane
    return _mm256_add_epi16(_mm256_maddubs_epi16(even, vi_aligned(x.digit[k][0])),
                            _mm256_maddubs_epi16(odd, vi_aligned(x.digit[k][1])));
  };
  const __m256i one = _mm256_set1_epi16(1);
  __m256i all = _mm256_add_epi32(_mm256_madd_epi16(sum(0), one), _mm256_madd_epi16(sum(1), _mm256_set1_epi16(256)));
  all = _mm256_add_epi32(all, vi_aligned(x.offset));
  if constexpr (kWide) all = _mm256_add_epi32(all, _mm256_slli_epi32(_mm256_madd_epi16(sum(2), one), 16));
  return _mm256_cvtepi32_ps(all);
}

template <bool kWide>
inline void digit_group(V (&total)[2], const uint8_t* p, __m256i scales, V unit, const DigitBlock* x) {
  const __m256i table = _mm256_add_epi8(_mm256_broadcastsi128_si256(fp4_doubled()), _mm256_set1_epi8(12));
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int k = 0; k < 2; ++k) {
    const __m256i bytes = vi_load(p + 32 * k);
    const __m256i even = _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, nibble));
    const __m256i odd = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble));
    const __m256i lanes = k == 0 ? _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1) : _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const V scale = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(scales, lanes));
    total[k] = v_fma(v_mul(digit_block<kWide>(even, odd, x[k]), unit), scale, total[k]);
  }
}

inline float digit_row(const WeightView& w, int64_t row, const DigitRow& x) {
  const uint8_t* p = w.data + row * w.row_bytes;
  const uint8_t* s = w.scale + row * w.scale_cols;
  V total[2] = {v_zero(), v_zero()};
  for (int64_t g = 0; g < w.cols / 128; ++g) {
    prefetch_ahead(p + 64 * g + kPage);
    if (g % 16 == 0) prefetch_ahead(s + 4 * g + kPage / 16);
    int32_t four;
    __builtin_memcpy(&four, s + 4 * g, 4);
    // 2^(e - 127), of e = 0 the subnormal one.
    const __m128i bits = _mm_slli_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)), 23);
    const __m128 value = _mm_castsi128_ps(_mm_max_epi32(bits, _mm_set1_epi32(0x00400000)));
    const __m256i scales = _mm256_castsi128_si256(_mm_castps_si128(value));
    if (x.wide[g]) {
      digit_group<true>(total, p + 64 * g, scales, v_set(x.unit[g]), x.block + 2 * g);
    } else {
      digit_group<false>(total, p + 64 * g, scales, v_set(x.unit[g]), x.block + 2 * g);
    }
  }
  return v_sum(v_add(total[0], total[1]));
}

// False: not a row of such values.
inline bool digits_of(DigitRow& row, const float* x, int64_t cols) {
  for (int64_t g = 0; g < cols / 128; ++g) {
    if (!find_digits(row.block + 2 * g, row.unit[g], row.wide[g], x + 128 * g)) return false;
  }
  return true;
}

// Two and three input rows go one after the other, faster than side by side in FP32. Which rows are taken depends on
// nothing but the row and the weight's shape: not on how many threads share the work.
void direct_fp4_digits(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                       const void* const* x, int rows) {
  const bool fits = rows <= 3 && w.cols <= kDigitCols && w.cols % 128 == 0;
  if (!fits) return direct_several<Fp4Part, Fp4Rows>(y, y_stride, w, first, count, x, rows);
  DigitRow row;
  for (int m = 0; m < rows; ++m) {
    float* out = y + m * y_stride;
    if (digits_of(row, static_cast<const float*>(x[m]), w.cols)) {
      for (int64_t i = 0; i < count; ++i) out[i] = digit_row(w, first + i, row);
    } else {
      direct<Fp4Rows>(out, y_stride, w, first, count, x + m, 1);
    }
  }
}
