// One tile of attention: 32 keys of a token against 16 or 64 of its heads, out of shared memory on tensor cores.
//   scores  S = Q · Kᵀ        queries and keys are exact in BF16, sums are FP32
//   weights P = exp(S - m)    FP32, then split into three BF16 terms, 24 bits together
//   outputs O += P · V        V is K again: E4M3 times a power of two and BF16, both exact in BF16
// A row of the state is unpacked to BF16 once, for all heads of the block. The eight warps share heads (the rows of A,
// 16 each) and what is left of them shares the columns: keys in the first product, dims in the second.
#pragma once

#include "backends/cuda/attention_rows.cuh"
#include "backends/cuda/product_widen.cuh"

namespace dsv4::cuda {

constexpr int kAttendThreads = 256;
constexpr int kTileKeys = 32;

// kDim: head_dim, rounded up; the columns behind head_dim hold zeros.
template <int kDimension, int kHeadTiles>
struct TileShape {
  static constexpr int kDim = kDimension;
  static constexpr int kHeads = 16 * kHeadTiles;
  static constexpr int kGroups = 8 / kHeadTiles;                // warps with the same heads
  static constexpr int kParts = kGroups > 4 ? kGroups / 4 : 1;  // of the dims, in the first product
  static constexpr int kKeyTiles = 4 * kParts / kGroups;        // of 8 keys, of a warp
  static constexpr int kColumns = kDim / kGroups;               // of O, of a warp
  static constexpr int kRow = kDim + 8;                         // elements from row to row: no two on one bank
  static constexpr int kScoreRow = kTileKeys + 1;
  static constexpr int kWeightRow = kTileKeys + 8;
  static constexpr int kOwnHeads = kHeads / 8;                                       // whose weights a warp makes
  static constexpr int kUnits = kDim / 16 + static_cast<int>(kAttendRopeDims) / 16;  // of 16 bytes, in a packed row
  static constexpr int kOwnUnits = (kUnits * kTileKeys + kAttendThreads - 1) / kAttendThreads;

  static constexpr int64_t bytes() {
    return shared_total<bf16>(kHeads * kRow) + shared_total<bf16>(kTileKeys * kRow) +
           shared_total<float>(kParts * kHeads * kScoreRow) + shared_total<bf16>(3 * kHeads * kWeightRow) +
           shared_total<float>(kHeads) + shared_total<int>(kTileKeys);
  }
};

template <class Shape>
struct TileMemory {
  Shared<bf16> queries;   // [kHeads, kRow]
  Shared<bf16> keys;      // [kTileKeys, kRow]
  Shared<float> scores;   // [kParts, kHeads, kScoreRow]
  Shared<bf16> weights;   // [3, kHeads, kWeightRow]
  Shared<float> rescale;  // [kHeads]: of what was summed before this tile
  Shared<int> valid;      // [kTileKeys]

  DSV4_DEVICE explicit TileMemory(SharedMemory& shared)
      : queries(shared.take<bf16>(Shape::kHeads * Shape::kRow)),
        keys(shared.take<bf16>(kTileKeys * Shape::kRow)),
        scores(shared.take<float>(Shape::kParts * Shape::kHeads * Shape::kScoreRow)),
        weights(shared.take<bf16>(3 * Shape::kHeads * Shape::kWeightRow)),
        rescale(shared.take<float>(Shape::kHeads)),
        valid(shared.take<int>(kTileKeys)) {}
};

// What a token sees: a stretch of the window, then entries; `count` slots, of which those with a top of -1 are empty.
struct KeyList {
  const uint8_t* window_rows;
  const uint8_t* entry_rows;
  const int32_t* top;  // of CSA; null: entries in order
  int first;           // position of the window's first row
  int window;          // rows of it
  int count;
  int ring, entries, stride;

  // Null for an empty slot.
  DSV4_DEVICE const uint8_t* row(int slot) const {
    if (slot >= count) return nullptr;
    if (slot < window) {
      const auto at = static_cast<int>(static_cast<uint32_t>(first + slot) % static_cast<uint32_t>(ring));
      return window_rows + static_cast<int64_t>(at) * stride;
    }
    const int entry = top != nullptr ? top[slot - window] : slot - window;
    if (entry < 0 || entry >= entries) return nullptr;
    return entry_rows + static_cast<int64_t>(entry) * stride;
  }
};

// A thread's share of the packed rows of a tile, on the way to shared memory.
template <class Shape>
struct PackedTile {
  uint4 data[Shape::kOwnUnits];
  uint32_t scale[Shape::kOwnUnits];  // of the codes; kNone where there is no row
  static constexpr uint32_t kNone = 256;

  DSV4_DEVICE void fetch(const KeyList& list, int tile, int nope, int rope) {
    const int rope_units = rope / 8, units = rope_units + nope / 16;
#pragma unroll
    for (int i = 0; i < Shape::kOwnUnits; ++i) {
      const int flat = thread() + i * kAttendThreads, key = flat / units, unit = flat - key * units;
      data[i] = uint4{0, 0, 0, 0};
      scale[i] = kNone;
      const uint8_t* row = key < kTileKeys ? list.row(tile * kTileKeys + key) : nullptr;
      if (row == nullptr) continue;
      data[i] = read_as<uint4>(row + 16 * unit);
      scale[i] = unit < rope_units ? 0 : row[2 * rope + nope + (unit - rope_units) / 4];
    }
  }

  DSV4_DEVICE void unpack(const TileMemory<Shape>& memory, int nope, int rope) const {
    const int rope_units = rope / 8, units = rope_units + nope / 16;
    const Shared<uint4> to = memory.keys.template as<uint4>();
#pragma unroll
    for (int i = 0; i < Shape::kOwnUnits; ++i) {
      const int flat = thread() + i * kAttendThreads, key = flat / units, unit = flat - key * units;
      if (key >= kTileKeys) continue;
      if (unit == 0) memory.valid[key] = scale[i] != kNone ? 1 : 0;
      const int at = key * (Shape::kRow / 8);
      if (unit < rope_units) {
        to[at + nope / 8 + unit] = data[i];
        continue;
      }
      const uint32_t factor = scale_as_pair(scale[i] & 255);
      uint32_t low[4], high[4];
      widen_e4m3<false>(low, data[i].x, data[i].y);
      widen_e4m3<false>(high, data[i].z, data[i].w);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        low[j] = scale_pair(low[j], factor);
        high[j] = scale_pair(high[j], factor);
      }
      to[at + 2 * (unit - rope_units)] = uint4{low[0], low[1], low[2], low[3]};
      to[at + 2 * (unit - rope_units) + 1] = uint4{high[0], high[1], high[2], high[3]};
    }
  }
};

// S of the warp's heads and keys, over its part of the dims, into shared memory.
template <class Shape>
DSV4_DEVICE void tile_scores(const TileMemory<Shape>& memory, int head_tile, int group) {
  constexpr int kSets = 4 / Shape::kKeyTiles;  // of keys
  const int first_key = group % kSets * Shape::kKeyTiles * 8, part = group / kSets;
  const int q_at = (16 * head_tile + lane() % 16) * Shape::kRow + lane() / 16 * 8;
  const int k_at = (first_key + lane() % 8) * Shape::kRow + lane() / 8 * 8;
  float d[Shape::kKeyTiles][2][4] = {};
  constexpr int kPartDims = Shape::kDim / Shape::kParts;
#pragma unroll 2
  for (int k = part * kPartDims; k < (part + 1) * kPartDims; k += 32) {
    uint32_t a[2][4];
    load_matrix_x4(a[0], memory.queries, q_at + k);
    load_matrix_x4(a[1], memory.queries, q_at + k + 16);
#pragma unroll
    for (int n = 0; n < Shape::kKeyTiles; ++n) {
      uint32_t b[4];
      load_matrix_x4(b, memory.keys, k_at + n * 8 * Shape::kRow + k);
      const uint32_t even[2] = {b[0], b[1]}, odd[2] = {b[2], b[3]};
      mma_bf16(d[n][0], a[0], even);
      mma_bf16(d[n][1], a[1], odd);
    }
  }
  const int row = part * Shape::kHeads + 16 * head_tile + lane() / 4;
#pragma unroll
  for (int n = 0; n < Shape::kKeyTiles; ++n) {
    const int at = row * Shape::kScoreRow + first_key + 8 * n + lane() % 4 * 2;
    memory.scores[at] = d[n][0][0] + d[n][1][0];
    memory.scores[at + 1] = d[n][0][1] + d[n][1][1];
    memory.scores[at + 8 * Shape::kScoreRow] = d[n][0][2] + d[n][1][2];
    memory.scores[at + 8 * Shape::kScoreRow + 1] = d[n][0][3] + d[n][1][3];
  }
}

// exp(x - m); m may be -infinity as long as nothing was seen.
DSV4_DEVICE float weight_of(float x, float m) { return expf(x - (m == -INFINITY ? 0.0f : m)); }

// P of the heads that this warp owns, a lane for a key; m and l, equal in all lanes, are their highest logit and sum.
template <class Shape>
DSV4_DEVICE void tile_weights(const TileMemory<Shape>& memory, float scale, float (&m)[Shape::kOwnHeads],
                              float (&l)[Shape::kOwnHeads]) {
  const bool seen = memory.valid[lane()] != 0;
#pragma unroll
  for (int i = 0; i < Shape::kOwnHeads; ++i) {
    const int head = warp() * Shape::kOwnHeads + i;
    float s = memory.scores[head * Shape::kScoreRow + lane()];
#pragma unroll
    for (int part = 1; part < Shape::kParts; ++part) {
      s += memory.scores[(part * Shape::kHeads + head) * Shape::kScoreRow + lane()];
    }
    s *= scale;
    const float before = m[i];
    m[i] = fmaxf(before, max_of_warp(seen ? s : -INFINITY));
    const float p = seen ? weight_of(s, m[i]) : 0.0f, rescale = weight_of(before, m[i]);
    l[i] = l[i] * rescale + sum_of_warp(p);
    if (lane() == 0) memory.rescale[head] = rescale;
    float rest = p;
#pragma unroll
    for (int term = 0; term < 3; ++term) {
      memory.weights[(term * Shape::kHeads + head) * Shape::kWeightRow + lane()] = narrow(rest);
      rest -= rounded(rest);
    }
  }
}

// O += P · V for the warp's heads and columns.
template <class Shape>
DSV4_DEVICE void tile_outputs(float (&o)[Shape::kColumns / 8][4], const TileMemory<Shape>& memory, int head_tile,
                              int group) {
  const int head = 16 * head_tile + lane() / 4;
  const float upper = memory.rescale[head], lower = memory.rescale[head + 8];
  if (any(upper != 1.0f || lower != 1.0f)) {
#pragma unroll
    for (int n = 0; n < Shape::kColumns / 8; ++n) {
      o[n][0] *= upper;
      o[n][1] *= upper;
      o[n][2] *= lower;
      o[n][3] *= lower;
    }
  }
  const int p_at = (16 * head_tile + lane() % 16) * Shape::kWeightRow + lane() / 16 * 8;
  const int v_at = lane() % 16 * Shape::kRow + group * Shape::kColumns + lane() / 16 * 8;
#pragma unroll 1  // both at once would not fit the registers
  for (int k = 0; k < kTileKeys; k += 16) {
    uint32_t p[3][4];
#pragma unroll
    for (int term = 0; term < 3; ++term) {
      load_matrix_x4(p[term], memory.weights, term * Shape::kHeads * Shape::kWeightRow + p_at + k);
    }
#pragma unroll
    for (int n = 0; n < Shape::kColumns / 8; n += 2) {
      uint32_t v[4];
      load_matrix_x4_transposed(v, memory.keys, k * Shape::kRow + v_at + 8 * n);
      const uint32_t even[2] = {v[0], v[1]}, odd[2] = {v[2], v[3]};
#pragma unroll
      for (int term = 2; term >= 0; --term) {
        mma_bf16(o[n], p[term], even);
        mma_bf16(o[n + 1], p[term], odd);
      }
    }
  }
}

}  // namespace dsv4::cuda
