// The executor's half of backends/cuda/device_mma.cuh, from the fragment layouts that are written there: the last lane
// of a warp gathers the whole matrices, multiplies, and lays down each lane's part.
#pragma once

#include <cstdint>
#include <cstring>

#include "lib/base/number.h"
#include "tests/simt/simt_memory.h"
#include "tests/simt/simt_warp.h"

namespace dsv4::simt {

// Computes the products of a warp from the operands that its lanes laid down.
void multiply_fragments(Exchange& all);
// Loads `matrices` 8 x 8 matrices from the rows whose bytes in shared memory the lanes laid down.
void load_matrices(Exchange& all, int matrices, bool transposed);

struct Fragments {
  float d[4];
  uint32_t a[4];
  uint32_t b[2];
};

template <int kMatrices>
void load_matrix(uint32_t (&r)[kMatrices], cuda::Shared<bf16> s, int64_t index, bool transposed, const Site& site) {
  int offset = 0;
  if (thread_idx.x % kLanes < 8 * kMatrices) offset = s.offset_of(index, 8);
  if (offset % 16 != 0) raise("ldmatrix: a row begins at byte " + std::to_string(offset) + " of shared memory", site);
  const Exchange& exchange = meet_warp(
      WarpOp::kLoadMatrix, site, [&](unsigned char* at) { std::memcpy(at, &offset, sizeof(offset)); },
      [&](Exchange& all) { load_matrices(all, kMatrices, transposed); });
  std::memcpy(r, exchange.of[thread_idx.x % kLanes], sizeof(r));
}

}  // namespace dsv4::simt

namespace dsv4::cuda {

inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                     const Site& site = Site::current()) {
  const simt::Exchange& exchange = simt::meet_warp(
      simt::WarpOp::kMma, site,
      [&](unsigned char* at) {
        simt::Fragments own;
        std::memcpy(own.d, d, sizeof(d));
        std::memcpy(own.a, a, sizeof(a));
        std::memcpy(own.b, b, sizeof(b));
        std::memcpy(at, &own, sizeof(own));
      },
      [](simt::Exchange& all) { simt::multiply_fragments(all); });
  std::memcpy(d, exchange.of[lane()], sizeof(d));
}

inline void load_matrix_x4(uint32_t (&r)[4], Shared<bf16> s, int64_t index, const Site& site = Site::current()) {
  simt::load_matrix(r, s, index, false, site);
}
inline void load_matrix_x4_transposed(uint32_t (&r)[4], Shared<bf16> s, int64_t index,
                                      const Site& site = Site::current()) {
  simt::load_matrix(r, s, index, true, site);
}
inline void load_matrix_x2(uint32_t (&r)[2], Shared<bf16> s, int64_t index, const Site& site = Site::current()) {
  simt::load_matrix(r, s, index, false, site);
}
inline void load_matrix_x2_transposed(uint32_t (&r)[2], Shared<bf16> s, int64_t index,
                                      const Site& site = Site::current()) {
  simt::load_matrix(r, s, index, true, site);
}

}  // namespace dsv4::cuda
