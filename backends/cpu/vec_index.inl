// The indexer in integers; after vec_kernels.inl, for instruction sets with products of bytes.
//   score[j] = Σ_h w_h · relu(Σ_b qs[h][b] · ks[j][b] · Σ_{c in b} q[h][c] · k[j][c])     b: blocks of 32 columns
// E2M1 values are halves up to 6. Doubled they are integers up to 12, so that a block's products sum exactly in any
// order, in 16 bits. Heads are lanes; four codes of a key at a time are broadcast to all of them. The instructions want
// one side unsigned: a key's bytes are 2k + 12, and what is too much, 12 · Σ 2q, is where the sums begin.
// Both sides have the even columns of all blocks first and then the odd ones, as nibbles fall apart.
// Over VI (4 * kLanes bytes) and VS (the sums of kLanes heads): vi_load, vi_broadcast (of four bytes), vi_dot (a lane's
// four products of an unsigned and a signed byte are added), vi_float (a lane's sum), vi_begin (the four bytes in which its
// lower two and its upper two products begin), vi_sums (of kLanes of these), vi_nibbles (the low and the high nibbles of 16
// bytes, looked up).

constexpr int64_t kCodeBlock = 32;                                     // columns that share a scale
constexpr int64_t kHeadsBlock = kCodeBlock * kLanes + 2 * 4 * kLanes;  // bytes: codes, beginnings, scales

// One block of one head: twice its values as integers, and the scale of these. False: not E2M1 values with a common
// scale, or at FP32's ends, where products of scales could be lost.
static inline bool index_codes(int8_t* codes, float* scale, const uint16_t* q) {
  uint32_t most = 0;
  for (int i = 0; i < kCodeBlock; ++i) most = (q[i] & 0x7fffu) > most ? q[i] & 0x7fffu : most;
  const uint32_t exponent = most >> 7;  // of 4 or 6 times the scale
  const bool zero = most == 0;
  if (!zero && (exponent < 64 || exponent > 190)) return false;
  const uint32_t up = zero ? 0 : (257 - exponent) << 23, down = zero ? 0 : (exponent - 2) << 23;
  float inverse;
  __builtin_memcpy(&inverse, &up, 4);
  __builtin_memcpy(scale, &down, 4);
  bool exact = true;
  for (int i = 0; i < kCodeBlock; ++i) {
    const float value = f32_of(q[i]) * inverse;
    const int code = static_cast<int>(value);
    exact &= static_cast<float>(code) == value && code >= -12 && code <= 12;
    codes[i] = static_cast<int8_t>(code);
  }
  return exact;
}

// q [heads][dim] to [kLanes heads][block]{codes [8][lane][4], beginnings [lane], scales [lane]}; heads beyond are zeros.
static bool pack_index_query(void* out, const uint16_t* q, int64_t heads, int64_t wide, int64_t dim) {
  const int64_t blocks = dim / kCodeBlock;
  for (int64_t h = 0; h < wide; ++h) {
    const int64_t lane = h % kLanes;
    for (int64_t b = 0; b < blocks; ++b) {
      uint8_t* to = static_cast<uint8_t*>(out) + (h / kLanes * blocks + b) * kHeadsBlock;
      int8_t codes[kCodeBlock] = {};
      float scale = 0.0f;
      if (h < heads && !index_codes(codes, &scale, q + h * dim + b * kCodeBlock)) return false;
      int16_t pair[2] = {0, 0};  // by the 16-bit lane that products fall into
      for (int i = 0; i < kCodeBlock; ++i) {
        const int at = i / 2 % 16 + i % 2 * 16;  // even columns, then odd ones
        to[(at / 4 * kLanes + lane) * 4 + at % 4] = static_cast<uint8_t>(codes[i]);
        pair[at % 4 / 2] = static_cast<int16_t>(pair[at % 4 / 2] - 12 * codes[i]);
      }
      const int32_t begin = vi_begin(pair[0], pair[1]);
      scale *= 0.25f;  // both sides were doubled
      __builtin_memcpy(to + kCodeBlock * kLanes + 4 * lane, &begin, 4);
      __builtin_memcpy(to + kCodeBlock * kLanes + 4 * (kLanes + lane), &scale, 4);
    }
  }
  return true;
}

// One key: its bytes, then its scales as FP32.
static inline int64_t index_key_bytes(int64_t dim) { return dim + dim / kCodeBlock * 4; }

static inline void unpack_index_key(uint8_t* out, const uint8_t* row, int64_t dim) {
  alignas(16) static constexpr uint8_t kTable[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
  for (int64_t c = 0; c < dim / 2; c += 16) vi_nibbles(out + c, out + dim / 2 + c, kTable, row + c);
  for (int64_t b = 0; b < dim / kCodeBlock; ++b) {
    const float scale = e8m0(row[dim / 2 + b]);
    __builtin_memcpy(out + dim + 4 * b, &scale, 4);
  }
}

template <int K, int H>
static inline void index_code_block(V (&total)[K], const uint8_t* q, int64_t group_bytes, const float* w,
                                    const uint8_t* keys, int64_t dim) {
  V sum[K][H];
  for (int k = 0; k < K; ++k)
    for (int h = 0; h < H; ++h) sum[k][h] = v_zero();
  const int64_t key_bytes = index_key_bytes(dim);
  for (int64_t b = 0; b < dim / kCodeBlock; ++b) {
    const uint8_t* block = q + b * kHeadsBlock;
    VS dots[K][H];
    for (int k = 0; k < K; ++k)
      for (int h = 0; h < H; ++h) dots[k][h] = vi_sums(block + h * group_bytes + kCodeBlock * kLanes);
    const auto half = [&](const uint8_t* codes, const uint8_t* from) {
      for (int d = 0; d < 4; ++d) {
        VI a[H];
        for (int h = 0; h < H; ++h) a[h] = vi_load(codes + h * group_bytes + d * 4 * kLanes);
        for (int k = 0; k < K; ++k) {
          const VI key = vi_broadcast(from + k * key_bytes + 4 * d);
          for (int h = 0; h < H; ++h) dots[k][h] = vi_dot(dots[k][h], key, a[h]);
        }
      }
    };
    half(block, keys + 16 * b);
    half(block + 16 * kLanes, keys + dim / 2 + 16 * b);
    for (int k = 0; k < K; ++k) {
      float scale;
      __builtin_memcpy(&scale, keys + k * key_bytes + dim + 4 * b, 4);
      for (int h = 0; h < H; ++h) {
        const V query_scale =
            v_load(reinterpret_cast<const float*>(block + h * group_bytes + (kCodeBlock + 4) * kLanes));
        sum[k][h] = v_fma(v_mul(vi_float(dots[k][h]), query_scale), v_set(scale), sum[k][h]);
      }
    }
  }
  for (int k = 0; k < K; ++k)
    for (int h = 0; h < H; ++h)
      total[k] = v_fma(v_max(sum[k][h], v_zero()), v_load(w + h * kLanes), total[k]);
}

template <int K>
static inline void index_code_keys(float* out, const void* q, const float* w, int64_t wide, const uint8_t* keys,
                                   int64_t dim) {
  constexpr int kHeads = 2;
  const int64_t group_bytes = dim / kCodeBlock * kHeadsBlock, groups = wide / kLanes;
  const uint8_t* query = static_cast<const uint8_t*>(q);
  V total[K];
  for (int k = 0; k < K; ++k) total[k] = v_zero();
  int64_t g = 0;
  for (; g + kHeads <= groups; g += kHeads) {
    index_code_block<K, kHeads>(total, query + g * group_bytes, group_bytes, w + g * kLanes, keys, dim);
  }
  for (; g < groups; ++g) {
    index_code_block<K, 1>(total, query + g * group_bytes, group_bytes, w + g * kLanes, keys, dim);
  }
  for (int k = 0; k < K; ++k) out[k] = v_sum(total[k]);
}

static void index_code_scores(float* out, const void* q, const float* w, int64_t wide, const uint8_t* rows,
                              int64_t stride, int64_t count, int64_t dim, void* scratch) {
  constexpr int kKeys = 4;
  uint8_t* keys = static_cast<uint8_t*>(scratch);
  for (int64_t done = 0; done < count; done += kIndexTile, out += kIndexTile, rows += kIndexTile * stride) {
    const int64_t some = count - done < kIndexTile ? count - done : kIndexTile;
    for (int64_t j = 0; j < some; ++j) unpack_index_key(keys + j * index_key_bytes(dim), rows + j * stride, dim);
    int64_t j = 0;
    for (; j + kKeys <= some; j += kKeys) {
      index_code_keys<kKeys>(out + j, q, w, wide, keys + j * index_key_bytes(dim), dim);
    }
    for (; j < some; ++j) index_code_keys<1>(out + j, q, w, wide, keys + j * index_key_bytes(dim), dim);
  }
}

static Kernels with_index_codes(Kernels t) {
  t.pack_index_query = pack_index_query;
  t.index_code_scores = index_code_scores;
  return t;
}
