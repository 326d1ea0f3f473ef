// Attention, indexer and compressor over unpacked rows. Part of vec_kernels.inl.

// --------------------------------------------------------------------------------------------------------- attention

static void unpack_key(float* out, const uint8_t* row, int64_t nope, int64_t rope_dims, int64_t wide) {
  const uint8_t* codes = row + 2 * rope_dims;
  const uint8_t* scales = codes + nope;
  for (int64_t b = 0; b < nope; b += 64) {
    const V scale = v_set(e8m0(scales[b / 64]));
    for (int64_t i = b; i < b + 64; i += kCodes * kLanes) {
      V v[kCodes];
      v_e4m3(v, codes + i);
      for (int k = 0; k < kCodes; ++k) v_store(out + i + k * kLanes, v_mul(v_mul(v[k], v_set(kE4M3Value)), scale));
    }
  }
  int64_t i = 0;
  const uint16_t* tail = reinterpret_cast<const uint16_t*>(row);
  for (; i + kLanes <= rope_dims; i += kLanes) v_store(out + nope + i, v_load16(tail + i));
  for (; i < rope_dims; ++i) out[nope + i] = f32_of(tail[i]);
  for (i += nope; i < wide; ++i) out[i] = 0.0f;
}

static void unpack_keys(void* to, const uint8_t* const* rows, int64_t count, int64_t nope, int64_t rope_dims,
                        int64_t wide) {
  for (int64_t i = 0; i < count; ++i) unpack_key(static_cast<float*>(to) + i * wide, rows[i], nope, rope_dims, wide);
}

static void unpack_queries(void* to, const uint16_t* x, int64_t heads, int64_t n, int64_t wide) {
  float* out = static_cast<float*>(to);
  for (int64_t h = 0; h < heads; ++h, out += wide, x += n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) v_store(out + i, v_load16(x + i));
    for (; i < n; ++i) out[i] = f32_of(x[i]);
    for (; i < wide; ++i) out[i] = 0.0f;
  }
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
  constexpr int kKeys = kRegisters == 32 ? 4 : 2;
  int64_t j = 0;
  for (; j + kKeys <= count; j += kKeys) score_block<H, kKeys>(scores + j, stride, q, keys + j * dim, dim, scale);
  for (; j < count; ++j) score_block<H, 1>(scores + j, stride, q, keys + j * dim, dim, scale);
}

static void attend_scores(float* scores, int64_t stride, const void* queries, int64_t heads, const void* key_rows,
                          int64_t count, int64_t dim, float scale) {
  const float* q = static_cast<const float*>(queries);
  const float* keys = static_cast<const float*>(key_rows);
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

// Values are FP32, or BF16 that becomes FP32 here.
static inline V v_value(const float* p) { return v_load(p); }
static inline V v_value(const uint16_t* p) { return v_load16(p); }

template <int H, int C, class Value>
static inline void weigh_block(float* o, const float* factor, const float* p, int64_t stride, const Value* values,
                               int64_t count, int64_t dim) {
  V sum[H][C];
  for (int h = 0; h < H; ++h) {
    const V f = v_set(factor[h]);
    for (int c = 0; c < C; ++c) sum[h][c] = v_mul(v_load(o + h * dim + c * kLanes), f);
  }
  for (int64_t j = 0; j < count; ++j) {
    V v[C];
    for (int c = 0; c < C; ++c) v[c] = v_value(values + j * dim + c * kLanes);
    for (int h = 0; h < H; ++h) {
      const V a = v_set(p[h * stride + j]);
      for (int c = 0; c < C; ++c) sum[h][c] = v_fma(a, v[c], sum[h][c]);
    }
  }
  for (int h = 0; h < H; ++h)
    for (int c = 0; c < C; ++c) v_store(o + h * dim + c * kLanes, sum[h][c]);
}

template <int H, class Value>
static inline void weigh_heads(float* o, const float* factor, const float* p, int64_t stride, const Value* values,
                               int64_t count, int64_t dim) {
  constexpr int kChunk = kRegisters == 32 ? 4 : 2;
  int64_t c = 0;
  for (; c + kChunk * kLanes <= dim; c += kChunk * kLanes) {
    weigh_block<H, kChunk>(o + c, factor, p, stride, values + c, count, dim);
  }
  for (; c < dim; c += kLanes) weigh_block<H, 1>(o + c, factor, p, stride, values + c, count, dim);
}

template <class Value>
static void weigh(float* o, const float* factor, const float* p, int64_t stride, int64_t heads, const void* rows,
                  int64_t count, int64_t dim) {
  const Value* values = static_cast<const Value*>(rows);
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
  constexpr int kHeads = kRegisters == 32 ? 4 : 2;
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
