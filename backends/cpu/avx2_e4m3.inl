// Part of kernels_avx2.cc: E4M3 weights times one input row. The 32 codes of a vector are widened where they lie, four
// to a lane, and meet an input row whose columns are laid out that way: fewer instructions than spreading eight codes
// over eight lanes, four times.

constexpr int64_t kQuadCols = 8192;  // columns of a row that are taken, at most

// Column 4i + j of every 32 becomes lane i of vector j; vectors `distance` apart.
inline void quads_of(float* out, int64_t distance, const float* x, int64_t cols) {
  for (int64_t c = 0; c < cols; c += 32) {
    V v[4], t[4];
    // Lower halves: columns 0 to 15, four a vector; upper halves: 16 to 31.
    for (int j = 0; j < 4; ++j) {
      v[j] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + c + 4 * j)), _mm_loadu_ps(x + c + 16 + 4 * j), 1);
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

// The codes 4i + j of 32 as lane i of v[j], each as v_e4m3 gives it.
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

inline float e4m3_row(const WeightView& w, int64_t row, const float* x) {
  const uint8_t* p = w.data + row * w.row_bytes;
  const uint8_t* s = w.scale + row / 128 * w.scale_cols;
  V total = v_zero();
  for (int64_t c = 0; c < w.cols; c += 128) {
    prefetch_ahead(p + c + kPage);
    prefetch_ahead(p + c + kPage + 64);
    V sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (int64_t i = 0; i < 128; i += 32) {
      V v[4];
      e4m3_quads(v, p + c + i);
      for (int j = 0; j < 4; ++j) sum[j] = v_fma(v[j], v_load(x + c + i + 8 * j), sum[j]);
    }
    const V all = v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3]));
    total = v_fma(v_mul(all, v_set(kUnitE4M3)), v_set(e8m0(s[c / 128])), total);
  }
  return v_sum(total);
}

#include "backends/cpu/avx2_several.inl"

void direct_e4m3_quads(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                       const void* const* x, int rows) {
  if (rows != 1 || w.cols > kQuadCols || w.cols % 128 != 0) {
    return direct_several<E4M3Part, E4M3Rows>(y, y_stride, w, first, count, x, rows);
  }
  alignas(32) float row[kQuadCols];
  quads_of(row, kLanes, static_cast<const float*>(x[0]), w.cols);
  for (int64_t i = 0; i < count; ++i) y[i] = e4m3_row(w, first + i, row);
}
