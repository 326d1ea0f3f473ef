// Tensor cores under nvcc: BF16 products of a warp with FP32 sums, and the loads that arrange their operands.
// (The executor's half: tests/simt/simt_mma.h, from the same layout.) With g = lane / 4 and t = lane % 4, PTX m16n8k16:
//   A [16, 16]: a0 = (g, 2t..), a1 = (g + 8, 2t..), a2 = (g, 2t + 8..), a3 = (g + 8, 2t + 8..)   each two neighbours of
//   a row B [16, 8]:  b0 = (2t.., g), b1 = (2t + 8.., g)                                               each two
//   neighbours of a column D [16, 8]:  d0, d1 = (g, 2t), (g, 2t + 1); d2, d3 = (g + 8, 2t), (g + 8, 2t + 1)
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backends/cuda/device_memory.cuh"
#include "lib/base/number.h"

namespace dsv4::cuda {

// d += A · B
DSV4_DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// 8 x 8 matrices of BF16: lane 8j + i gives the element where row i of matrix j begins (16-byte aligned); in r[j] each
// lane gets elements 2t and 2t + 1 of row g of matrix j, or transposed, of column g. x2: lanes 0-15 give the rows.
DSV4_DEVICE void load_matrix_x4(uint32_t (&r)[4], Shared<bf16> s, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(s.address(index))
               : "memory");
}
DSV4_DEVICE void load_matrix_x4_transposed(uint32_t (&r)[4], Shared<bf16> s, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(s.address(index))
               : "memory");
}
DSV4_DEVICE void load_matrix_x2(uint32_t (&r)[2], Shared<bf16> s, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(s.address(index))
               : "memory");
}
DSV4_DEVICE void load_matrix_x2_transposed(uint32_t (&r)[2], Shared<bf16> s, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(s.address(index))
               : "memory");
}

}  // namespace dsv4::cuda
