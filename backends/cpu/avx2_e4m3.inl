// Part of kernels_avx2.cc: E4M3 weights times one input row, whose columns are laid out as e4m3_quads finds them.

constexpr int64_t kQuadCols = 8192;  // columns of a row that are taken, at most

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

void direct_e4m3_quads(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                       const void* const* x, int rows) {
  if (rows != 1 || w.cols > kQuadCols || w.cols % 128 != 0) {
    return direct_several<E4M3Part, E4M3Rows>(y, y_stride, w, first, count, x, rows);
  }
  alignas(32) float row[kQuadCols];
  quads_of(row, kLanes, static_cast<const float*>(x[0]), w.cols);
  for (int64_t i = 0; i < count; ++i) y[i] = e4m3_row(w, first + i, row);
}
