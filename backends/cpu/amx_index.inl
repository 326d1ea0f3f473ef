// Part of kernels_amx.cc: the indexer by products of tiles, over queries and keys in BF16.
//   C[16 keys][16 heads] = A[16 keys][32 columns] · B[16 pairs of columns][16 heads][2]
// E2M1 values with their scales are exact in BF16. Their products have four bits, so that FP32 sums of 128 of them are
// exact as well, in any order, where scales are within 2^9 of each other. Of 64 columns the even ones come first and
// then the odd ones, as nibbles fall apart.

constexpr int64_t kIndexCols = 128;  // columns whose scales are read at once

static_assert(kIndexTile == kTall);

// No subnormal values, which count as zero here, and none at FP32's ends, where products could be lost.
inline bool tame(__m512i x) {
  const __m512i exponent = _mm512_and_si512(_mm512_srli_epi16(x, 7), _mm512_set1_epi16(0xff));
  const __mmask32 zero = _mm512_testn_epi16_mask(x, _mm512_set1_epi16(0x7fff));
  const __mmask32 low = _mm512_cmplt_epu16_mask(exponent, _mm512_set1_epi16(60));
  return ((low & ~zero) | _mm512_cmpgt_epu16_mask(exponent, _mm512_set1_epi16(190))) == 0;
}

// q [heads][dim] to B [16 heads][32 columns]; heads beyond are zeros.
bool pack_index_query_tiles(void* out, const uint16_t* q, int64_t heads, int64_t wide, int64_t dim) {
  if (dim % kIndexCols != 0) return false;
  uint8_t* to = static_cast<uint8_t*>(out);
  for (int64_t first = 0; first < wide; first += 16) {
    for (int64_t c = 0; c < dim; c += 64) {
      for (int odd = 0; odd < 2; ++odd, to += kTile) {
        const __m512i order = every_second(odd);
        __m512i v[16];
        for (int64_t h = 0; h < 16; ++h) {
          const uint16_t* x = q + (first + h) * dim + c;
          v[h] = first + h < heads ? _mm512_permutex2var_epi16(load(x), order, load(x + 32)) : _mm512_setzero_si512();
          if (!tame(v[h])) return false;
        }
        store_turned(to, v);
      }
    }
  }
  return true;
}

// The score of a key by its values, in FP32.
float index_score(const uint8_t* q, const float* w, int64_t wide, const float* key, int64_t dim) {
  float score = 0.0f;
  for (int64_t h = 0; h < wide; ++h) {
    float sum = 0.0f;
    for (int64_t c = 0; c < dim; ++c) {
      const int64_t step = c / 64 * 2 + c % 2, at = c % 64 / 2;  // where B has the column
      uint16_t half;
      __builtin_memcpy(&half, q + (h / 16 * (dim / 32) + step) * kTile + at / 2 * 64 + h % 16 * 4 + at % 2 * 2, 2);
      const uint32_t word = static_cast<uint32_t>(half) << 16;
      float x;
      __builtin_memcpy(&x, &word, 4);
      sum += x * key[c];
    }
    score += sum > 0.0f ? sum * w[h] : 0.0f;
  }
  return score;
}

// What is still to be done with the sums of a tile of keys with up to 32 heads: weighted, they go to the lanes of their keys' totals.
struct IndexSums {
  const float* sums = nullptr;
  int64_t blocks = 0;
  const float* w = nullptr;
  float* totals = nullptr;

  void add() const {
    for (int64_t b = 0; b < blocks; ++b) {
      const __m512 weight = _mm512_loadu_ps(w + 16 * b);
      for (int64_t k = 0; k < kIndexTile; ++k) {
        const __m512 relu = _mm512_max_ps(_mm512_load_ps(sums + 512 * b + 16 * k), _mm512_setzero_ps());
        float* total = totals + 16 * k;
        _mm512_store_ps(total, _mm512_fmadd_ps(relu, weight, _mm512_load_ps(total)));
      }
    }
  }
};

// Up to kIndexTile keys; returns a bit for each whose scales cannot be folded into its values: these are then of no use.
uint32_t widen_index_keys(uint8_t* keys, const uint8_t* rows, int64_t stride, int64_t count, int64_t dim) {
  const Fp4Bytes table;
  bool fine = true;
  for (int64_t c = 0; c < dim; c += kIndexCols) {
    uint32_t scales[kIndexTile];
    for (int64_t j = 0; j < count; ++j) {
      const uint8_t* row = rows + j * stride;
      uint16_t* to = reinterpret_cast<uint16_t*>(keys) + j * dim + c;
      __builtin_memcpy(scales + j, row + dim / 2 + c / 32, 4);
      const __m512i lack = table.lacks(scales[j]);
      for (int k = 0; k < 2; ++k) {
        const uint8_t* codes = row + c / 2 + 32 * k;
        table.widen(to + 64 * k, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)), lack, k);
      }
    }
    fine &= scales_foldable(reinterpret_cast<const uint8_t*>(scales), 4 * count);
  }
  uint32_t rough = 0;
  for (int64_t j = 0; !fine && j < count; ++j) {
    if (!scales_foldable(rows + j * stride + dim / 2, dim / 32)) rough |= 1u << j;
  }
  return rough;
}

// The scores of a tile, out of its totals, which are zeros afterwards.
void finish_index(float* out, int64_t count, float* totals) {
  for (int64_t k = 0; k < count; k += 16) {
    __m512i v[16];
    load_turned(v, totals + 16 * k);
    __m512 sum = _mm512_castsi512_ps(v[0]);
    for (int i = 1; i < 16; ++i) sum = _mm512_add_ps(sum, _mm512_castsi512_ps(v[i]));
    _mm512_mask_storeu_ps(out + k, first_lanes(count - k), sum);
  }
  for (int64_t i = 0; i < 16 * kIndexTile; i += 16) _mm512_store_ps(totals + i, _mm512_setzero_ps());
}

// While the tiles of one step multiply, what the step before has left is added up, keys are widened or scores finished.
// Keys are widened a step before they are multiplied where there are several: a tile cannot be loaded of what was just
// stored.
void index_scores_tiles(float* out, const void* query, const float* w, int64_t wide, const uint8_t* rows,
                        int64_t stride, int64_t count, int64_t dim, void* scratch) {
  if (count == 0) return;
  const uint8_t* q = static_cast<const uint8_t*>(query);
  const int64_t steps = (wide + 31) / 32, tiles = (count + kIndexTile - 1) / kIndexTile;
  alignas(64) float sums[2][1024], totals[2][16 * kIndexTile] = {};
  uint32_t rough[3] = {};  // the next tile's is there before the last one's has been used
  float* plain = static_cast<float*>(scratch) + kIndexTile * dim;
  const auto keys = [&](int64_t t) { return static_cast<uint8_t*>(scratch) + t % 2 * (kIndexTile * dim * 2); };
  const auto keys_of = [&](int64_t t) { return least_of(kIndexTile, count - t * kIndexTile); };
  const auto widen = [&](int64_t t) {
    rough[t % 3] = widen_index_keys(keys(t), rows + t * kIndexTile * stride, stride, keys_of(t), dim);
  };
  const auto finish = [&](int64_t t) {
    finish_index(out + t * kIndexTile, keys_of(t), totals[t % 2]);
    int64_t j = t * kIndexTile;
    for (uint32_t left = rough[t % 3]; left != 0; ++j, left >>= 1) {
      if ((left & 1u) == 0) continue;
      avx512_bf16_kernels().unpack_index(plain, rows + j * stride, dim);
      out[j] = index_score(q, w, wide, plain, dim);
    }
  };
  widen(0);
  const Tiles registers;
  IndexSums before;
  for (int64_t t = 0; t < tiles; ++t) {
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t blocks = wide - 32 * step > 16 ? 2 : 1;
      float* to = sums[(t * steps + step) % 2];
      if (blocks == 2) multiply_rows<2>(keys(t), q + 64 * dim * step, dim);
      if (blocks == 1) multiply_rows<1>(keys(t), q + 64 * dim * step, dim);
      before.add();
      if (step == 0 && t + 1 < tiles) widen(t + 1);
      if (step == steps - 1 && t > 0) finish(t - 1);
      before = {to, blocks, w + 32 * step, totals[t % 2]};
      if (blocks == 2) store_sums<2>(to);
      if (blocks == 1) store_sums<1>(to);
      settle();
    }
  }
  before.add();
  finish(tiles - 1);
}
