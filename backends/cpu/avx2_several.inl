// Part of kernels_avx2.cc: weights times several input rows. Four and more rows of FP32 do not fit the first cache, and
// from the second one they come half as fast as they are multiplied: so some of their columns at a time meet some weight
// rows, each of which is widened once, in registers, for all of them. These columns lie as they are read, eight of one
// row, then of the next: one address for all rows.

constexpr int64_t kPartCols = 512;  // of eight input rows 16 KB
constexpr int64_t kPartRows = 64;   // weight rows whose next columns wait in the second cache
constexpr int64_t kFirstRows = 8;   // and weight rows that are fetched before the first one is multiplied
constexpr int kSums = 8;            // vectors of sums, so many that none waits for itself

// Column 4i + j of every 32 becomes lane i of vector j; vectors `distance` apart.
inline void quads_of(float* out, int64_t distance, const float* x, int64_t cols) {
  for (int64_t c = 0; c < cols; c += 32) {
    V v[4], t[4];
    // Lower halves: columns 0 to 15, four a vector; upper halves: 16 to 31.
    for (int j = 0; j < 4; ++j) {
      const float* from = x + c + 4 * j;
      v[j] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from + 16), 1);
    }
    for (int j = 0; j < 2; ++j) {
      t[j] = _mm256_unpacklo_ps(v[2 * j], v[2 * j + 1]);
      t[2 + j] = _mm256_unpackhi_ps(v[2 * j], v[2 * j + 1]);
    }
    for (int j = 0; j < 2; ++j) {
      v_store(out + 2 * j * distance, _mm256_shuffle_ps(t[2 * j], t[2 * j + 1], 0x44));
      v_store(out + (2 * j + 1) * distance, _mm256_shuffle_ps(t[2 * j], t[2 * j + 1], 0xee));
    }
    out += 4 * distance;
  }
}

// The codes 4i + j of 32 as lane i of v[j], each as v_e4m3 gives it: widened where they lie, four to a lane, they take
// fewer instructions than eight codes spread over eight lanes, four times.
inline void e4m3_quads(V (&v)[4], const uint8_t* p) {
  const __m256i codes = vi_load(p), low = _mm256_slli_epi16(codes, 8);
  const __m256i fields = _mm256_set1_epi32(static_cast<int>(0x87f00000u));
  const auto upper = [&](__m256i x) { return _mm256_castsi256_ps(_mm256_and_si256(x, fields)); };
  const __m256i odd = _mm256_srai_epi16(codes, 4), even = _mm256_srai_epi16(low, 4);
  v[0] = upper(_mm256_slli_epi32(even, 16));
  v[1] = upper(_mm256_slli_epi32(odd, 16));
  v[2] = upper(even);
  v[3] = upper(odd);
}

// Of each format: how the columns of an input row are laid out, which weights are taken, and sums over some columns.
struct E4M3Part {
  static constexpr int kLeast = 5;  // input rows
  static int64_t bytes(int64_t cols) { return cols; }
  static bool takes(const WeightView&, int64_t, int64_t) { return true; }
  static void lay(float* out, int64_t distance, const float* x, int64_t cols) { quads_of(out, distance, x, cols); }
  template <int R, int M>
  static void add(V (&total)[R][M], const WeightView& w, int64_t row, int64_t col, int64_t cols, const float* x) {
    const uint8_t* p = w.data + row * w.row_bytes + col;
    for (int64_t c = 0; c < cols; c += 128) {
      V sum[R][M];
      for (int r = 0; r < R; ++r)
        for (int m = 0; m < M; ++m) sum[r][m] = v_zero();
      for (int64_t i = c; i < c + 128; i += 4 * kLanes) {
        for (int r = 0; r < R; ++r) {
          V v[4];
          e4m3_quads(v, p + r * w.row_bytes + i);
          for (int k = 0; k < 4; ++k) {
            const float* in = x + (i + k * kLanes) * M;
            for (int m = 0; m < M; ++m) sum[r][m] = v_fma(v[k], v_load(in + m * kLanes), sum[r][m]);
          }
        }
      }
      for (int r = 0; r < R; ++r) {
        const float scale = e8m0(w.scale[(row + r) / 128 * w.scale_cols + (col + c) / 128]);
        for (int m = 0; m < M; ++m) total[r][m] = v_fma(v_mul(sum[r][m], v_set(kUnitE4M3)), v_set(scale), total[r][m]);
      }
    }
  }
};

struct Fp4Part {
  static constexpr int kLeast = 5;
  static int64_t bytes(int64_t cols) { return cols / 2; }
  static bool takes(const WeightView& w, int64_t first, int64_t count) {
    const uint8_t* s = w.scale + first * w.scale_cols;
    bool fold = true;
    for (int64_t i = 0; i < count * w.scale_cols; ++i) fold &= foldable(s[i]);
    return fold;
  }
  static void lay(float* out, int64_t distance, const float* x, int64_t cols) {
    const __m256i even_odd = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    for (int64_t c = 0; c < cols; c += kLanes, out += distance) {
      v_store(out, _mm256_permutevar8x32_ps(v_load(x + c), even_odd));
    }
  }
  template <int R, int M>
  static void add(V (&total)[R][M], const WeightView& w, int64_t row, int64_t col, int64_t cols, const float* x) {
    const uint8_t* p = w.data + row * w.row_bytes + col / 2;
    const uint8_t* s = w.scale + row * w.scale_cols + col / 32;
    for (int64_t i = 0; i < cols; i += 4 * kLanes) {
      for (int r = 0; r < R; ++r) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + r * w.row_bytes + i / 2));
        const __m256i even_odd = _mm256_srlv_epi32(in_both_lanes(bytes), _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
        V v[4];
        fp4_values(v, _mm256_and_si256(even_odd, _mm256_set1_epi8(15)));
        const V scale = v_set(kUnitFP4 * e8m0(s[r * w.scale_cols + i / 32]));
        for (int k = 0; k < 4; ++k) {
          const V value = v_mul(v[k], scale);
          const float* in = x + (i + k * kLanes) * M;
          for (int m = 0; m < M; ++m) total[r][m] = v_fma(value, v_load(in + m * kLanes), total[r][m]);
        }
      }
    }
  }
};

struct Bf16Part {
  static constexpr int kLeast = 3;
  static int64_t bytes(int64_t cols) { return cols * 2; }
  static bool takes(const WeightView&, int64_t, int64_t) { return true; }
  static void lay(float* out, int64_t distance, const float* x, int64_t cols) {
    for (int64_t c = 0; c < cols; c += kLanes, out += distance) v_store(out, v_load(x + c));
  }
  template <int R, int M>
  static void add(V (&total)[R][M], const WeightView& w, int64_t row, int64_t col, int64_t cols, const float* x) {
    const uint8_t* p = w.data + row * w.row_bytes + col * 2;
    for (int64_t i = 0; i < cols; i += kLanes) {
      V v[R];
      for (int r = 0; r < R; ++r) v[r] = v_load16(reinterpret_cast<const uint16_t*>(p + r * w.row_bytes) + i);
      for (int m = 0; m < M; ++m) {
        const V a = v_load(x + i * M + m * kLanes);
        for (int r = 0; r < R; ++r) total[r][m] = v_fma(v[r], a, total[r][m]);
      }
    }
  }
};

// Lane i: the sum of t[i].
inline V sums_of(const V* t) {
  V pair[4];
  for (int i = 0; i < 4; ++i) pair[i] = _mm256_hadd_ps(t[2 * i], t[2 * i + 1]);
  const V low = _mm256_hadd_ps(pair[0], pair[1]), high = _mm256_hadd_ps(pair[2], pair[3]);
  return v_add(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}

template <class Part>
inline void prefetch_part(const WeightView& w, int64_t row, int64_t rows, int64_t col) {
  for (int64_t r = row; r < row + rows; ++r) {
    const uint8_t* part = w.data + r * w.row_bytes + Part::bytes(col);
    for (int64_t b = 0; b < Part::bytes(kPartCols); b += 64) prefetch_ahead(part + b);
  }
}

// Columns [col, col + cols) of R weight rows, added to all[r * M + m].
template <class Part, int R, int M>
inline void part_of_rows(float* all, const WeightView& w, int64_t row, int64_t col, int64_t cols, const float* x) {
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  Part::template add<R, M>(total, w, row, col, cols, x);
  V sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = i < R * M ? total[i / M][i % M] : v_zero();
  v_store(all, v_add(v_load(all), sums_of(sums)));
}

template <class Part, int R, int M>
void several_rows(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                  const void* const* x) {
  static_assert(R * M <= kSums);
  prefetch_part<Part>(w, first, kFirstRows, 0);
  for (int64_t begin = 0; begin < count; begin += kPartRows) {
    const int64_t rows = count - begin < kPartRows ? count - begin : kPartRows;
    alignas(32) float all[kPartRows][kSums] = {};
    alignas(32) float in[kPartCols * M];
    for (int64_t col = 0; col < w.cols; col += kPartCols) {
      const int64_t cols = w.cols - col < kPartCols ? w.cols - col : kPartCols;
      for (int m = 0; m < M; ++m) {
        Part::lay(in + m * kLanes, M * kLanes, static_cast<const float*>(x[m]) + col, cols);
      }
      const int64_t next = col + kPartCols < w.cols ? col + kPartCols : 0, group = first + begin;
      for (int64_t i = 0; i < rows;) {
        const int64_t some = i + R <= rows ? R : 1, row = group + i;
        // The same rows' next columns, or the next group's first ones; what is read first has nobody before it to ask.
        if (begin == 0 && col == 0) prefetch_part<Part>(w, row + kFirstRows, some, 0);
        if (next > 0 || begin + kPartRows < count) prefetch_part<Part>(w, next > 0 ? row : row + kPartRows, some, next);
        if (some == R) {
          part_of_rows<Part, R, M>(all[i], w, row, col, cols, in);
        } else {
          part_of_rows<Part, 1, M>(all[i], w, row, col, cols, in);
        }
        i += some;
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      const bool together = i / R * R + R <= rows;
      const float* sums = together ? all[i / R * R] + i % R * M : all[i];
      for (int m = 0; m < M; ++m) y[m * y_stride + begin + i] = sums[m];
    }
  }
}

// False: not so many rows, columns that are no whole blocks, weights that are not taken.
template <class Part>
bool several(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const void* const* x,
             int rows) {
  if (rows < Part::kLeast || w.cols % kPad != 0 || !Part::takes(w, first, count)) return false;
  if constexpr (Part::kLeast <= 4) {
    if (rows == 3) several_rows<Part, 2, 3>(y, y_stride, w, first, count, x);
    if (rows == 4) several_rows<Part, 2, 4>(y, y_stride, w, first, count, x);
  }
  if (rows == 5) several_rows<Part, 1, 5>(y, y_stride, w, first, count, x);
  if (rows == 6) several_rows<Part, 1, 6>(y, y_stride, w, first, count, x);
  if (rows == 7) several_rows<Part, 1, 7>(y, y_stride, w, first, count, x);
  if (rows == 8) several_rows<Part, 1, 8>(y, y_stride, w, first, count, x);
  return true;
}

// Any rows, at most kMaxDirect.
template <class Part, class Rows>
void direct_several(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                    const void* const* x, int rows) {
  if (several<Part>(y, y_stride, w, first, count, x, rows)) return;
  const int some = rows < 4 ? rows : 4;
  direct<Rows>(y, y_stride, w, first, count, x, some);
  if (rows > some) direct<Rows>(y + some * y_stride, y_stride, w, first, count, x + some, rows - some);
}
