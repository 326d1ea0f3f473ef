// Every kernel of kernels.h once, over a vector type that the including file defines in an anonymous namespace:
//   V, kLanes; v_zero v_set v_load v_store v_load_n v_store_n (n < kLanes, zero-filled) v_load16 v_store16 (BF16,
//   rounding), v_load_pairs v_store_pairs (2 * kLanes BF16 as even and odd elements), v_add v_sub v_mul v_div v_fma
//   v_max v_min v_abs v_or_sign(x, s) v_binade(x) (x >= 0 with its mantissa cleared), v_round16, v_rint,
//   v_exp2i (2^n of an integral n), v_sum v_maximum, v_swap<s> (lane i gets lane i ^ s), v_alternate<s> (+1 where
//   i & s is 0, else -1), VD (sums of kLanes in double) vd_zero vd_add_square vd_sum, v_fused (v_fma, the product never
//   rounded), v_e4m3 (kLanes codes, value * kE4M3Unit^-1 ... see below), v_fp4 (16 bytes, 32 values),
//   v_e2m1 (kLanes / 2 bytes, exact values).
// Cheap conversions leave a power of two behind: an E4M3 code becomes value * 2^-120 by a shift alone. kXScale, a power
// of two that packed rows of quantised products carry, keeps a block's sum in the middle of FP32's range, and kUnit
// puts the rest right once per block. All of it is exact.
// The file is text for kernels_*.cc, not a header: everything in it is static to the one that includes it.

template <int N>
struct Count {
  static constexpr int value = N;
};

static inline float f32_of(uint16_t b) {
  const uint32_t u = static_cast<uint32_t>(b) << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

static inline uint16_t bf16_of(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float e8m0(uint8_t e) {
  const uint32_t u = e == 0 ? 0x00400000u : static_cast<uint32_t>(e) << 23;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

static inline float exponent_value(int e) {  // 2^e, -126 <= e <= 127
  const uint32_t u = static_cast<uint32_t>(e + 127) << 23;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

// ceil(log2(amax / largest)), as number.cc has it.
static inline int block_exponent(float amax, float floor, float reciprocal) {
  const float x = (amax > floor ? amax : floor) * reciprocal;
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  return static_cast<int>(u >> 23) - 127 + ((u & 0x7fffffu) != 0 ? 1 : 0);
}

static inline V load16_n(const uint16_t* p, int64_t n) {
  uint16_t b[kLanes] = {};
  __builtin_memcpy(b, p, static_cast<size_t>(n) * 2);
  return v_load16(b);
}

static inline void store16_n(uint16_t* p, V x, int64_t n) {
  uint16_t b[kLanes];
  v_store16(b, x);
  __builtin_memcpy(p, b, static_cast<size_t>(n) * 2);
}

// Nearest, ties to even, on a grid of `spacing` per binade (a power of two; constant below `lowest`): adding a number
// 2^23 spacings high makes the FP32 adder itself round there.
static inline V round_to_grid(V x, float lowest, float per_binade) {
  const V a = v_abs(x);
  const V c = v_mul(v_max(v_binade(a), v_set(lowest)), v_set(per_binade));
  return v_or_sign(v_sub(v_add(a, c), c), x);
}

// exp, relative error below 1.5 units in the last place; 2^-126 and less, and past 2^127, are cut off.
static inline V v_exp(V x) {
  x = v_min(v_max(x, v_set(-87.3f)), v_set(88.37f));
  const V n = v_rint(v_mul(x, v_set(1.44269504088896341f)));
  V r = v_fma(n, v_set(-0.693359375f), x);
  r = v_fma(n, v_set(2.12194440e-4f), r);
  V p = v_set(1.9875691500e-4f);
  p = v_fma(p, r, v_set(1.3981999507e-3f));
  p = v_fma(p, r, v_set(8.3334519073e-3f));
  p = v_fma(p, r, v_set(4.1665795894e-2f));
  p = v_fma(p, r, v_set(1.6666665459e-1f));
  p = v_fma(p, r, v_set(5.0000001201e-1f));
  p = v_add(v_fma(p, v_mul(r, r), r), v_set(1.0f));
  return v_mul(p, v_exp2i(n));
}

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

template <int R, int M>
static inline void put_sums(float* y, int64_t y_stride, const V (&total)[R][M]) {
  for (int m = 0; m < M; ++m) {
    for (int r = 0; r < R; ++r) y[m * y_stride + r] = v_sum(total[r][m]);
  }
}

template <int R, int M>
static void e4m3_rows(float* y, int64_t y_stride, const WeightView& w, int64_t row, const float* const* x) {
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
    V sum[R][M];
    for (int r = 0; r < R; ++r)
      for (int m = 0; m < M; ++m) sum[r][m] = v_zero();
    // The hardware's own prefetch stops at every page, which is one or two rows: ask for the rows after those in hand.
    // Past the last row the address is not ours; a prefetch of it does nothing.
    for (int r = 0; r < R; ++r) {
      __builtin_prefetch(p[r] + c + R * w.row_bytes);
      __builtin_prefetch(p[r] + c + R * w.row_bytes + 64);
    }
    for (int64_t i = 0; i < 128; i += kLanes) {
      V a[M];
      for (int m = 0; m < M; ++m) a[m] = v_load(x[m] + c + i);
      for (int r = 0; r < R; ++r) {
        const V v = v_e4m3(q[r] + i);
        for (int m = 0; m < M; ++m) sum[r][m] = v_fma(v, a[m], sum[r][m]);
      }
    }
    for (int r = 0; r < R; ++r) {
      const V scale = v_set(e8m0(s[r][c / 128]));
      for (int m = 0; m < M; ++m) total[r][m] = v_fma(v_mul(sum[r][m], v_set(kUnitE4M3)), scale, total[r][m]);
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
      if (c % 128 == 0) __builtin_prefetch(p[r] + c / 2 + R * w.row_bytes);
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
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const float* const* x) {
    e4m3_rows<R, M>(y, ys, w, row, x);
  }
};
struct Fp4Rows {
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const float* const* x) {
    fp4_rows<R, M>(y, ys, w, row, x);
  }
};
struct Bf16Rows {
  template <int R, int M>
  static void run(float* y, int64_t ys, const WeightView& w, int64_t row, const float* const* x) {
    plain_rows<R, M, uint16_t>(
        y, ys, w, row, x, [](const uint16_t* p) { return v_load16(p); },
        [](const uint16_t* p, int64_t n) { return load16_n(p, n); });
  }
};
struct F32Rows {
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
  const float* in[kMaxDirect];
  for (int m = 0; m < rows; ++m) in[m] = static_cast<const float*>(x[m]);
  constexpr bool wide = kLanes == 16;  // 32 registers
  if (rows == 1) direct_rows<Rows, 4, 1>(y, y_stride, w, first, count, in);
  if (rows == 2) direct_rows<Rows, wide ? 4 : 2, 2>(y, y_stride, w, first, count, in);
  if (rows == 3) direct_rows<Rows, wide ? 2 : 1, 3>(y, y_stride, w, first, count, in);
  if (rows == 4) direct_rows<Rows, wide ? 2 : 1, 4>(y, y_stride, w, first, count, in);
}

// ---------------------------------------------------------------------------------------------------- widened tiles

// Scales that leave every product of theirs with a code a normal number, kXScale taken out again.
static inline bool foldable(uint8_t e) { return e >= (kXScale == 1.0f ? 10 : 80) && e <= 246; }

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
      for (int64_t k = 0; k < 128; k += kLanes) {
        v_store(y + c + k, v_mul(v_mul(v_e4m3(q + k), v_set(kUnitE4M3)), scale));
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
      const V scale = v_set(e8m0(s[c / 32]));
      for (int k = 0; k < 32 / kLanes; ++k) v_store(y + c + k * kLanes, v_mul(v_mul(v[k], v_set(kUnitFP4)), scale));
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

constexpr int kDotRows = kLanes >= 8 ? 4 : 2;  // weight rows x input rows whose sums are registers
constexpr int kDotInputs = kLanes == 16 ? 6 : kLanes == 8 ? 3 : 2;

template <int M>
static void dot_inputs(float* y, int64_t y_stride, const float* w, int64_t w_stride, int64_t count,
                       const void* const* x, int64_t col, int64_t cols, bool add) {
  int64_t i = 0;
  for (; i + kDotRows <= count; i += kDotRows) {
    dot_block<kDotRows, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add);
  }
  for (; i < count; ++i) dot_block<1, M>(y + i, y_stride, w + i * w_stride, w_stride, x, col, cols, add);
}

static void dot_f32(float* y, int64_t y_stride, const void* weights, int64_t w_stride, int64_t count,
                    const void* const* x, int64_t rows, int64_t col, int64_t cols, bool add) {
  const float* w = static_cast<const float*>(weights);
  const auto step = [&](auto inputs, int64_t m) {
    constexpr int kInputs = decltype(inputs)::value;
    dot_inputs<kInputs>(y + m * y_stride, y_stride, w, w_stride, count, x + m, col, cols, add);
  };
  int64_t m = 0;
  for (; m + kDotInputs <= rows; m += kDotInputs) step(Count<kDotInputs>{}, m);
  if (kDotInputs > 4 && rows - m >= 4) step(Count<4>{}, m), m += 4;
  if (kDotInputs > 2 && rows - m >= 2) step(Count<2>{}, m), m += 2;
  if (rows > m) step(Count<1>{}, m);
}

// -------------------------------------------------------------------------------------------------------------- rows

static void store_bf16(uint16_t* y, const float* x, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) v_store16(y + i, v_load(x + i));
  for (; i < n; ++i) y[i] = bf16_of(x[i]);
}

static void widen_row(float* y, const uint16_t* x, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) v_store(y + i, v_load16(x + i));
  for (; i < n; ++i) y[i] = f32_of(x[i]);
}

static void sum_bf16(float* y, const uint16_t* x, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) v_store(y + i, v_add(v_load(y + i), v_load16(x + i)));
  for (; i < n; ++i) y[i] += f32_of(x[i]);
}

// In double: a norm's factor then is as good as FP32 can hold, whatever the width of a vector.
static double sum_squares(const uint16_t* x, int64_t n) {
  VD sum = vd_zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = vd_add_square(sum, v_load16(x + i));
  if (i < n) sum = vd_add_square(sum, load16_n(x + i, n - i));
  return vd_sum(sum);
}

// The product of two BF16 is exact; with the factor in two parts the result is rounded once.
static void scale_row(uint16_t* y, const uint16_t* x, const uint16_t* weight, double factor, int64_t n) {
  const float rounded = static_cast<float>(factor);
  const V high = v_set(rounded), low = v_set(static_cast<float>(factor - static_cast<double>(rounded)));
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t part = n - i < kLanes ? n - i : kLanes;
    const bool whole = part == kLanes;
    V v = whole ? v_load16(x + i) : load16_n(x + i, part);
    if (weight != nullptr) v = v_mul(v, whole ? v_load16(weight + i) : load16_n(weight + i, part));
    v = v_fused(v, high, v_mul(v, low));
    if (whole) {
      v_store16(y + i, v);
    } else {
      store16_n(y + i, v, part);
    }
  }
}

static void add_rows(uint16_t* y, const uint16_t* a, const uint16_t* b, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) v_store16(y + i, v_add(v_load16(a + i), v_load16(b + i)));
  for (; i < n; ++i) y[i] = bf16_of(f32_of(a[i]) + f32_of(b[i]));
}

static double hc_mix(uint16_t* x, const uint16_t* X, const float* pre, int m, int64_t n) {
  VD squares = vd_zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t part = n - i < kLanes ? n - i : kLanes;
    V sum = v_zero();
    for (int j = 0; j < m; ++j) {
      const uint16_t* from = X + j * n + i;
      sum = v_fma(v_set(pre[j]), part == kLanes ? v_load16(from) : load16_n(from, part), sum);
    }
    sum = v_round16(sum);
    squares = vd_add_square(squares, sum);
    if (part == kLanes) {
      v_store16(x + i, sum);
    } else {
      store16_n(x + i, sum, part);
    }
  }
  return vd_sum(squares);
}

static void hc_spread(uint16_t* X, const uint16_t* y, const float* post, const float* comb, int m, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t part = n - i < kLanes ? n - i : kLanes;
    const bool whole = part == kLanes;
    V in[kMaxStreams];
    for (int j = 0; j < m; ++j) in[j] = whole ? v_load16(X + j * n + i) : load16_n(X + j * n + i, part);
    const V out = whole ? v_load16(y + i) : load16_n(y + i, part);
    for (int k = 0; k < m; ++k) {
      V sum = v_mul(v_set(post[k]), out);
      for (int j = 0; j < m; ++j) sum = v_fma(v_set(comb[j * m + k]), in[j], sum);
      if (whole) {
        v_store16(X + k * n + i, sum);
      } else {
        store16_n(X + k * n + i, sum, part);
      }
    }
  }
}

static void rope(uint16_t* x, const float* cos, const float* sin, int64_t pairs, bool inverse) {
  const float sign = inverse ? -1.0f : 1.0f;
  int64_t i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    V even, odd;
    v_load_pairs(x + 2 * i, even, odd);
    const V c = v_load(cos + i), s = v_mul(v_load(sin + i), v_set(sign));
    v_store_pairs(x + 2 * i, v_sub(v_mul(even, c), v_mul(odd, s)), v_add(v_mul(even, s), v_mul(odd, c)));
  }
  for (; i < pairs; ++i) {
    const float even = f32_of(x[2 * i]), odd = f32_of(x[2 * i + 1]), c = cos[i], s = sin[i] * sign;
    x[2 * i] = bf16_of(even * c - odd * s);
    x[2 * i + 1] = bf16_of(even * s + odd * c);
  }
}

template <int kStride>
static inline V butterfly(V x) {
  return v_fma(x, v_alternate<kStride>(), v_swap<kStride>(x));
}

static void hadamard(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    V v = v_load(x + i);
    v = butterfly<1>(v);
    v = butterfly<2>(v);
    if constexpr (kLanes >= 8) v = butterfly<4>(v);
    if constexpr (kLanes >= 16) v = butterfly<8>(v);
    v_store(x + i, v);
  }
  for (int64_t h = kLanes; h < n; h *= 2) {
    for (int64_t b = 0; b < n; b += 2 * h) {
      for (int64_t i = b; i < b + h; i += kLanes) {
        const V p = v_load(x + i), q = v_load(x + i + h);
        v_store(x + i, v_add(p, q));
        v_store(x + i + h, v_sub(p, q));
      }
    }
  }
}

static void quant_e2m1(uint16_t* x, int64_t n) {
  for (int64_t b = 0; b < n; b += 32) {
    V most = v_zero();
    for (int64_t i = b; i < b + 32; i += kLanes) most = v_max(most, v_abs(v_load16(x + i)));
    int e = block_exponent(v_maximum(most), 6.0f * 0x1p-126f, 1.0f / 6.0f);
    if (e < -126) e = -126;
    const V inverse = v_set(exponent_value(-e)), scale = v_set(exponent_value(e)), limit = v_set(6.0f);
    for (int64_t i = b; i < b + 32; i += kLanes) {
      V v = v_max(v_min(v_mul(v_load16(x + i), inverse), limit), v_sub(v_zero(), limit));
      v_store16(x + i, v_mul(round_to_grid(v, 1.0f, 0x1p22f), scale));
    }
  }
}

static inline V swiglu_lanes(V g, V u, float weight, float limit) {
  g = v_round16(g);
  u = v_round16(u);
  if (limit > 0.0f) {
    g = v_min(g, v_set(limit));
    u = v_max(v_min(u, v_set(limit)), v_set(-limit));
  }
  const V silu = v_div(g, v_add(v_set(1.0f), v_exp(v_sub(v_zero(), g))));
  return v_mul(v_mul(silu, u), v_set(weight));
}

static void swiglu(uint16_t* h, const float* g, const float* u, float weight, float limit, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    v_store16(h + i, swiglu_lanes(v_load(g + i), v_load(u + i), weight, limit));
  }
  if (i < n) {
    store16_n(h + i, swiglu_lanes(v_load_n(g + i, n - i), v_load_n(u + i, n - i), weight, limit), n - i);
  }
}

// --------------------------------------------------------------------------------------------------------- attention

static void unpack_kv(float* out, const uint8_t* row, int64_t nope, int64_t rope_dims) {
  const uint8_t* codes = row + 2 * rope_dims;
  const uint8_t* scales = codes + nope;
  for (int64_t b = 0; b < nope; b += 64) {
    const V scale = v_set(e8m0(scales[b / 64]));
    for (int64_t i = b; i < b + 64; i += kLanes) {
      v_store(out + i, v_mul(v_mul(v_e4m3(codes + i), v_set(kE4M3Value)), scale));
    }
  }
  int64_t i = 0;
  const uint16_t* tail = reinterpret_cast<const uint16_t*>(row);
  for (; i + kLanes <= rope_dims; i += kLanes) v_store(out + nope + i, v_load16(tail + i));
  for (; i < rope_dims; ++i) out[nope + i] = f32_of(tail[i]);
}

static void unpack_index(float* out, const uint8_t* row, int64_t dim) {
  for (int64_t b = 0; b < dim; b += 32) {
    const V scale = v_set(e8m0(row[dim / 2 + b / 32]));
    V v[32 / kLanes];
    v_fp4(v, row + b / 2);
    for (int k = 0; k < 32 / kLanes; ++k) v_store(out + b + k * kLanes, v_mul(v_mul(v[k], v_set(kFP4Value)), scale));
  }
}

template <int H, int K>
static inline void score_block(float* scores, int64_t stride, const float* q, const float* keys, int64_t dim,
                               float scale) {
  V sum[H][K];
  for (int h = 0; h < H; ++h)
    for (int k = 0; k < K; ++k) sum[h][k] = v_zero();
  for (int64_t c = 0; c < dim; c += kLanes) {
    V key[K];
    for (int k = 0; k < K; ++k) key[k] = v_load(keys + k * dim + c);
    for (int h = 0; h < H; ++h) {
      const V a = v_load(q + h * dim + c);
      for (int k = 0; k < K; ++k) sum[h][k] = v_fma(a, key[k], sum[h][k]);
    }
  }
  for (int h = 0; h < H; ++h)
    for (int k = 0; k < K; ++k) scores[h * stride + k] = v_sum(sum[h][k]) * scale;
}

template <int H>
static inline void score_heads(float* scores, int64_t stride, const float* q, const float* keys, int64_t count,
                               int64_t dim, float scale) {
  constexpr int kKeys = kLanes == 16 ? 4 : 2;
  int64_t j = 0;
  for (; j + kKeys <= count; j += kKeys) score_block<H, kKeys>(scores + j, stride, q, keys + j * dim, dim, scale);
  for (; j < count; ++j) score_block<H, 1>(scores + j, stride, q, keys + j * dim, dim, scale);
}

static void attend_scores(float* scores, int64_t stride, const float* q, int64_t heads, const float* keys,
                          int64_t count, int64_t dim, float scale) {
  int64_t h = 0;
  for (; h + 4 <= heads; h += 4) score_heads<4>(scores + h * stride, stride, q + h * dim, keys, count, dim, scale);
  for (; h < heads; ++h) score_heads<1>(scores + h * stride, stride, q + h * dim, keys, count, dim, scale);
}

static float softmax_tile(float* s, int64_t count, float* max, float* sum) {
  V most = v_set(*max);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) most = v_max(most, v_load(s + i));
  float top = v_maximum(most);
  for (; i < count; ++i) top = s[i] > top ? s[i] : top;
  const V shift = v_set(top);
  V total = v_zero();
  for (i = 0; i + kLanes <= count; i += kLanes) {
    const V p = v_exp(v_sub(v_load(s + i), shift));
    v_store(s + i, p);
    total = v_add(total, p);
  }
  float rest = 0.0f;
  if (i < count) {
    float p[kLanes];
    v_store(p, v_exp(v_sub(v_load_n(s + i, count - i), shift)));
    for (int64_t k = 0; k < count - i; ++k) {
      s[i + k] = p[k];
      rest += p[k];
    }
  }
  float factor[kLanes];
  v_store(factor, *max == top ? v_set(1.0f) : v_exp(v_set(*max - top)));
  *sum = *sum * factor[0] + v_sum(total) + rest;
  *max = top;
  return factor[0];
}

template <int H, int C>
static inline void weigh_block(float* o, const float* factor, const float* p, int64_t stride, const float* values,
                               int64_t count, int64_t dim) {
  V sum[H][C];
  for (int h = 0; h < H; ++h) {
    const V f = v_set(factor[h]);
    for (int c = 0; c < C; ++c) sum[h][c] = v_mul(v_load(o + h * dim + c * kLanes), f);
  }
  for (int64_t j = 0; j < count; ++j) {
    V v[C];
    for (int c = 0; c < C; ++c) v[c] = v_load(values + j * dim + c * kLanes);
    for (int h = 0; h < H; ++h) {
      const V a = v_set(p[h * stride + j]);
      for (int c = 0; c < C; ++c) sum[h][c] = v_fma(a, v[c], sum[h][c]);
    }
  }
  for (int h = 0; h < H; ++h)
    for (int c = 0; c < C; ++c) v_store(o + h * dim + c * kLanes, sum[h][c]);
}

template <int H>
static inline void weigh_heads(float* o, const float* factor, const float* p, int64_t stride, const float* values,
                               int64_t count, int64_t dim) {
  constexpr int kChunk = kLanes == 16 ? 4 : 2;
  int64_t c = 0;
  for (; c + kChunk * kLanes <= dim; c += kChunk * kLanes) {
    weigh_block<H, kChunk>(o + c, factor, p, stride, values + c, count, dim);
  }
  for (; c < dim; c += kLanes) weigh_block<H, 1>(o + c, factor, p, stride, values + c, count, dim);
}

static void weigh(float* o, const float* factor, const float* p, int64_t stride, int64_t heads, const float* values,
                  int64_t count, int64_t dim) {
  int64_t h = 0;
  for (; h + 4 <= heads; h += 4) weigh_heads<4>(o + h * dim, factor + h, p + h * stride, stride, values, count, dim);
  for (; h < heads; ++h) weigh_heads<1>(o + h * dim, factor + h, p + h * stride, stride, values, count, dim);
}

template <int K, int H>
static inline void index_block(V (&total)[K], const float* q, const float* w, int64_t heads, const float* keys,
                               int64_t dim) {
  V sum[K][H];
  for (int k = 0; k < K; ++k)
    for (int h = 0; h < H; ++h) sum[k][h] = v_zero();
  for (int64_t d = 0; d < dim; ++d) {
    V a[H];
    for (int h = 0; h < H; ++h) a[h] = v_load(q + d * heads + h * kLanes);
    for (int k = 0; k < K; ++k) {
      const V b = v_set(keys[k * dim + d]);
      for (int h = 0; h < H; ++h) sum[k][h] = v_fma(a[h], b, sum[k][h]);
    }
  }
  for (int k = 0; k < K; ++k) {
    for (int h = 0; h < H; ++h) {
      total[k] = v_fma(v_max(sum[k][h], v_zero()), v_load(w + h * kLanes), total[k]);
    }
  }
}

template <int K>
static inline void index_keys(float* out, const float* q, const float* w, int64_t heads, const float* keys,
                              int64_t dim) {
  constexpr int kHeads = kLanes == 16 ? 4 : 2;
  V total[K];
  for (int k = 0; k < K; ++k) total[k] = v_zero();
  int64_t h = 0;
  for (; h + kHeads * kLanes <= heads; h += kHeads * kLanes) {
    index_block<K, kHeads>(total, q + h, w + h, heads, keys, dim);
  }
  for (; h < heads; h += kLanes) index_block<K, 1>(total, q + h, w + h, heads, keys, dim);
  for (int k = 0; k < K; ++k) out[k] = v_sum(total[k]);
}

static void index_scores(float* out, const float* q, const float* w, int64_t heads, const float* keys, int64_t count,
                         int64_t dim) {
  int64_t j = 0;
  for (; j + 4 <= count; j += 4) index_keys<4>(out + j, q, w, heads, keys + j * dim, dim);
  for (; j < count; ++j) index_keys<1>(out + j, q, w, heads, keys + j * dim, dim);
}

static void pool(float* out, const float* const* k, const float* const* z, const float* const* ape, int64_t count,
                 int64_t n) {
  for (int64_t c = 0; c < n; c += kLanes) {
    const int64_t part = n - c < kLanes ? n - c : kLanes;
    const auto load = [&](const float* p) { return part == kLanes ? v_load(p + c) : v_load_n(p + c, part); };
    V most = v_add(load(z[0]), load(ape[0]));
    for (int64_t i = 1; i < count; ++i) most = v_max(most, v_add(load(z[i]), load(ape[i])));
    V sum = v_zero(), weights = v_zero();
    for (int64_t i = 0; i < count; ++i) {
      const V p = v_exp(v_sub(v_add(load(z[i]), load(ape[i])), most));
      weights = v_add(weights, p);
      sum = v_fma(p, load(k[i]), sum);
    }
    const V y = v_div(sum, weights);
    if (part == kLanes) {
      v_store(out + c, y);
    } else {
      v_store_n(out + c, y, part);
    }
  }
}

static Kernels vec_kernels(const char* isa) {
  Kernels t = {};
  t.isa = isa;
  t.x_bytes = 4;
  t.bf16_tiles = false;
  t.pack = pack_rows<false>;
  t.direct[kFormatE4M3] = direct<E4M3Rows>;
  t.direct[kFormatFP4] = direct<Fp4Rows>;
  t.direct[kFormatBF16] = direct<Bf16Rows>;
  t.direct[kFormatF32] = direct<F32Rows>;
  t.widen[kFormatE4M3] = widen_e4m3;
  t.widen[kFormatFP4] = widen_fp4;
  t.widen[kFormatBF16] = widen_bf16;
  t.widen[kFormatF32] = widen_f32;
  t.dot_bf16 = nullptr;
  t.dot_f32 = dot_f32;
  t.store_bf16 = store_bf16;
  t.sum_squares = sum_squares;
  t.scale_row = scale_row;
  t.hc_mix = hc_mix;
  t.hc_spread = hc_spread;
  t.add_rows = add_rows;
  t.rope = rope;
  t.hadamard = hadamard;
  t.quant_e2m1 = quant_e2m1;
  t.swiglu = swiglu;
  t.sum_bf16 = sum_bf16;
  t.widen_row = widen_row;
  t.unpack_kv = unpack_kv;
  t.unpack_index = unpack_index;
  t.scores = attend_scores;
  t.softmax_tile = softmax_tile;
  t.weigh = weigh;
  t.index_scores = index_scores;
  t.pool = pool;
  return t;
}
