// Part of kernels_avx2.cc: E4M3 and BF16 weights times several input rows. Four and more rows of FP32 do not fit the
// first cache, and from the second one they come half as fast as they are multiplied: so some of their columns at a time
// meet some weight rows, each of which is widened once, in registers, for all of them. These columns lie as they are
// read, eight of one row, then of the next: one address for all rows.

constexpr int64_t kPartCols = 512;  // of eight input rows 16 KB
constexpr int64_t kPartRows = 64;   // weight rows whose next columns wait in the second cache
constexpr int64_t kFirstRows = 8;  // and weight rows that are fetched before the first one is multiplied
constexpr int kSums = 8;            // vectors of sums, so many that none waits for itself

struct E4M3Part {
  static constexpr int64_t kBytes = 1;
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
          for (int k = 0; k < 4; ++k)
            for (int m = 0; m < M; ++m) sum[r][m] = v_fma(v[k], v_load(x + (i + k * kLanes) * M + m * kLanes), sum[r][m]);
        }
      }
      for (int r = 0; r < R; ++r) {
        const float scale = e8m0(w.scale[(row + r) / 128 * w.scale_cols + (col + c) / 128]);
        for (int m = 0; m < M; ++m) total[r][m] = v_fma(v_mul(sum[r][m], v_set(kUnitE4M3)), v_set(scale), total[r][m]);
      }
    }
  }
};

struct Bf16Part {
  static constexpr int64_t kBytes = 2;
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
  for (int64_t r = row; r < row + rows; ++r)
    for (int64_t c = col; c < col + kPartCols; c += 64 / Part::kBytes) {
      prefetch_ahead(w.data + r * w.row_bytes + c * Part::kBytes);
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

// False: not so many rows, or columns that are no whole blocks.
template <class Part>
bool several(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const void* const* x,
             int rows) {
  if (w.cols % kPad != 0) return false;
  switch (rows) {
    case 3: several_rows<Part, 2, 3>(y, y_stride, w, first, count, x); return true;
    case 4: several_rows<Part, 2, 4>(y, y_stride, w, first, count, x); return true;
    case 5: several_rows<Part, 1, 5>(y, y_stride, w, first, count, x); return true;
    case 6: several_rows<Part, 1, 6>(y, y_stride, w, first, count, x); return true;
    case 7: several_rows<Part, 1, 7>(y, y_stride, w, first, count, x); return true;
    case 8: several_rows<Part, 1, 8>(y, y_stride, w, first, count, x); return true;
    default: return false;
  }
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
