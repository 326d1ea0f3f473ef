// Part of kernels_avx2.cc: FP4 weights times one input row that was quantised to E4M3, in integers.
// In 128 columns such a row is a power of two times integers below 2^18, and a weight is its block's scale times w / 2
// with an integer |w| <= 12. The integers fall into two words, x = unit · (low + 2^14 · high), |low| <= 2^13,
// |high| <= 16; the four columns that a lane sums stay below 2^24: exact, also as FP32.

constexpr int64_t kWordCols = 8192;  // columns of a row that are taken, at most

struct alignas(32) WordBlock {  // 32 columns
  int16_t word[2][2][16];       // low, then high words; of each the even columns first, as nibbles fall apart
};

struct WordRow {
  WordBlock block[kWordCols / 32];
  float unit[kWordCols / 128];  // a weight's half and kXScale are in it
};

inline void store_words(int16_t (&to)[2][16], const __m256i (&v)[4]) {
  __m256i even[2], odd[2];
  for (int k = 0; k < 2; ++k) {
    const __m256 a = _mm256_castsi256_ps(v[2 * k]), b = _mm256_castsi256_ps(v[2 * k + 1]);
    even[k] = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), 0xd8);
    odd[k] = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8);
  }
  const auto pack = [](__m256i a, __m256i b) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8); };
  _mm256_store_si256(reinterpret_cast<__m256i*>(to[0]), pack(even[0], even[1]));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to[1]), pack(odd[0], odd[1]));
}

// 128 columns. False: not values that E4M3 and a scale give, or such near FP32's ends.
inline bool find_words(WordBlock* block, float& unit, const float* x) {
  V most = v_zero();
  for (int64_t i = 0; i < 128; i += kLanes) most = v_max(most, v_abs(v_load(x + i)));
  const float top = v_maximum(most);
  uint32_t bits;
  __builtin_memcpy(&bits, &top, 4);
  const int exponent = top == 0.0f ? 0 : static_cast<int>(bits >> 23) - 127;
  if (exponent < -27 || exponent > 123) return false;
  const V inverse = v_set(exponent_value(17 - exponent));  // the largest value becomes an integer from 2^17 on
  unit = exponent_value(exponent - 17) * kUnitFP4;
  V lost = v_zero();
  for (int64_t b = 0; b < 4; ++b) {
    __m256i low[4], high[4];
    for (int k = 0; k < 4; ++k) {
      const V scaled = v_mul(v_load(x + 32 * b + 8 * k), inverse);
      const __m256i v = _mm256_cvtps_epi32(scaled);
      lost = _mm256_or_ps(lost, _mm256_cmp_ps(_mm256_cvtepi32_ps(v), scaled, _CMP_NEQ_UQ));
      high[k] = _mm256_srai_epi32(_mm256_add_epi32(v, _mm256_set1_epi32(1 << 13)), 14);
      low[k] = _mm256_sub_epi32(v, _mm256_slli_epi32(high[k], 14));
    }
    store_words(block[b].word[0], low);
    store_words(block[b].word[1], high);
  }
  return _mm256_movemask_ps(lost) == 0;
}

// 32 columns, as words.
inline V word_block(V total, __m256i even, __m256i odd, const WordBlock& x, float unit, float scale) {
  const auto sum = [&](int k) {
    return _mm256_add_epi32(_mm256_madd_epi16(even, _mm256_load_si256(reinterpret_cast<const __m256i*>(x.word[k][0]))),
                            _mm256_madd_epi16(odd, _mm256_load_si256(reinterpret_cast<const __m256i*>(x.word[k][1]))));
  };
  const V all = _mm256_cvtepi32_ps(_mm256_add_epi32(sum(0), _mm256_slli_epi32(sum(1), 14)));
  return v_fma(v_mul(all, v_set(unit)), v_set(scale), total);
}

inline float word_row(const WeightView& w, int64_t row, const WordRow& x) {
  const __m256i table = _mm256_broadcastsi128_si256(fp4_doubled());
  const __m256i nibble = _mm256_set1_epi8(15);
  const uint8_t* p = w.data + row * w.row_bytes;
  const uint8_t* s = w.scale + row * w.scale_cols;
  V first = v_zero(), second = v_zero();
  for (int64_t b = 0; b < w.cols / 32; b += 2) {
    if (b % 4 == 0) __builtin_prefetch(p + 16 * b + kPage);
    if (b % 64 == 0) __builtin_prefetch(s + b + kPage / 16);
    const float unit = x.unit[b / 4];
    const __m256i bytes = vi_load(p + 16 * b);
    const __m256i lo = _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, nibble));
    const __m256i hi = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble));
    first = word_block(first, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(lo)),
                       _mm256_cvtepi8_epi16(_mm256_castsi256_si128(hi)), x.block[b], unit, e8m0(s[b]));
    second = word_block(second, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(lo, 1)),
                        _mm256_cvtepi8_epi16(_mm256_extracti128_si256(hi, 1)), x.block[b + 1], unit, e8m0(s[b + 1]));
  }
  return v_sum(v_add(first, second));
}

// Which rows are taken depends on nothing but the row and the weight's shape: not on how many threads share the work.
void direct_fp4_words(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                      const void* const* x, int rows) {
  bool whole = rows == 1 && w.cols <= kWordCols && w.cols % 128 == 0;
  if (whole) {
    WordRow row;
    const float* from = static_cast<const float*>(x[0]);
    for (int64_t c = 0; whole && c < w.cols; c += 128) {
      whole = find_words(row.block + c / 32, row.unit[c / 128], from + c);
    }
    for (int64_t i = 0; whole && i < count; ++i) y[i] = word_row(w, first + i, row);
  }
  if (!whole) direct<Fp4Rows>(y, y_stride, w, first, count, x, rows);
}
