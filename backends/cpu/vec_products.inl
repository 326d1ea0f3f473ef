// Packed input rows, products with few of them, widened tiles: part of vec_kernels.inl, which says what V is.

// ------------------------------------------------------------------------------------------------------ packed rows

// One block of kPad columns; `split`: BF16, the even columns of every 64 before the odd ones; otherwise FP32 in order.
template <bool kSplit, class Change>
static inline void pack_block(void* out, const uint16_t* x, Change change) {
  if constexpr (kSplit) {
    uint16_t* y = static_cast<uint16_t*>(out);
    for (int64_t g = 0; g < kPad; g += 64) {
      for (int64_t i = 0; i < 32; i += kLanes) {
        V even, odd;
        v_load_pairs(x + g + 2 * i, even, odd);
        v_store16(y + g + i, change(even));
        v_store16(y + g + 32 + i, change(odd));
      }
    }
  } else {
    float* y = static_cast<float*>(out);
    for (int64_t i = 0; i < kPad; i += kLanes) v_store(y + i, change(v_load16(x + i)));
  }
}

template <bool kSplit>
static void pack_rows(XForm form, void* out, const uint16_t* x, int64_t cols) {
  for (int64_t c = 0; c < cols; c += kPad) {
    uint16_t tail[kPad] = {};
    const uint16_t* from = x + c;
    if (cols - c < kPad) {
      __builtin_memcpy(tail, from, static_cast<size_t>(cols - c) * 2);
      from = tail;
    }
    void* to = static_cast<uint8_t*>(out) + c * (kSplit && form != kXF32 ? 2 : 4);
    if (form == kXF32) {
      pack_block<false>(to, from, [](V v) { return v; });
    } else if (form == kXPlain) {
      if constexpr (kSplit) {
        __builtin_memcpy(to, from, kPad * 2);
      } else {
        pack_block<false>(to, from, [](V v) { return v; });
      }
    } else if (form == kXRaw) {
      pack_block<kSplit>(to, from, [](V v) { return v_mul(v, v_set(kXScale)); });
    } else {
      V most = v_zero();
      for (int64_t i = 0; i < kPad; i += kLanes) most = v_max(most, v_abs(v_load16(from + i)));
      const int e = block_exponent(v_maximum(most), 1e-4f, 1.0f / 448.0f);
      const V inverse = v_set(exponent_value(-e)), scale = v_set(exponent_value(e)), limit = v_set(448.0f);
      pack_block<kSplit>(to, from, [&](V v) {
        v = v_max(v_min(v_mul(v, inverse), limit), v_sub(v_zero(), limit));
        v = v_mul(round_to_grid(v, 0x1p-6f, 0x1p20f), scale);
        return kSplit ? v : v_mul(v, v_set(kXScale));
      });
    }
  }
}

// --------------------------------------------------------------------------------------------- matrix times few rows

// What a row that is read end to end asks for ahead: the hardware's own prefetch stops at every page. To the second
// cache: the first one has few lines on their way at a time. Past the last row the address is not ours; a prefetch of it
// does nothing.
constexpr int64_t kPage = 4096;
static inline void prefetch_ahead(const void* p) { __builtin_prefetch(p, 0, 2); }

template <int R, int M>
static inline void put_sums(float* y, int64_t y_stride, const V (&total)[R][M]) {
  for (int m = 0; m < M; ++m) {
    for (int r = 0; r < R; ++r) y[m * y_stride + r] = v_sum(total[r][m]);
  }
}

// Where few sums are on their way, a block has several of its own, that do not wait for each other.
template <int R, int M>
static void e4m3_rows(float* y, int64_t y_stride, const WeightView& w, int64_t row, const float* const* x) {
  constexpr int kSums = R * M < kCodes ? kCodes : 1;
  const uint8_t* p[R];
  const uint8_t* s[R];
  for (int r = 0; r < R; ++r) {
    p[r] = w.data + (row + r) * w.row_bytes;
    s[r] = w.scale + (row + r) / 128 * w.scale_cols;
  }
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  for (int64_t c = 0; c < w.cols; c += 128) {
    uint8_t tail[R][128];
    const uint8_t* q[R];
    for (int r = 0; r < R; ++r) q[r] = p[r] + c;
    if (w.cols - c < 128) {
      for (int r = 0; r < R; ++r) {
        __builtin_memset(tail[r], 0, 128);
        __builtin_memcpy(tail[r], q[r], static_cast<size_t>(w.cols - c));
        q[r] = tail[r];
      }
    }
    V sum[R][M][kSums];
    for (int r = 0; r < R; ++r)
      for (int m = 0; m < M; ++m)
        for (V& s : sum[r][m]) s = v_zero();
    const int64_t ahead = R == 1 ? kPage : R * w.row_bytes;
    for (int r = 0; r < R; ++r) {
      prefetch_ahead(p[r] + c + ahead);
      prefetch_ahead(p[r] + c + ahead + 64);
    }
    for (int64_t i = 0; i < 128; i += kCodes * kLanes) {
      V v[R][kCodes];
      for (int r = 0; r < R; ++r) v_e4m3(v[r], q[r] + i);
      for (int k = 0; k < kCodes; ++k) {
        V a[M];
        for (int m = 0; m < M; ++m) a[m] = v_load(x[m] + c + i + k * kLanes);
        for (int r = 0; r < R; ++r)
          for (int m = 0; m < M; ++m) sum[r][m][k % kSums] = v_fma(v[r][k], a[m], sum[r][m][k % kSums]);
      }
    }
    for (int r = 0; r < R; ++r) {
      const V scale = v_set(e8m0(s[r][c / 128]));
      for (int m = 0; m < M; ++m) {
        V all = sum[r][m][0];
        for (int k = 1; k < kSums; ++k) all = v_add(all, sum[r][m][k]);
        total[r][m] = v_fma(v_mul(all, v_set(kUnitE4M3)), scale, total[r][m]);
      }
    }
  }
  put_sums<R, M>(y, y_stride, total);
}

template <int R, int M>
static void fp4_rows(float* y, int64_t y_stride, const WeightView& w, int64_t row, const float* const* x) {
  const uint8_t* p[R];
  const uint8_t* s[R];
  for (int r = 0; r < R; ++r) {
    p[r] = w.data + (row + r) * w.row_bytes;
    s[r] = w.scale + (row + r) * w.scale_cols;
  }
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  for (int64_t c = 0; c < w.cols; c += 32) {
    for (int r = 0; r < R; ++r) {
      V v[32 / kLanes];
      if (c % 128 == 0) prefetch_ahead(p[r] + c / 2 + (R == 1 ? kPage : R * w.row_bytes));
      v_fp4(v, p[r] + c / 2);
      const V scale = v_set(e8m0(s[r][c / 32]));
      for (int m = 0; m < M; ++m) {
        V sum = v_mul(v[0], v_load(x[m] + c));
        for (int i = 1; i < 32 / kLanes; ++i) sum = v_fma(v[i], v_load(x[m] + c + i * kLanes), sum);
        total[r][m] = v_fma(v_mul(sum, v_set(kUnitFP4)), scale, total[r][m]);
      }
    }
  }
  put_sums<R, M>(y, y_stride, total);
}

// BF16 and F32 weights: `load` reads kLanes of them, `part` fewer.
template <int R, int M, class T, class Load, class Part>
static inline void plain_rows(float* y, int64_t y_stride, const WeightView& w, int64_t row, const float* const* x,
                              Load load, Part part) {
  const T* p[R];
  for (int r = 0; r < R; ++r) p[r] = reinterpret_cast<const T*>(w.data + (row + r) * w.row_bytes);
  V total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = v_zero();
  int64_t c = 0;
  if constexpr (R == 1) {  // several sums, that do not wait for each other
    constexpr int kSums = M == 1 ? 8 : M == 2 ? 4 : 2;
    constexpr int64_t kStep = kSums * kLanes;
    V sum[kSums][M];
    for (int k = 0; k < kSums; ++k)
      for (int m = 0; m < M; ++m) sum[k][m] = v_zero();
    for (; c + kStep <= w.cols; c += kStep) {
      const char* next = reinterpret_cast<const char*>(p[0] + c) + kPage;
      for (int64_t b = 0; b < kStep * static_cast<int64_t>(sizeof(T)); b += 64) prefetch_ahead(next + b);
      for (int k = 0; k < kSums; ++k) {
        const V v = load(p[0] + c + k * kLanes);
        for (int m = 0; m < M; ++m) sum[k][m] = v_fma(v, v_load(x[m] + c + k * kLanes), sum[k][m]);
      }
    }
    for (int k = 0; k < kSums; ++k)
      for (int m = 0; m < M; ++m) total[0][m] = v_add(total[0][m], sum[k][m]);
  }
  for (; c + kLanes <= w.cols; c += kLanes) {
    for (int r = 0; r < R; ++r) {
      const V v = load(p[r] + c);
      for (int m = 0; m < M; ++m) total[r][m] = v_fma(v, v_load(x[m] + c), total[r][m]);
    }
  }
  if (c < w.cols) {
    for (int r = 0; r < R; ++r) {
      const V v = part(p[r] + c, w.cols - c);
      for (int m = 0; m < M; ++m) total[r][m] = v_fma(v, v_load(x[m] + c), total[r][m]);
    }
  }
  put_sums<R, M>(y, y_stride, total);
}

struct E4M3Rows {
  static constexpr bool kLinear = false;
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const float* const* x) {
    e4m3_rows<R, M>(y, ys, w, row, x);
  }
};
struct Fp4Rows {
  static constexpr bool kLinear = false;
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const float* const* x) {
    fp4_rows<R, M>(y, ys, w, row, x);
  }
};
struct Bf16Rows {
  static constexpr bool kLinear = true;
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const float* const* x) {
    plain_rows<R, M, uint16_t>(
        y, ys, w, row, x, [](const uint16_t* p) { return v_load16(p); },
        [](const uint16_t* p, int64_t n) { return load16_n(p, n); });
  }
};
struct F32Rows {
  static constexpr bool kLinear = true;
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const float* const* x) {
    plain_rows<R, M, float>(
        y, ys, w, row, x, [](const float* p) { return v_load(p); },
        [](const float* p, int64_t n) { return v_load_n(p, n); });
  }
};

template <class Rows, int R, int M>
static void direct_rows(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                        const float* const* x) {
  int64_t i = 0;
  for (; i + R <= count; i += R) Rows::template run<R, M>(y + i, y_stride, w, first + i, x);
  for (; i < count; ++i) Rows::template run<1, M>(y + i, y_stride, w, first + i, x);
}

template <class Rows>
static void direct(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count, const void* const* x,
                   int rows) {
  const float* in[4];
  for (int m = 0; m < rows; ++m) in[m] = static_cast<const float*>(x[m]);
  // Weight rows side by side share the inputs that they meet; one after the other they are read faster.
  constexpr bool wide = kRegisters == 32, linear = Rows::kLinear;
  if (rows == 1) direct_rows<Rows, 1, 1>(y, y_stride, w, first, count, in);
  if (rows == 2) direct_rows<Rows, linear ? 1 : wide ? 4 : 2, 2>(y, y_stride, w, first, count, in);
  if (rows == 3) direct_rows<Rows, linear ? 1 : wide ? 2 : 1, 3>(y, y_stride, w, first, count, in);
  if (rows == 4) direct_rows<Rows, wide ? 2 : 1, 4>(y, y_stride, w, first, count, in);
}

// ---------------------------------------------------------------------------------------------------- widened tiles

// Scales that leave every product of theirs with a code a normal number, kXScale taken out again.
constexpr uint8_t kLowestFoldable = kXScale == 1.0f ? 10 : 80, kHighestFoldable = 246;
static inline bool foldable(uint8_t e) { return e >= kLowestFoldable && e <= kHighestFoldable; }

static bool widen_e4m3(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                       int64_t cols) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* p = w.data + (first + i) * w.row_bytes + col;
    const uint8_t* s = w.scale + (first + i) / 128 * w.scale_cols + col / 128;
    float* y = static_cast<float*>(out) + i * stride;
    for (int64_t c = 0; c < cols; c += 128) {
      if (!foldable(s[c / 128])) return false;
      uint8_t tail[128] = {};
      const uint8_t* q = p + c;
      if (cols - c < 128) {
        __builtin_memcpy(tail, q, static_cast<size_t>(cols - c));
        q = tail;
      }
      const V scale = v_set(e8m0(s[c / 128]));
      for (int64_t i = 0; i < 128; i += kCodes * kLanes) {
        V v[kCodes];
        v_e4m3(v, q + i);
        for (int k = 0; k < kCodes; ++k) {
          v_store(y + c + i + k * kLanes, v_mul(v_mul(v[k], v_set(kUnitE4M3)), scale));
        }
      }
    }
  }
  return true;
}

static bool widen_fp4(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                      int64_t cols) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* p = w.data + (first + i) * w.row_bytes + col / 2;
    const uint8_t* s = w.scale + (first + i) * w.scale_cols + col / 32;
    float* y = static_cast<float*>(out) + i * stride;
    int64_t c = 0;
    for (; c < cols; c += 32) {
      if (!foldable(s[c / 32])) return false;
      V v[32 / kLanes];
      v_fp4(v, p + c / 2);
      const V scale = v_set(kUnitFP4 * e8m0(s[c / 32]));  // powers of two, and normal for a scale that is foldable
      for (int k = 0; k < 32 / kLanes; ++k) v_store(y + c + k * kLanes, v_mul(v[k], scale));
    }
    for (; c % kPad != 0; c += kLanes) v_store(y + c, v_zero());
  }
  return true;
}

static bool widen_bf16(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                       int64_t cols) {
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(w.data + (first + i) * w.row_bytes) + col;
    float* y = static_cast<float*>(out) + i * stride;
    int64_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) v_store(y + c, v_load16(p + c));
    if (c < cols) v_store(y + c, load16_n(p + c, cols - c)), c += kLanes;
    for (; c % kPad != 0; c += kLanes) v_store(y + c, v_zero());
  }
  return true;
}

static bool widen_f32(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                      int64_t cols) {
  for (int64_t i = 0; i < count; ++i) {
    const float* p = reinterpret_cast<const float*>(w.data + (first + i) * w.row_bytes) + col;
    float* y = static_cast<float*>(out) + i * stride;
    int64_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) v_store(y + c, v_load(p + c));
    if (c < cols) v_store(y + c, v_load_n(p + c, cols - c)), c += kLanes;
    for (; c % kPad != 0; c += kLanes) v_store(y + c, v_zero());
  }
  return true;
}

template <int R, int M>
static void dot_block(float* y, int64_t y_stride, const float* w, int64_t w_stride, const void* const* x, int64_t col,
                      int64_t cols, bool add) {
  const float* a[M];
  for (int m = 0; m < M; ++m) a[m] = static_cast<const float*>(x[m]) + col;
  V sum[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) sum[r][m] = v_zero();
  for (int64_t c = 0; c < cols; c += kLanes) {
    // The fewer vectors of the two sides stay in registers while the others pass.
    if constexpr (M < R) {
      V b[M];
      for (int m = 0; m < M; ++m) b[m] = v_load(a[m] + c);
      for (int r = 0; r < R; ++r) {
        const V v = v_load(w + r * w_stride + c);
        for (int m = 0; m < M; ++m) sum[r][m] = v_fma(v, b[m], sum[r][m]);
      }
    } else {
      V v[R];
      for (int r = 0; r < R; ++r) v[r] = v_load(w + r * w_stride + c);
      for (int m = 0; m < M; ++m) {
        const V b = v_load(a[m] + c);
        for (int r = 0; r < R; ++r) sum[r][m] = v_fma(v[r], b, sum[r][m]);
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int r = 0; r < R; ++r) {
      float& to = y[m * y_stride + r];
      to = add ? to + v_sum(sum[r][m]) : v_sum(sum[r][m]);
    }
  }
}

constexpr int kDotRows = kRegisters >= 16 ? 4 : 2;  // weight rows x input rows whose sums are registers
constexpr int kDotInputs = kRegisters == 32 ? 6 : kRegisters == 16 ? 3 : 2;

// Every block of sums asks for its share of what is read next.
struct AheadShare {
  const uint8_t* next;
  const uint8_t* end;
  int64_t step;
};

template <int M>
static void dot_inputs(float* y, int64_t y_stride, const float* w, int64_t w_stride, int64_t count,
                       const void* const* x, int64_t col, int64_t cols, bool add, AheadShare& ahead) {
  int64_t i = 0;
  for (; i + kDotRows <= count; i += kDotRows) {
    const uint8_t* stop = ahead.end - ahead.next < ahead.step ? ahead.end : ahead.next + ahead.step;
    for (; ahead.next < stop; ahead.next += 64) __builtin_prefetch(ahead.next);
    dot_block<kDotRows, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add);
  }
  for (; i < count; ++i) dot_block<1, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add);
}

static void dot_f32(float* y, int64_t y_stride, const void* weights, int64_t w_stride, int64_t count,
                    const void* const* x, int64_t rows, int64_t col, int64_t cols, bool add, const Ahead& ahead) {
  const float* w = static_cast<const float*>(weights);
  const int64_t blocks = (count + kDotRows - 1) / kDotRows * ((rows + kDotInputs - 1) / kDotInputs);
  AheadShare next{ahead.data, ahead.data + ahead.bytes, (ahead.bytes / blocks + 63) / 64 * 64};
  const auto step = [&](auto inputs, int64_t m) {
    constexpr int kInputs = decltype(inputs)::value;
    dot_inputs<kInputs>(y + m * y_stride, y_stride, w, w_stride, count, x + m, col, cols, add, next);
  };
  int64_t m = 0;
  for (; m + kDotInputs <= rows; m += kDotInputs) step(Count<kDotInputs>{}, m);
  if (kDotInputs > 4 && rows - m >= 4) step(Count<4>{}, m), m += 4;
  if (kDotInputs > 2 && rows - m >= 2) step(Count<2>{}, m), m += 2;
  if (rows > m) step(Count<1>{}, m);
}
