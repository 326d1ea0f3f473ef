// Kernels for AVX-512 with BF16 dot products and VBMI byte look-ups. Compiled with wider instructions than the rest:
// see kernels.h before including.
//
// Weights become BF16 by table: E2M1 codes index 32 words (vpermw), E4M3 codes bytes (avx512bf16_tables.inl), both with
// the even columns of a group of 64 before the odd ones. vdpbf16ps flushes subnormals, and no code's value is one in BF16.
#include "backends/cpu/kernels.h"

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

#include "backends/cpu/avx512bf16_tables.inl"

inline V dp(V sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

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

// Values with their scales folded in: the table, twice in a vector, takes one block's scale in its lower and the next
// one's in its upper half. Every scale must be foldable.
struct Fp4Scaled {
  const __m512i words = load(kFp4Words.value), nibble = _mm512_set1_epi16(15);
  const __m512i half = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(16), 1);
  const __mmask32 nonzero = _mm512_test_epi16_mask(words, _mm512_set1_epi16(0x7fff));
  // What the scales of up to eight blocks add to a word, each in a lane of 16 bits.
  inline __m512i shifts(const uint8_t* s, int64_t blocks) const {
    uint64_t e = 0x7f7f7f7f7f7f7f7f;
    if (blocks >= 8) {
      __builtin_memcpy(&e, s, 8);
    } else {
      __builtin_memcpy(&e, s, static_cast<size_t>(blocks));
    }
    const __m128i wide = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(e)));
    return _mm512_castsi128_si512(_mm_slli_epi16(_mm_sub_epi16(wide, _mm_set1_epi16(127)), 7));
  }
  // 64 codes, of the k-th pair of those blocks.
  inline void widen(__m256i bytes, __m512i all, int k, __m512i& even, __m512i& odd) const {
    const __m512i lanes = _mm512_inserti64x4(_mm512_set1_epi16(static_cast<short>(2 * k)),
                                             _mm256_set1_epi16(static_cast<short>(2 * k + 1)), 1);
    const __m512i pair = _mm512_permutexvar_epi16(lanes, all);
    const __m512i scaled = _mm512_mask_add_epi16(words, nonzero, words, pair), v = _mm512_cvtepu8_epi16(bytes);
    even = _mm512_permutexvar_epi16(and_or(v, nibble, half), scaled);
    odd = _mm512_permutexvar_epi16(and_or(_mm512_srli_epi16(v, 4), nibble, half), scaled);
  }
};

// What comes a page on: the hardware's own prefetch stops at every page, which is one or two rows. To the second cache:
// the first one has few lines on their way at a time, and those are for what is read now. Past the last row this names
// memory that is not ours; a prefetch of it does nothing.
inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

// ----------------------------------------------------------------------------------------------------------- direct

// One row after the other, as they lie in memory: that is what the hardware fetches fastest. Only at every page it stops,
// so what lies a page on is asked for. The sums of a row's blocks do not wait for each other.

template <int M>
inline void e4m3_direct(V (&total)[M], const E4M3Table& table, const WeightView& w, int64_t row,
                        const uint16_t* const* x) {
  const uint8_t* p = w.data + row * w.row_bytes;
  const uint8_t* s = w.scale + row / 128 * w.scale_cols;
  const auto block = [&](int64_t c, auto&& codes) {
    V sum[M];
    for (int g = 0; g < 2; ++g) {
      __m512i even, odd;
      prefetch(p + c + 64 * g + kPage);
      table.widen(codes(p + c + 64 * g, w.cols - c - 64 * g), even, odd);
      for (int m = 0; m < M; ++m) {
        const __m512i x0 = load(x[m] + c + 64 * g), x1 = load(x[m] + c + 64 * g + 32);
        sum[m] = dp(dp(g == 0 ? v_zero() : sum[m], even, x0), odd, x1);
      }
    }
    const V scale = v_set(e8m0(s[c / 128]));
    for (int m = 0; m < M; ++m) total[m] = v_fma(sum[m], scale, total[m]);
  };
  int64_t c = 0;
  for (; c + 128 <= w.cols; c += 128) block(c, [](const uint8_t* q, int64_t) { return load(q); });
  if (c < w.cols) block(c, [](const uint8_t* q, int64_t left) { return load_part(q, left > 0 ? left : 0); });
}

template <int M>
inline void fp4_direct(V (&total)[M], const Fp4Table& table, const WeightView& w, int64_t row,
                       const uint16_t* const* x) {
  const uint8_t* p = w.data + row * w.row_bytes;
  const uint8_t* s = w.scale + row * w.scale_cols;
  // The scales of 256 columns at once: eight of them as FP32, then each pair spread over the halves of a vector.
  const auto group = [&](int64_t c, int64_t cols, auto&& bytes) {
    uint64_t e = 0;
    __builtin_memcpy(&e, s + c / 32, cols >= 256 ? 8 : static_cast<size_t>(cols / 32));
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(e)));
    const __m512i scales = _mm512_max_epu32(_mm512_slli_epi32(wide, 23), _mm512_set1_epi32(0x00400000));
    __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    if (c % 2048 == 0) prefetch(s + c / 32 + kPage / 16);
    for (int64_t i = 0; i < cols; i += 64) {
      __m512i even, odd;
      if (i % 128 == 0) prefetch(p + (c + i) / 2 + kPage);
      table.widen(bytes(p + (c + i) / 2, (cols - i) / 2), even, odd);
      const V scale = _mm512_castsi512_ps(_mm512_permutexvar_epi32(spread, scales));
      for (int m = 0; m < M; ++m) {
        const __m512i x0 = load(x[m] + c + i), x1 = load(x[m] + c + i + 32);
        total[m] = v_fma(dp(dp(v_zero(), even, x0), odd, x1), scale, total[m]);
      }
      spread = _mm512_add_epi32(spread, _mm512_set1_epi32(2));
    }
  };
  int64_t c = 0;
  for (; c + 256 <= w.cols; c += 256) {
    group(c, 256, [](const uint8_t* q, int64_t) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)); });
  }
  if (c < w.cols) group(c, w.cols - c, [](const uint8_t* q, int64_t left) { return load_part32(q, left); });
}

#include "backends/cpu/avx512bf16_several.inl"

struct NoTable {};

template <int M>
inline void bf16_direct(V (&total)[M], const NoTable&, const WeightView& w, int64_t row, const uint16_t* const* x) {
  const uint8_t* p = w.data + row * w.row_bytes;
  V sum[M][4];
  for (int m = 0; m < M; ++m)
    for (int k = 0; k < 4; ++k) sum[m][k] = v_zero();
  const auto step = [&](int64_t c, int k, auto&& values) {
    const __m512i v = values(p + 2 * c);
    for (int m = 0; m < M; ++m) sum[m][k] = dp(sum[m][k], v, load(x[m] + c));
  };
  int64_t c = 0;
  for (; c + 128 <= w.cols; c += 128) {
    for (int k = 0; k < 4; ++k) {
      prefetch(p + 2 * (c + 32 * k) + kPage);
      step(c + 32 * k, k, [](const uint8_t* q) { return load(q); });
    }
  }
  for (; c + 32 <= w.cols; c += 32) step(c, 0, [](const uint8_t* q) { return load(q); });
  if (c < w.cols) step(c, 0, [&](const uint8_t* q) { return load_part(q, 2 * (w.cols - c)); });
  for (int m = 0; m < M; ++m) total[m] = v_add(v_add(sum[m][0], sum[m][1]), v_add(sum[m][2], sum[m][3]));
}

struct E4M3Direct {
  const E4M3Table table;
  template <int M>
  void row(V (&total)[M], const WeightView& w, int64_t row, const uint16_t* const* x) const {
    e4m3_direct<M>(total, table, w, row, x);
  }
  template <int M>
  static bool part(float* y, int64_t ys, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x,
                   int64_t col, int64_t cols) {
    return e4m3_part<M>(y, ys, w, first, count, x, col, cols);
  }
};
struct Fp4Direct {
  const Fp4Table table;
  template <int M>
  void row(V (&total)[M], const WeightView& w, int64_t row, const uint16_t* const* x) const {
    fp4_direct<M>(total, table, w, row, x);
  }
};
struct Bf16Direct {
  const NoTable table;
  template <int M>
  void row(V (&total)[M], const WeightView& w, int64_t row, const uint16_t* const* x) const {
    bf16_direct<M>(total, table, w, row, x);
  }
  template <int M>
  static bool part(float* y, int64_t ys, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x,
                   int64_t col, int64_t cols) {
    part_rows<Bf16Values, M>(y, ys, w, first, count, x, col, cols);
    return true;
  }
};

template <class Rows, int M>
void bf16_rows(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
               const uint16_t* const* x) {
  const Rows rows{};
  for (int64_t i = 0; i < count; ++i) {
    V total[M];
    for (int m = 0; m < M; ++m) total[m] = v_zero();
    rows.template row<M>(total, w, first + i, x);
    for (int m = 0; m < M; ++m) y[m * y_stride + i] = v_sum(total[m]);
  }
}

template <class Rows>
void direct_pairs(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const void* const* x,
                  int rows) {
  const uint16_t* in[kMaxDirect];
  for (int m = 0; m < rows; ++m) in[m] = static_cast<const uint16_t*>(x[m]);
  int m = 0;
  for (; m + 2 <= rows; m += 2) bf16_rows<Rows, 2>(y + m * y_stride, y_stride, w, first, count, in + m);
  if (m < rows) bf16_rows<Rows, 1>(y + m * y_stride, y_stride, w, first, count, in + m);
}

// False: a scale too extreme to be folded.
template <class Rows, int M>
bool several(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const void* const* x) {
  for (int64_t col = 0; col < w.cols; col += kPart) {
    const uint16_t* in[M];
    for (int m = 0; m < M; ++m) in[m] = static_cast<const uint16_t*>(x[m]) + col;
    if (!Rows::template part<M>(y, y_stride, w, first, count, in, col, least_of(kPart, w.cols - col))) return false;
  }
  return true;
}

template <class Rows>
void direct_bf16_x(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const void* const* x,
                   int rows) {
  bool done = false;
  switch (rows) {
    case 3: done = several<Rows, 3>(y, y_stride, w, first, count, x); break;
    case 4: done = several<Rows, 4>(y, y_stride, w, first, count, x); break;
    case 5: done = several<Rows, 5>(y, y_stride, w, first, count, x); break;
    case 6: done = several<Rows, 6>(y, y_stride, w, first, count, x); break;
    case 7: done = several<Rows, 7>(y, y_stride, w, first, count, x); break;
    case 8: done = several<Rows, 8>(y, y_stride, w, first, count, x); break;
    default: break;
  }
  if (!done) direct_pairs<Rows>(y, y_stride, w, first, count, x, rows);
}

// ---------------------------------------------------------------------------------------------------- widened tiles

// v * 2^shift on the exponent bits; zeros (and E4M3's NaN) stay what they are. `foldable` keeps the result normal.
inline __m512i shift_exponent(__m512i v, __m512i shift) {
  const __m512i magnitude = _mm512_and_si512(v, _mm512_set1_epi16(0x7fff));
  __mmask32 change = _mm512_test_epi16_mask(magnitude, magnitude);
  change = _mm512_mask_cmplt_epu16_mask(change, magnitude, _mm512_set1_epi16(0x7f80));
  return _mm512_mask_add_epi16(v, change, v, shift);
}

#include "backends/cpu/avx512bf16_attention.inl"

bool widen_e4m3_bf16(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                     int64_t cols) {
  if (!e4m3_foldable(w, first, count, col, cols)) return false;
  widened_e4m3(static_cast<uint16_t*>(out), stride, w, first, count, col, cols);
  return true;
}

inline void widened_fp4(uint16_t* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                     int64_t cols) {
  const Fp4Scaled table;
  const int64_t padded = (cols + kPad - 1) / kPad * kPad;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* p = w.data + (first + i) * w.row_bytes + col / 2;
    const uint8_t* s = w.scale + (first + i) * w.scale_cols + col / 32;
    uint16_t* y = out + i * stride;
    int64_t g = 0;
    __m512i even, odd;
    for (; g + 256 <= cols; g += 256) {
      const __m512i shifts = table.shifts(s + g / 32, 8);
      for (int k = 0; k < 4; ++k) {
        table.widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + g / 2 + 32 * k)), shifts, k, even, odd);
        _mm512_storeu_si512(y + g + 64 * k, even);
        _mm512_storeu_si512(y + g + 64 * k + 32, odd);
      }
    }
    if (g == padded) continue;
    const __m512i shifts = table.shifts(s + g / 32, (cols - g) / 32);
    for (int k = 0; g + 64 * k < padded; ++k) {
      const int64_t left = cols - g - 64 * k;
      table.widen(load_part32(p + g / 2 + 32 * k, left > 0 ? left / 2 : 0), shifts, k, even, odd);
      _mm512_storeu_si512(y + g + 64 * k, even);
      _mm512_storeu_si512(y + g + 64 * k + 32, odd);
    }
  }
}

bool widen_fp4_bf16(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                    int64_t cols) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* s = w.scale + (first + i) * w.scale_cols + col / 32;
    if (!scales_foldable(s, (cols + 31) / 32)) return false;
    if (col == 0) {
      for (int64_t b = 0; b < w.scale_cols; b += 64) prefetch(s + count * w.scale_cols + b);
    }
  }
  widened_fp4(static_cast<uint16_t*>(out), stride, w, first, count, col, cols);
  return true;
}

bool widen_bf16_bf16(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                     int64_t cols) {
  widened_bf16(static_cast<uint16_t*>(out), stride, w, first, count, col, cols);
  return true;
}

// Spreads the lines of an Ahead evenly over `steps`. To the second cache: the first one is full of what is multiplied.
struct Fetch {
  const char* p;
  int64_t lines, each;
  uint32_t mask = 0, tick = 0;

  Fetch(const Ahead& ahead, int64_t steps)
      : p(reinterpret_cast<const char*>(ahead.data)), lines((ahead.bytes + 63) / 64), each((lines + steps - 1) / steps) {
    while ((mask + 1) * 2 * lines <= steps && mask < 63) mask = mask * 2 + 1;
  }
  inline void step() {
    if (lines <= 0 || (++tick & mask) != 0) return;
    for (int64_t i = 0; i < each; ++i, p += 64) _mm_prefetch(p, _MM_HINT_T1);
    lines -= each;
  }
};

inline void put_eight(float* y, __m256 sums, bool add) {
  _mm256_storeu_ps(y, add ? _mm256_add_ps(_mm256_loadu_ps(y), sums) : sums);
}

// The sums of eight weight rows, of two input rows at a time. Spelled out: in loops gcc leaves the sums in memory.
template <int M, int kFirst = 0>
inline void put_block(float* y, int64_t y_stride, const V (&t)[8][M], bool add) {
  if constexpr (kFirst + 1 < M) {
    constexpr int a = kFirst, b = kFirst + 1;
    const V sums = sum_sixteen({t[0][a], t[1][a], t[2][a], t[3][a], t[4][a], t[5][a], t[6][a], t[7][a],  //
                                t[0][b], t[1][b], t[2][b], t[3][b], t[4][b], t[5][b], t[6][b], t[7][b]});
    put_eight(y, _mm512_castps512_ps256(sums), add);
    put_eight(y + y_stride, _mm512_extractf32x8_ps(sums, 1), add);
    put_block<M, kFirst + 2>(y + 2 * y_stride, y_stride, t, add);
  } else if constexpr (kFirst < M) {
    constexpr int a = kFirst;
    const V z = v_zero();
    const V sums = sum_sixteen({t[0][a], t[1][a], t[2][a], t[3][a], t[4][a], t[5][a], t[6][a], t[7][a],  //
                                z, z, z, z, z, z, z, z});
    put_eight(y, _mm512_castps512_ps256(sums), add);
  }
}
template <int M>
inline void put_block(float* y, int64_t y_stride, const V (&total)[1][M], bool add) {
  for (int m = 0; m < M; ++m) y[m * y_stride] = (add ? y[m * y_stride] : 0.0f) + v_sum(total[0][m]);
}

// Few input rows stay in registers while many weight rows, which lie in the first cache, pass: the inputs come from
// the second one.
template <int R, int M>
void dot_bf16_block(float* y, int64_t y_stride, const uint16_t* w, int64_t w_stride, const void* const* x, int64_t col,
                    int64_t cols, bool add, Fetch& cursor) {
  Fetch fetch = cursor;  // in registers
  const uint16_t* a[M];
  for (int m = 0; m < M; ++m) a[m] = static_cast<const uint16_t*>(x[m]) + col;
  V sum[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) sum[r][m] = v_zero();
  for (int64_t c = 0; c < cols; c += 32) {
    fetch.step();
    __m512i b[M];
    for (int m = 0; m < M; ++m) b[m] = load(a[m] + c);
    for (int r = 0; r < R; ++r) {
      const __m512i v = load(w + r * w_stride + c);
      for (int m = 0; m < M; ++m) sum[r][m] = dp(sum[r][m], v, b[m]);
    }
  }
  cursor = fetch;
  put_block<M>(y, y_stride, sum, add);
}

template <int M>
void dot_bf16_inputs(float* y, int64_t y_stride, const uint16_t* w, int64_t w_stride, int64_t count,
                     const void* const* x, int64_t col, int64_t cols, bool add, Fetch& fetch) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    dot_bf16_block<8, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add, fetch);
  }
  for (; i < count; ++i) dot_bf16_block<1, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add, fetch);
}

void dot_bf16(float* y, int64_t y_stride, const void* weights, int64_t w_stride, int64_t count, const void* const* x,
              int64_t rows, int64_t col, int64_t cols, bool add, const Ahead& ahead) {
  const uint16_t* w = static_cast<const uint16_t*>(weights);
  const int64_t parts = (rows + 2) / 3;
  Fetch fetch(ahead, parts * (count / 8 + count % 8) * (cols / 32));
  for (int64_t part = 0, m = 0; part < parts; ++part) {
    const int64_t inputs = (rows - m + parts - part - 1) / (parts - part);  // parts of nearly equal size
    float* to = y + m * y_stride;
    if (inputs == 1) dot_bf16_inputs<1>(to, y_stride, w, w_stride, count, x + m, col, cols, add, fetch);
    if (inputs == 2) dot_bf16_inputs<2>(to, y_stride, w, w_stride, count, x + m, col, cols, add, fetch);
    if (inputs == 3) dot_bf16_inputs<3>(to, y_stride, w, w_stride, count, x + m, col, cols, add, fetch);
    m += inputs;
  }
}

}  // namespace

const Kernels& avx512_bf16_kernels() {
  static const Kernels table = [] {
    Kernels t = with_index_codes(vec_kernels("avx512-bf16"));
    t.x_bytes = 2;
    t.bf16_tiles = true;
    for (int format = kFormatE4M3; format < kFormatF32; ++format) t.max_direct[format] = 8;
    t.few_rows[kFormatE4M3] = 16;
    t.few_rows[kFormatFP4] = 2;
    t.few_rows[kFormatBF16] = 8;
    t.pack = pack_rows<true>;
    t.direct[kFormatE4M3] = direct_bf16_x<E4M3Direct>;
    t.direct[kFormatFP4] = direct_pairs<Fp4Direct>;
    t.direct[kFormatBF16] = direct_bf16_x<Bf16Direct>;
    t.widen[kFormatE4M3] = widen_e4m3_bf16;
    t.widen[kFormatFP4] = widen_fp4_bf16;
    t.widen[kFormatBF16] = widen_bf16_bf16;
    t.dot_bf16 = dot_bf16;
    t.unpack_keys = unpack_keys_bf16;
    t.unpack_queries = unpack_queries_bf16;
    t.scores = scores_bf16;
    t.weigh = weigh<uint16_t>;
    return t;
  }();
  return table;
}

}  // namespace dsv4::cpu
