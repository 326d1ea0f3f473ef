// Part of kernels_avx512bf16.cc: attention over keys in BF16, in which E4M3 times its scale and the rotated part are exact.
// Half the room of FP32, so that a tile of keys stays in the first cache; scores take BF16 products, whose sums are
// FP32; values become FP32 in weigh<uint16_t>.

void unpack_key_bf16(uint16_t* out, const E4M3Table& table, const uint8_t* row, int64_t nope, int64_t rope,
                     int64_t wide) {
  const uint8_t* codes = row + 2 * rope;
  const __m512i first = load(kInterleave.lane), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
  for (int64_t b = 0; b < nope; b += 64) {
    __m512i even, odd;
    table.widen(load(codes + b), even, odd);
    const uint8_t e = codes[nope + b / 64];
    if (foldable(e)) {
      const __m512i shift = _mm512_set1_epi16(static_cast<short>((e - 127) * 128));
      even = shift_exponent(even, shift), odd = shift_exponent(odd, shift);
      _mm512_storeu_si512(out + b, _mm512_permutex2var_epi16(even, first, odd));
      _mm512_storeu_si512(out + b + 32, _mm512_permutex2var_epi16(even, second, odd));
    } else {
      float plain[64];
      for (int64_t i = 0; i < 64; i += kLanes) {
        V v[kCodes];
        v_e4m3(v, codes + b + i);
        v_store(plain + i, v_mul(v_mul(v[0], v_set(kE4M3Value)), v_set(e8m0(e))));
      }
      for (int64_t i = 0; i < 64; i += kLanes) v_store16(out + b + i, v_load(plain + i));
    }
  }
  __builtin_memcpy(out + nope, row, static_cast<size_t>(rope) * 2);
  for (int64_t i = nope + rope; i < wide; ++i) out[i] = 0;
}

void unpack_keys_bf16(void* to, const uint8_t* const* rows, int64_t count, int64_t nope, int64_t rope, int64_t wide) {
  const E4M3Table table;
  for (int64_t i = 0; i < count; ++i) {
    unpack_key_bf16(static_cast<uint16_t*>(to) + i * wide, table, rows[i], nope, rope, wide);
  }
}

void unpack_queries_bf16(void* to, const uint16_t* x, int64_t heads, int64_t n, int64_t wide) {
  uint16_t* out = static_cast<uint16_t*>(to);
  for (int64_t h = 0; h < heads; ++h, out += wide, x += n) {
    __builtin_memcpy(out, x, static_cast<size_t>(n) * 2);
    for (int64_t i = n; i < wide; ++i) out[i] = 0;
  }
}

// Four heads with four keys.
inline void score_square(float* scores, int64_t stride, const uint16_t* q, const uint16_t* keys, int64_t wide,
                         float scale) {
  V s[4][4];  // [head][key]
  for (auto& head : s)
    for (V& v : head) v = v_zero();
  for (int64_t c = 0; c < wide; c += 32) {
    __m512i key[4];
    for (int k = 0; k < 4; ++k) key[k] = load(keys + k * wide + c);
    for (int h = 0; h < 4; ++h) {
      const __m512i a = load(q + h * wide + c);
      for (int k = 0; k < 4; ++k) s[h][k] = dp(s[h][k], a, key[k]);
    }
  }
  const V sums = sum_sixteen({s[0][0], s[0][1], s[0][2], s[0][3], s[1][0], s[1][1], s[1][2], s[1][3],  //
                              s[2][0], s[2][1], s[2][2], s[2][3], s[3][0], s[3][1], s[3][2], s[3][3]});
  const V scaled = v_mul(sums, v_set(scale));
  _mm_storeu_ps(scores, _mm512_castps512_ps128(scaled));
  _mm_storeu_ps(scores + stride, _mm512_extractf32x4_ps(scaled, 1));
  _mm_storeu_ps(scores + 2 * stride, _mm512_extractf32x4_ps(scaled, 2));
  _mm_storeu_ps(scores + 3 * stride, _mm512_extractf32x4_ps(scaled, 3));
}

inline float score_one(const uint16_t* q, const uint16_t* key, int64_t wide) {
  V s = v_zero();
  for (int64_t c = 0; c < wide; c += 32) s = dp(s, load(q + c), load(key + c));
  return v_sum(s);
}

void scores_bf16(float* scores, int64_t stride, const void* queries, int64_t heads, const void* key_rows, int64_t count,
                 int64_t wide, float scale) {
  const uint16_t* q = static_cast<const uint16_t*>(queries);
  const uint16_t* keys = static_cast<const uint16_t*>(key_rows);
  const int64_t squares = count / 4 * 4, quads = heads / 4 * 4;
  for (int64_t h = 0; h < quads; h += 4) {
    for (int64_t j = 0; j < squares; j += 4) {
      score_square(scores + h * stride + j, stride, q + h * wide, keys + j * wide, wide, scale);
    }
  }
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t j = h < quads ? squares : 0; j < count; ++j) {
      scores[h * stride + j] = score_one(q + h * wide, keys + j * wide, wide) * scale;
    }
  }
}
