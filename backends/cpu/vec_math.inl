// Numbers, rounding and exp over the vector type of vec_kernels.inl, which includes this file.

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
