// Kernels over rows of BF16: norms, hyper-connections, rotation, Hadamard, SwiGLU. Part of vec_kernels.inl.

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
