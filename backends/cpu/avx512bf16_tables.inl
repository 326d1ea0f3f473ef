// E4M3 codes to BF16 by table look-up (vpermi2b: 128 bytes for the upper and 128 for the lower halves): text for
// kernels_avx512bf16.cc and kernels_amx.cc, which have included immintrin.h and know kLowestFoldable and kHighestFoldable.
// Out come the even columns of a group of 64 and then the odd ones, the order in which kXQuantised and kXRaw rows are
// packed. No code's value is subnormal in BF16, and none becomes so by a scale that is foldable.

inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }
// (a & mask) | b
inline __m512i and_or(__m512i a, __m512i mask, __m512i b) { return _mm512_ternarylogic_epi64(a, mask, b, 0xea); }
inline __m512i load_part(const void* p, int64_t bytes) {
  return _mm512_maskz_loadu_epi8(bytes >= 64 ? ~__mmask64{0} : (__mmask64{1} << bytes) - 1, p);
}
inline __m256i load_part32(const void* p, int64_t bytes) {
  return _mm256_maskz_loadu_epi8(bytes >= 32 ? ~__mmask32{0} : (__mmask32{1} << bytes) - 1, p);
}

// The elements of two vectors in turns: 0 of both, 1 of both, … of the first half; of the second half, 16 further on.
struct alignas(64) Interleave {
  uint16_t lane[32] = {};
  constexpr Interleave() {
    for (int i = 0; i < 32; ++i) lane[i] = static_cast<uint16_t>(i / 2 + i % 2 * 32);
  }
};
constexpr Interleave kInterleave;

// Upper half of the FP32 value of an E4M3 code without its sign.
constexpr uint16_t e4m3_bits(int code) {
  const int e = code >> 3, m = code & 7;
  if (code == 0x7f) return 0x7fc0;
  if (e != 0) return static_cast<uint16_t>((e + 120) << 7 | m << 4);
  if (m == 0) return 0;
  const int top = m >= 4 ? 2 : m >= 2 ? 1 : 0;  // m * 2^-9
  return static_cast<uint16_t>((top - 9 + 127) << 7 | (m << (7 - top) & 0x7f));
}
struct alignas(64) E4M3Bytes {
  uint8_t high[128] = {}, low[128] = {};
  constexpr E4M3Bytes() {
    for (int b = 0; b < 128; ++b) {
      high[b] = static_cast<uint8_t>(e4m3_bits(b) >> 8);
      low[b] = static_cast<uint8_t>(e4m3_bits(b) & 0xff);
    }
  }
};
constexpr E4M3Bytes kE4M3Bytes;

struct E4M3Table {
  __m512i high[2], low[2], sign, byte, upper;
  E4M3Table() {
    for (int i = 0; i < 2; ++i) {
      high[i] = load(kE4M3Bytes.high + 64 * i);
      low[i] = load(kE4M3Bytes.low + 64 * i);
    }
    sign = _mm512_set1_epi8(static_cast<char>(0x80));
    byte = _mm512_set1_epi16(0x00ff);
    upper = _mm512_set1_epi16(static_cast<short>(0xff00));
  }
  // The same with a scale folded in, which must be foldable: added to the exponents of all but zero and NaN.
  E4M3Table scaled(uint8_t scale) const {
    E4M3Table t = *this;
    const int e = scale - 127;
    for (int i = 0; i < 2; ++i) {
      const __mmask64 all = i == 0 ? ~__mmask64{1} : ~__mmask64{0} >> 1;
      // The lowest bit of the exponent is in the lower half.
      const __mmask64 flip = e % 2 != 0 ? all : 0, carry = flip & _mm512_movepi8_mask(low[i]);
      t.low[i] = _mm512_mask_add_epi8(low[i], flip, low[i], sign);
      t.high[i] = _mm512_mask_add_epi8(high[i], all, high[i], _mm512_set1_epi8(static_cast<char>(e >> 1)));
      t.high[i] = _mm512_mask_sub_epi8(t.high[i], carry, t.high[i], _mm512_set1_epi8(-1));
    }
    return t;
  }
  // 64 codes: BF16 of the even ones and of the odd ones.
  inline void widen(__m512i codes, __m512i& even, __m512i& odd) const {
    const __m512i lo = _mm512_permutex2var_epi8(low[0], codes, low[1]);
    const __m512i hi = and_or(codes, sign, _mm512_permutex2var_epi8(high[0], codes, high[1]));
    even = and_or(lo, byte, _mm512_slli_epi16(hi, 8));
    odd = and_or(hi, upper, _mm512_srli_epi16(lo, 8));
  }
};

bool scales_foldable(const uint8_t* s, int64_t count) {
  const __m512i lowest = _mm512_set1_epi8(kLowestFoldable);
  const __m512i range = _mm512_set1_epi8(static_cast<char>(kHighestFoldable - kLowestFoldable));
  for (int64_t i = 0; i < count; i += 64) {
    const __mmask64 these = count - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (count - i)) - 1;
    const __m512i e = _mm512_maskz_loadu_epi8(these, s + i);
    if (_mm512_mask_cmpgt_epu8_mask(these, _mm512_sub_epi8(e, lowest), range) != 0) return false;
  }
  return true;
}

// Columns [col, col + cols) of some weight rows to `out`, `stride` elements apart, padded with zeros to a multiple of
// kPad: as `widen` of kernels.h, every scale being foldable.

inline void widened_e4m3(uint16_t* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                      int64_t cols) {
  const E4M3Table plain;
  for (int64_t i = 0; i < count;) {
    const int64_t end = i + 128 - (first + i) % 128 < count ? i + 128 - (first + i) % 128 : count;
    const uint8_t* s = w.scale + (first + i) / 128 * w.scale_cols + col / 128;
    for (int64_t c = 0; c < cols; c += 128) {
      const E4M3Table table = plain.scaled(s[c / 128]);
      for (int64_t r = i; r < end; ++r) {
        const uint8_t* p = w.data + (first + r) * w.row_bytes + col + c;
        uint16_t* y = out + r * stride + c;
        for (int64_t g = 0; g < 128; g += 64) {
          const int64_t left = cols - c - g;
          __m512i even, odd;
          table.widen(left >= 64 ? load(p + g) : load_part(p + g, left > 0 ? left : 0), even, odd);
          _mm512_storeu_si512(y + g, even);
          _mm512_storeu_si512(y + g + 32, odd);
        }
      }
    }
    i = end;
  }
}

bool e4m3_foldable(const WeightView& w, int64_t first, int64_t count, int64_t col, int64_t cols) {
  for (int64_t b = first / 128; b <= (first + count - 1) / 128; ++b) {
    if (!scales_foldable(w.scale + b * w.scale_cols + col / 128, (cols + 127) / 128)) return false;
  }
  return true;
}

inline void widened_bf16(uint16_t* out, int64_t stride, const WeightView& w, int64_t first, int64_t count,
                             int64_t col, int64_t cols) {
  const int64_t padded = (cols + kPad - 1) / kPad * kPad;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* p = w.data + (first + i) * w.row_bytes + 2 * col;
    uint16_t* y = out + i * stride;
    for (int64_t c = 0; c < padded; c += 32) {
      const int64_t left = 2 * (cols - c);
      _mm512_storeu_si512(y + c, left >= 64 ? load(p + 2 * c) : load_part(p + 2 * c, left > 0 ? left : 0));
    }
  }
}
