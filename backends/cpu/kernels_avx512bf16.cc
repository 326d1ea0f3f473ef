// Kernels for AVX-512 with BF16 dot products and VBMI byte look-ups. Compiled with wider instructions than the rest:
// see kernels.h before including.
//
// Weights become BF16 by table: E2M1 codes index 32 words (vpermw), E4M3 codes 128 bytes, once for the upper and once
// for the lower half (vpermi2b). vdpbf16ps flushes subnormals, and no code's value is one in BF16. Both give the even
// columns of a group of 64 and then the odd ones, the order in which kXQuantised and kXRaw rows are packed.
#include "backends/cpu/kernels.h"

#ifdef DSV4_CPU_AVX512_BF16
#include <immintrin.h>

namespace dsv4::cpu {
namespace {

template <class T>
constexpr T least_of(T a, T b) {
  return a < b ? a : b;
}
template <class T>
constexpr T most_of(T a, T b) {
  return a > b ? a : b;
}

constexpr float kXScale = 1.0f;
#include "backends/cpu/vec_avx512.inl"
#include "backends/cpu/vec_kernels.inl"
#include "backends/cpu/vec_index.inl"

inline V dp(V sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }
// (a & mask) | b
inline __m512i and_or(__m512i a, __m512i mask, __m512i b) { return _mm512_ternarylogic_epi64(a, mask, b, 0xea); }

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
  // 64 codes: BF16 of the even ones and of the odd ones.
  inline void widen(__m512i codes, __m512i& even, __m512i& odd) const {
    const __m512i lo = _mm512_permutex2var_epi8(low[0], codes, low[1]);
    const __m512i hi = and_or(codes, sign, _mm512_permutex2var_epi8(high[0], codes, high[1]));
    even = and_or(lo, byte, _mm512_slli_epi16(hi, 8));
    odd = and_or(hi, upper, _mm512_srli_epi16(lo, 8));
  }
};

struct alignas(64) Fp4Words {
  uint16_t value[32] = {};
  constexpr Fp4Words() {
    constexpr uint16_t kMagnitude[8] = {0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0};
    for (int i = 0; i < 32; ++i) value[i] = static_cast<uint16_t>(kMagnitude[i & 7] | ((i & 8) != 0 ? 0x8000 : 0));
  }
};
constexpr Fp4Words kFp4Words;

struct Fp4Table {
  __m512i words = load(kFp4Words.value);
  // 64 codes in 32 bytes; vpermw looks at five bits, and the table repeats after sixteen, so nothing needs masking.
  inline void widen(__m256i bytes, __m512i& even, __m512i& odd) const {
    const __m512i w = _mm512_cvtepu8_epi16(bytes);
    even = _mm512_permutexvar_epi16(w, words);
    odd = _mm512_permutexvar_epi16(_mm512_srli_epi16(w, 4), words);
  }
};

inline __m512i load_part(const void* p, int64_t bytes) {
  return _mm512_maskz_loadu_epi8(bytes >= 64 ? ~__mmask64{0} : (__mmask64{1} << bytes) - 1, p);
}
inline __m256i load_part32(const void* p, int64_t bytes) {
  return _mm256_maskz_loadu_epi8(bytes >= 32 ? ~__mmask32{0} : (__mmask32{1} << bytes) - 1, p);
}

// The rows that come after those in hand: the hardware's own prefetch stops at every page, which is one or two rows.
// Past the last row this names memory that is not ours; a prefetch of it does nothing.
inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

// ----------------------------------------------------------------------------------------------------------- direct

template <int R, int M>
void e4m3_direct(float* y, int64_t y_stride, const WeightView& w, int64_t row, const uint16_t* const* x) {
  const E4M3Table table;
  const uint8_t* p[R];
  const uint8_t* s[R];
  for (int r = 0; r < R; ++r) {
    p[r] = w.data + (row + r) * w.row_bytes;
    s[r] = w.scale + (row + r) / 128 * w.scale_cols;
  }
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  const auto block = [&](int64_t c, auto&& codes) {
    V sum[R][M];
    for (int g = 0; g < 2; ++g) {
      __m512i even[R], odd[R];
      for (int r = 0; r < R; ++r) {
        prefetch(p[r] + c + 64 * g + R * w.row_bytes);
        table.widen(codes(p[r] + c + 64 * g, w.cols - c - 64 * g), even[r], odd[r]);
      }
      for (int m = 0; m < M; ++m) {
        const __m512i x0 = load(x[m] + c + 64 * g), x1 = load(x[m] + c + 64 * g + 32);
        for (int r = 0; r < R; ++r) sum[r][m] = dp(dp(g == 0 ? v_zero() : sum[r][m], even[r], x0), odd[r], x1);
      }
    }
    for (int r = 0; r < R; ++r) {
      const V scale = v_set(e8m0(s[r][c / 128]));
      for (int m = 0; m < M; ++m) total[r][m] = v_fma(sum[r][m], scale, total[r][m]);
    }
  };
  int64_t c = 0;
  for (; c + 128 <= w.cols; c += 128) block(c, [](const uint8_t* q, int64_t) { return load(q); });
  if (c < w.cols) block(c, [](const uint8_t* q, int64_t left) { return load_part(q, left > 0 ? left : 0); });
  put_sums<R, M>(y, y_stride, total);
}

template <int R, int M>
void fp4_direct(float* y, int64_t y_stride, const WeightView& w, int64_t row, const uint16_t* const* x) {
  const Fp4Table table;
  const uint8_t* p[R];
  const uint8_t* s[R];
  for (int r = 0; r < R; ++r) {
    p[r] = w.data + (row + r) * w.row_bytes;
    s[r] = w.scale + (row + r) * w.scale_cols;
  }
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  // The scales of 256 columns at once: eight of them as FP32, then each pair spread over the halves of a vector.
  const auto group = [&](int64_t c, int64_t cols, auto&& bytes) {
    __m512i scales[R];
    for (int r = 0; r < R; ++r) {
      uint64_t e = 0;
      __builtin_memcpy(&e, s[r] + c / 32, cols >= 256 ? 8 : static_cast<size_t>(cols / 32));
      const __m512i wide = _mm512_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(e)));
      scales[r] = _mm512_max_epu32(_mm512_slli_epi32(wide, 23), _mm512_set1_epi32(0x00400000));
    }
    __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    for (int64_t i = 0; i < cols; i += 64) {
      __m512i x0[M], x1[M];
      for (int m = 0; m < M; ++m) x0[m] = load(x[m] + c + i), x1[m] = load(x[m] + c + i + 32);
      for (int r = 0; r < R; ++r) {
        __m512i even, odd;
        if (i % 128 == 0) prefetch(p[r] + (c + i) / 2 + R * w.row_bytes);
        table.widen(bytes(p[r] + (c + i) / 2, (cols - i) / 2), even, odd);
        const V scale = _mm512_castsi512_ps(_mm512_permutexvar_epi32(spread, scales[r]));
        for (int m = 0; m < M; ++m) {
          total[r][m] = v_fma(dp(dp(v_zero(), even, x0[m]), odd, x1[m]), scale, total[r][m]);
        }
      }
      spread = _mm512_add_epi32(spread, _mm512_set1_epi32(2));
    }
  };
  int64_t c = 0;
  for (; c + 256 <= w.cols; c += 256) {
    group(c, 256, [](const uint8_t* q, int64_t) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)); });
  }
  if (c < w.cols) group(c, w.cols - c, [](const uint8_t* q, int64_t left) { return load_part32(q, left); });
  put_sums<R, M>(y, y_stride, total);
}

#include "backends/cpu/avx512bf16_several.inl"

template <int R, int M>
void bf16_direct(float* y, int64_t y_stride, const WeightView& w, int64_t row, const uint16_t* const* x) {
  const uint8_t* p[R];
  for (int r = 0; r < R; ++r) p[r] = w.data + (row + r) * w.row_bytes;
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  const auto step = [&](int64_t c, auto&& values) {
    __m512i v[R];
    for (int r = 0; r < R; ++r) v[r] = values(p[r] + 2 * c);
    for (int m = 0; m < M; ++m) {
      const __m512i a = load(x[m] + c);
      for (int r = 0; r < R; ++r) total[r][m] = dp(total[r][m], v[r], a);
    }
  };
  int64_t c = 0;
  for (; c + 32 <= w.cols; c += 32) step(c, [](const uint8_t* q) { return load(q); });
  if (c < w.cols) step(c, [&](const uint8_t* q) { return load_part(q, 2 * (w.cols - c)); });
  put_sums<R, M>(y, y_stride, total);
}

struct E4M3Direct {
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const uint16_t* const* x) {
    e4m3_direct<R, M>(y, ys, w, row, x);
  }
  template <int M>
  static bool part(float* y, int64_t ys, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x,
                   int64_t col, int64_t cols) {
    return e4m3_part<M>(y, ys, w, first, count, x, col, cols);
  }
};
struct Fp4Direct {
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const uint16_t* const* x) {
    fp4_direct<R, M>(y, ys, w, row, x);
  }
  template <int M>
  static bool part(float* y, int64_t ys, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x,
                   int64_t col, int64_t cols) {
    if (col == 0 && !scales_foldable(w.scale + first * w.scale_cols, count * w.scale_cols)) return false;
    part_rows<Fp4Values, M>(y, ys, w, first, count, x, col, cols);
    return true;
  }
};
struct Bf16Direct {
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const uint16_t* const* x) {
    bf16_direct<R, M>(y, ys, w, row, x);
  }
  template <int M>
  static bool part(float* y, int64_t ys, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x,
                   int64_t col, int64_t cols) {
    part_rows<Bf16Values, M>(y, ys, w, first, count, x, col, cols);
    return true;
  }
};

template <class Rows, int R, int M>
void bf16_rows(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
               const uint16_t* const* x) {
  int64_t i = 0;
  for (; i + R <= count; i += R) Rows::template run<R, M>(y + i, y_stride, w, first + i, x);
  for (; i < count; ++i) Rows::template run<1, M>(y + i, y_stride, w, first + i, x);
}

template <class Rows, int M>
void several(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x) {
  for (int64_t col = 0; col < w.cols; col += kPart) {
    const uint16_t* in[M];
    for (int m = 0; m < M; ++m) in[m] = x[m] + col;
    if (!Rows::template part<M>(y, y_stride, w, first, count, in, col, least_of(kPart, w.cols - col))) {
      // A scale too extreme to be folded: the plain way, from the first column on.
      for (int m = 0; m < M; m += 2) {
        if (M - m == 1) return bf16_rows<Rows, 4, 1>(y + m * y_stride, y_stride, w, first, count, x + m);
        bf16_rows<Rows, 4, 2>(y + m * y_stride, y_stride, w, first, count, x + m);
      }
      return;
    }
  }
}

template <class Rows>
void direct_bf16_x(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const void* const* x,
                   int rows) {
  const uint16_t* in[kMaxDirect];
  for (int m = 0; m < rows; ++m) in[m] = static_cast<const uint16_t*>(x[m]);
  switch (rows) {
    case 1: return bf16_rows<Rows, 4, 1>(y, y_stride, w, first, count, in);
    case 2: return bf16_rows<Rows, 4, 2>(y, y_stride, w, first, count, in);
    case 3: return several<Rows, 3>(y, y_stride, w, first, count, in);
    case 4: return several<Rows, 4>(y, y_stride, w, first, count, in);
    case 5: return several<Rows, 5>(y, y_stride, w, first, count, in);
    case 6: return several<Rows, 6>(y, y_stride, w, first, count, in);
    case 7: return several<Rows, 7>(y, y_stride, w, first, count, in);
    case 8: return several<Rows, 8>(y, y_stride, w, first, count, in);
    default: return;
  }
}

// ---------------------------------------------------------------------------------------------------- widened tiles

// v * 2^shift on the exponent bits; zeros (and E4M3's NaN) stay what they are. `foldable` keeps the result normal.
inline __m512i shift_exponent(__m512i v, __m512i shift) {
  const __m512i magnitude = _mm512_and_si512(v, _mm512_set1_epi16(0x7fff));
  __mmask32 change = _mm512_test_epi16_mask(magnitude, magnitude);
  change = _mm512_mask_cmplt_epu16_mask(change, magnitude, _mm512_set1_epi16(0x7f80));
  return _mm512_mask_add_epi16(v, change, v, shift);
}

bool widen_e4m3_bf16(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                     int64_t cols) {
  const E4M3Table table;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* p = w.data + (first + i) * w.row_bytes + col;
    const uint8_t* s = w.scale + (first + i) / 128 * w.scale_cols + col / 128;
    uint16_t* y = static_cast<uint16_t*>(out) + i * stride;
    for (int64_t c = 0; c < cols; c += 128) {
      const uint8_t e = s[c / 128];
      if (!foldable(e)) return false;
      const __m512i shift = _mm512_set1_epi16(static_cast<short>((e - 127) * 128));
      for (int64_t g = c; g < c + 128; g += 64) {
        const int64_t left = cols - g;
        __m512i even, odd;
        table.widen(left >= 64 ? load(p + g) : load_part(p + g, left > 0 ? left : 0), even, odd);
        _mm512_storeu_si512(y + g, shift_exponent(even, shift));
        _mm512_storeu_si512(y + g + 32, shift_exponent(odd, shift));
      }
    }
  }
  return true;
}

bool widen_fp4_bf16(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                    int64_t cols) {
  const Fp4Table table;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* p = w.data + (first + i) * w.row_bytes + col / 2;
    const uint8_t* s = w.scale + (first + i) * w.scale_cols + col / 32;
    uint16_t* y = static_cast<uint16_t*>(out) + i * stride;
    int64_t g = 0;
    for (; g < cols; g += 64) {
      const bool whole = cols - g >= 64;
      const uint8_t e0 = s[g / 32], e1 = whole ? s[g / 32 + 1] : 127;
      if (!foldable(e0) || !foldable(e1)) return false;
      const __m512i shift = _mm512_inserti64x4(_mm512_set1_epi16(static_cast<short>((e0 - 127) * 128)),
                                               _mm256_set1_epi16(static_cast<short>((e1 - 127) * 128)), 1);
      __m512i even, odd;
      table.widen(whole ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + g / 2))
                        : load_part32(p + g / 2, (cols - g) / 2),
                  even, odd);
      _mm512_storeu_si512(y + g, shift_exponent(even, shift));
      _mm512_storeu_si512(y + g + 32, shift_exponent(odd, shift));
    }
    for (; g % kPad != 0; g += 64) {
      _mm512_storeu_si512(y + g, _mm512_setzero_si512());
      _mm512_storeu_si512(y + g + 32, _mm512_setzero_si512());
    }
  }
  return true;
}

bool widen_bf16_bf16(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                     int64_t cols) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* p = w.data + (first + i) * w.row_bytes + 2 * col;
    uint16_t* y = static_cast<uint16_t*>(out) + i * stride;
    const int64_t padded = (cols + kPad - 1) / kPad * kPad;
    for (int64_t c = 0; c < padded; c += 32) {
      const int64_t left = 2 * (cols - c);
      _mm512_storeu_si512(y + c, left >= 64 ? load(p + 2 * c) : load_part(p + 2 * c, left > 0 ? left : 0));
    }
  }
  return true;
}

// The sums of four vectors, side by side.
inline __m128 sum_four(V a, V b, V c, V d) {
  const V ab = v_add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const V cd = v_add(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const V all = v_add(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

template <int R, int M>
void dot_bf16_block(float* y, int64_t y_stride, const uint16_t* w, int64_t w_stride, const void* const* x, int64_t col,
                    int64_t cols, bool add) {
  const uint16_t* a[M];
  for (int m = 0; m < M; ++m) a[m] = static_cast<const uint16_t*>(x[m]) + col;
  V sum[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) sum[r][m] = v_zero();
  for (int64_t c = 0; c < cols; c += 32) {
    __m512i v[R];
    for (int r = 0; r < R; ++r) v[r] = load(w + r * w_stride + c);
    for (int m = 0; m < M; ++m) {
      const __m512i b = load(a[m] + c);
      for (int r = 0; r < R; ++r) sum[r][m] = dp(sum[r][m], v[r], b);
    }
  }
  for (int m = 0; m < M; ++m) {
    float* to = y + m * y_stride;
    if constexpr (R == 4) {
      const __m128 four = sum_four(sum[0][m], sum[1][m], sum[2][m], sum[3][m]);
      _mm_storeu_ps(to, add ? _mm_add_ps(_mm_loadu_ps(to), four) : four);
    } else {
      for (int r = 0; r < R; ++r) to[r] = add ? to[r] + v_sum(sum[r][m]) : v_sum(sum[r][m]);
    }
  }
}

template <int M>
void dot_bf16_inputs(float* y, int64_t y_stride, const uint16_t* w, int64_t w_stride, int64_t count,
                     const void* const* x, int64_t col, int64_t cols, bool add) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) dot_bf16_block<4, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add);
  for (; i < count; ++i) dot_bf16_block<1, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add);
}

void dot_bf16(float* y, int64_t y_stride, const void* weights, int64_t w_stride, int64_t count, const void* const* x,
              int64_t rows, int64_t col, int64_t cols, bool add) {
  const uint16_t* w = static_cast<const uint16_t*>(weights);
  const auto step = [&](auto inputs, int64_t m) {
    constexpr int kInputs = decltype(inputs)::value;
    dot_bf16_inputs<kInputs>(y + m * y_stride, y_stride, w, w_stride, count, x + m, col, cols, add);
  };
  // Parts of nearly equal size: one row left over would take as long as four, waiting for its own sums.
  const int64_t parts = (rows + 5) / 6;
  for (int64_t part = 0, m = 0; part < parts; ++part) {
    const int64_t inputs = (rows - m + parts - part - 1) / (parts - part);
    switch (inputs) {
      case 1: step(Count<1>{}, m); break;
      case 2: step(Count<2>{}, m); break;
      case 3: step(Count<3>{}, m); break;
      case 4: step(Count<4>{}, m); break;
      case 5: step(Count<5>{}, m); break;
      default: step(Count<6>{}, m); break;
    }
    m += inputs;
  }
}

}  // namespace

const Kernels* avx512_bf16_kernels() {
  static const Kernels table = [] {
    Kernels t = with_index_codes(vec_kernels("avx512-bf16"));
    t.x_bytes = 2;
    t.bf16_tiles = true;
    t.max_direct = 8;
    t.few_rows = 63;
    t.pack = pack_rows<true>;
    t.direct[kFormatE4M3] = direct_bf16_x<E4M3Direct>;
    t.direct[kFormatFP4] = direct_bf16_x<Fp4Direct>;
    t.direct[kFormatBF16] = direct_bf16_x<Bf16Direct>;
    t.widen[kFormatE4M3] = widen_e4m3_bf16;
    t.widen[kFormatFP4] = widen_fp4_bf16;
    t.widen[kFormatBF16] = widen_bf16_bf16;
    t.dot_bf16 = dot_bf16;
    return t;
  }();
  return &table;
}

}  // namespace dsv4::cpu
#else
namespace dsv4::cpu {
const Kernels* avx512_bf16_kernels() { return nullptr; }
}  // namespace dsv4::cpu
#endif
