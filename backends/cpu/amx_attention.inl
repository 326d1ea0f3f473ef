// Part of kernels_amx.cc: attention by products of tiles, over queries and keys in BF16.
//   scores  C[16 keys][16 heads] = A[16 keys][32 elements] · B[16 pairs of elements][16 heads][2]
//   output  C[16 heads][16 elements] += A[16 heads][32 keys] · B[16 pairs of keys][16 elements][2]
// Queries are turned over into B once for all their keys. A tile of keys lies twice: row by row, and in pairs of rows.
// Weights of the softmax are FP32: each is split into three BF16 whose sum it is, so that no bit of it is lost.

void unpack_queries_tiles(void* to, const uint16_t* x, int64_t heads, int64_t n, int64_t wide) {
  uint8_t* out = static_cast<uint8_t*>(to);
  for (int64_t first = 0; first < heads; first += 16) {
    for (int64_t c = 0; c < wide; c += 32, out += kTile) {
      __m512i v[16];
      for (int64_t h = 0; h < 16; ++h) {
        v[h] = first + h < heads ? load_part(x + (first + h) * n + c, 2 * (n - c)) : _mm512_setzero_si512();
      }
      store_turned(out, v);
    }
  }
}

// Bytes after which a tile of keys has its pairs of rows.
constexpr int64_t pairs_at(int64_t wide) { return kKeyTile * wide * 2; }

void unpack_keys_tiles(void* to, const uint8_t* const* rows, int64_t count, int64_t nope, int64_t rope, int64_t wide) {
  avx512_bf16_kernels().unpack_keys(to, rows, count, nope, rope, wide);
  uint16_t* plain = static_cast<uint16_t*>(to);
  const int64_t padded = (count + 31) / 32 * 32;
  for (int64_t i = count * wide; i < padded * wide; i += 32) _mm512_storeu_si512(plain + i, _mm512_setzero_si512());
  const __m512i first = load(kInterleave.lane), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
  for (int64_t j = 0; j < padded; j += 2) {
    uint8_t* out = static_cast<uint8_t*>(to) + pairs_at(wide) + j / 32 * (wide / 16) * kTile + j % 32 / 2 * 64;
    for (int64_t c = 0; c < wide; c += 32, out += 2 * kTile) {
      const __m512i a = load(plain + j * wide + c), b = load(plain + (j + 1) * wide + c);
      _mm512_storeu_si512(out, _mm512_permutex2var_epi16(a, first, b));
      _mm512_storeu_si512(out + kTile, _mm512_permutex2var_epi16(a, second, b));
    }
  }
}

// Thirty-two keys with one block of heads, or two.
template <int kBlocks>
void score_tile(float* scores, int64_t stride, const uint8_t* q, const uint8_t* keys, int64_t wide, float scale) {
  alignas(64) float sums[kBlocks * 512];
  multiply_rows<kBlocks>(keys, q, wide);
  store_sums<kBlocks>(sums);
  settle();
  for (int b = 0; b < kBlocks; ++b) {
    for (int r = 0; r < 2; ++r) {
      __m512i v[16];
      load_turned(v, sums + 512 * b + 256 * r);
      float* to = scores + 16 * b * stride + 16 * r;
      for (int h = 0; h < 16; ++h) {
        _mm512_storeu_ps(to + h * stride, _mm512_mul_ps(_mm512_castsi512_ps(v[h]), _mm512_set1_ps(scale)));
      }
    }
  }
}

void scores_tiles(float* scores, int64_t stride, const void* queries, int64_t heads, const void* keys, int64_t count,
                  int64_t wide, float scale) {
  const Tiles tiles;
  const uint8_t* rows = static_cast<const uint8_t*>(keys);
  for (int64_t h = 0; h < heads; h += 32) {
    const uint8_t* q = static_cast<const uint8_t*>(queries) + h * wide * 2;
    for (int64_t j = 0; j < count; j += 32) {
      float* to = scores + h * stride + j;
      if (heads - h > 16) {
        score_tile<2>(to, stride, q, rows + j * wide * 2, wide, scale);
      } else {
        score_tile<1>(to, stride, q, rows + j * wide * 2, wide, scale);
      }
    }
  }
}

// The weights of up to 32 heads: [32 keys of each][part][head].
struct WeightParts {
  alignas(64) uint16_t of[kKeyTile / 32][3][32][32];

  WeightParts(const float* p, int64_t stride, int64_t heads, int64_t count) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000)), halves = every_second(1);
    for (int64_t s = 0; 32 * s < count; ++s) {
      for (int64_t h = 0; h < 32; ++h) {
        __m512 left[2];
        for (int64_t half = 0; half < 2; ++half) {
          const int64_t at = 32 * s + 16 * half;
          left[half] = _mm512_maskz_loadu_ps(first_lanes(h < heads ? count - at : 0), p + h * stride + at);
        }
        for (auto& part : of[s]) {
          const __m512i a = _mm512_and_si512(_mm512_castps_si512(left[0]), upper);
          const __m512i b = _mm512_and_si512(_mm512_castps_si512(left[1]), upper);
          _mm512_store_si512(part[h], _mm512_permutex2var_epi16(a, halves, b));
          left[0] = _mm512_sub_ps(left[0], _mm512_castsi512_ps(a));
          left[1] = _mm512_sub_ps(left[1], _mm512_castsi512_ps(b));
        }
      }
    }
  }
};

// A square of the output, 32 heads by 32 elements, from memory into the tiles that multiply_step sums up, and back.
inline void load_square(const float* o, int64_t wide) {
  _tile_loadd(0, o, wide * 4);
  _tile_loadd(1, o + 16 * wide, wide * 4);
  _tile_loadd(2, o + 16, wide * 4);
  _tile_loadd(3, o + 16 * wide + 16, wide * 4);
}
inline void store_square(float* o, int64_t wide) {
  _tile_stored(0, o, wide * 4);
  _tile_stored(1, o + 16 * wide, wide * 4);
  _tile_stored(2, o + 16, wide * 4);
  _tile_stored(3, o + 16 * wide + 16, wide * 4);
}

void weigh_tiles(float* o, const float* factor, const float* p, int64_t stride, int64_t heads, const void* keys,
                 int64_t count, int64_t wide) {
  const uint8_t* pairs = static_cast<const uint8_t*>(keys) + pairs_at(wide);
  for (int64_t h = 0; h < heads; ++h) {
    if (factor[h] == 1.0f) continue;
    float* row = o + h * wide;
    for (int64_t c = 0; c < wide; c += 16) {
      _mm512_storeu_ps(row + c, _mm512_mul_ps(_mm512_loadu_ps(row + c), _mm512_set1_ps(factor[h])));
    }
  }
  const Tiles tiles;
  for (int64_t h = 0; h < heads; h += 32) {
    const WeightParts parts(p + h * stride, stride, heads - h, count);
    for (int64_t c = 0; c < wide; c += 32) {
      settle();
      load_square(o + h * wide + c, wide);
      for (int64_t s = 0; 32 * s < count; ++s) {
        const uint8_t* b = pairs + (s * wide + c) / 16 * kTile;
        for (const auto& part : parts.of[s]) {
          multiply_step<2>(reinterpret_cast<const uint8_t*>(part), 64, b, b + kTile);
        }
      }
      store_square(o + h * wide + c, wide);
      settle();
    }
  }
}
