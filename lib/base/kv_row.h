// How one key/value row lies in memory: exactly the values the model defines (spec: model.md §4), nothing wider.
//   kv row:    [rope dims, BF16][nope dims, E4M3][one E8M0 scale per 64 nope dims]     583 bytes for 448 + 64
//   index row: [dims, E2M1, two a byte][one E8M0 scale per 32 dims]                     68 bytes for 128
// The BF16 part comes first so that it is aligned; rows are padded to `stride` in memory and not in a snapshot.
#pragma once

#include <cstdint>
#include <cstring>

#include "lib/base/number.h"

namespace dsv4 {

constexpr int64_t kKvBlock = 64;     // nope dims that share a scale
constexpr int64_t kIndexBlock = 32;  // index dims that share a scale

struct KvRowLayout {
  int64_t nope = 0;  // head_dim - rope
  int64_t rope = 0;

  int64_t dim() const { return nope + rope; }
  int64_t codes() const { return 2 * rope; }           // offset of the E4M3 codes
  int64_t scales() const { return codes() + nope; }    // offset of the scales
  int64_t bytes() const { return scales() + nope / kKvBlock; }
  int64_t stride() const { return (bytes() + 15) / 16 * 16; }

  // `x` is one row after norm and rope: quantises the nope part; the rope part is BF16 already.
  void pack(uint8_t* row, const float* x) const {
    quant_e4m3(row + codes(), row + scales(), x, static_cast<size_t>(nope), kKvBlock);
    for (int64_t i = 0; i < rope; ++i) {
      const bf16 v = to_bf16(x[nope + i]);
      std::memcpy(row + 2 * i, &v, 2);
    }
  }
  void unpack(float* x, const uint8_t* row) const {
    for (int64_t i = 0; i < nope; ++i) x[i] = kE4M3[row[codes() + i]] * e8m0_to_float(row[scales() + i / kKvBlock]);
    for (int64_t i = 0; i < rope; ++i) {
      bf16 v;
      std::memcpy(&v, row + 2 * i, 2);
      x[nope + i] = to_float(v);
    }
  }
};

struct IndexRowLayout {
  int64_t dim = 0;

  int64_t scales() const { return dim / 2; }
  int64_t bytes() const { return scales() + dim / kIndexBlock; }
  int64_t stride() const { return (bytes() + 3) / 4 * 4; }

  void pack(uint8_t* row, const float* x) const { quant_e2m1(row, row + scales(), x, static_cast<size_t>(dim)); }
  void unpack(float* x, const uint8_t* row) const {
    for (int64_t i = 0; i < dim; ++i) {
      const uint8_t byte = row[i / 2];
      x[i] = kE2M1[i % 2 != 0 ? byte >> 4 : byte & 15] * e8m0_to_float(row[scales() + i / kIndexBlock]);
    }
  }
};

}  // namespace dsv4
