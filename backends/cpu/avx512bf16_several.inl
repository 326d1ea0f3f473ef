// Part of kernels_avx512bf16.cc: products of three to eight input rows, between a vector and a matrix.
// Input rows of a part of kPart columns stay in the first cache while R weight rows at a time pass; sums of R x M
// products are registers. Scales are folded into one side beforehand, so that the inner loop holds nothing but
// products: E4M3's, which all rows of a tile share, into a copy of the part of x. FP4 has no such kernel: its tiles are
// widened for as few rows.

constexpr int64_t kPart = 2048;

// The sums of the lanes of 16 vectors, side by side.
[[gnu::always_inline]] inline V sum_sixteen(const V (&v)[16]) {
  V a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i)
    a[i] = v_add(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 4; ++i)
    b[i] = v_add(_mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0x44), _mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0xee));
  for (int i = 0; i < 2; ++i) {
    c[i] =
        v_add(_mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x88), _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xdd));
  }
  return v_add(_mm512_shuffle_f32x4(c[0], c[1], 0x88), _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
}

template <int R, int M>
inline void put_part(float* y, int64_t y_stride, const V (&total)[R][M], bool add) {
  constexpr int kSums = R * M;
  alignas(64) float sums[(kSums + 15) / 16 * 16];
  for (int i = 0; i < kSums; i += 16) {
    V v[16];
    for (int k = 0; k < 16; ++k) v[k] = i + k < kSums ? total[(i + k) % R][(i + k) / R] : v_zero();
    _mm512_store_ps(sums + i, sum_sixteen(v));
  }
  for (int m = 0; m < M; ++m) {
    for (int r = 0; r < R; ++r) y[m * y_stride + r] = (add ? y[m * y_stride + r] : 0.0f) + sums[m * R + r];
  }
}

// Columns [col, col + cols) of R weight rows with M input rows, whose own columns begin at x[m]. Values gives 64 of a
// weight row as BF16: the even ones, then the odd ones (or, of BF16 weights, the first and the second half).
template <class Values, int R, int M>
void part_block(float* y, int64_t y_stride, const Values& values, int64_t row, const uint16_t* const* x, int64_t col,
                int64_t cols, bool add) {
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  const auto step = [&](int64_t c, int64_t left) {
    __m512i even[R], odd[R];
    for (int r = 0; r < R; ++r) {
      values.prefetch_row(row + r + 2 * R, col + c);
      values.get(row + r, col + c, left, even[r], odd[r]);
    }
    for (int m = 0; m < M; ++m) {
      const __m512i x0 = load(x[m] + c), x1 = load(x[m] + c + 32);
      for (int r = 0; r < R; ++r) total[r][m] = dp(total[r][m], even[r], x0);
      for (int r = 0; r < R; ++r) total[r][m] = dp(total[r][m], odd[r], x1);
    }
  };
  int64_t c = 0;
  for (; c + 64 <= cols; c += 64) step(c, 64);
  if (c < cols) step(c, cols - c);
  put_part<R, M>(y, y_stride, total, add);
}

struct E4M3Values {
  const E4M3Table table;
  const WeightView& w;
  explicit E4M3Values(const WeightView& view) : w(view) {}
  inline void get(int64_t row, int64_t c, int64_t left, __m512i& even, __m512i& odd) const {
    const uint8_t* p = w.data + row * w.row_bytes + c;
    table.widen(left >= 64 ? load(p) : load_part(p, left), even, odd);
  }
  inline void prefetch_row(int64_t row, int64_t c) const { prefetch(w.data + row * w.row_bytes + c); }
};

struct Bf16Values {
  const WeightView& w;
  explicit Bf16Values(const WeightView& view) : w(view) {}
  inline void get(int64_t row, int64_t c, int64_t left, __m512i& first, __m512i& second) const {
    const uint8_t* p = w.data + row * w.row_bytes + 2 * c;
    first = left >= 32 ? load(p) : load_part(p, 2 * left);
    second = left >= 64 ? load(p + 64) : left > 32 ? load_part(p + 64, 2 * left - 64) : _mm512_setzero_si512();
  }
  inline void prefetch_row(int64_t row, int64_t c) const {
    prefetch(w.data + row * w.row_bytes + 2 * c);
    prefetch(w.data + row * w.row_bytes + 2 * c + 64);
  }
};

template <class Values, int M>
void part_rows(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x,
               int64_t col, int64_t cols) {
  constexpr int R = M <= 4 ? 4 : 2;
  const Values values(w);
  int64_t i = 0;
  for (; i + R <= count; i += R) part_block<Values, R, M>(y + i, y_stride, values, first + i, x, col, cols, col > 0);
  for (; i < count; ++i) part_block<Values, 1, M>(y + i, y_stride, values, first + i, x, col, cols, col > 0);
}

// x * 2^shift for the scale of every 128 columns. False: a value would come so near to FP32's ends (2^-107, 2^87) that
// products with a weight or their sums could leave its normal numbers.
bool fold_scales(uint16_t* out, const uint16_t* x, const uint8_t* scales, int64_t cols) {
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  __mmask32 lost = 0;
  for (int64_t c = 0; c < cols; c += 128) {
    const int shift = (scales[c / 128] - 127) * 128;
    const int least = most_of(20 * 128 - shift, 128), most = least_of(214 * 128 - shift, 0x7f80);
    if (least > 0x7f80 || most < 0) return false;
    const __m512i add = _mm512_set1_epi16(static_cast<short>(shift));
    const __m512i low = _mm512_set1_epi16(static_cast<short>(least)),
                  high = _mm512_set1_epi16(static_cast<short>(most));
    for (int64_t i = c; i < c + 128; i += 32) {
      const __m512i v = load(x + i), a = _mm512_and_si512(v, magnitude);
      const __mmask32 nonzero = _mm512_test_epi16_mask(a, a);
      lost |= _mm512_mask_cmplt_epu16_mask(nonzero, a, low) | _mm512_mask_cmpge_epu16_mask(nonzero, a, high);
      _mm512_storeu_si512(out + i, _mm512_mask_add_epi16(v, nonzero, v, add));
    }
  }
  return lost == 0;
}

template <int M>
bool e4m3_part(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const uint16_t* const* x,
               int64_t col, int64_t cols) {
  alignas(64) uint16_t scaled[M][kPart + 64];  // not a power of two apart
  const uint16_t* in[M];
  for (int64_t i = 0; i < count;) {
    const int64_t tall = least_of<int64_t>(count - i, 128 - (first + i) % 128);
    const uint8_t* s = w.scale + (first + i) / 128 * w.scale_cols + col / 128;
    for (int m = 0; m < M; ++m) {
      if (!fold_scales(scaled[m], x[m], s, cols)) return false;
      in[m] = scaled[m];
    }
    part_rows<E4M3Values, M>(y + i, y_stride, w, first + i, tall, in, col, cols);
    i += tall;
  }
  return true;
}
