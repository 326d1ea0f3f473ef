// The number formats of lib/base/number.h on the device: BF16, E4M3 (fn), E2M1, E8M0 and the exponents of quantised
// blocks. Every function equals its namesake there bit for bit (tests/simt/number_simt_test.cc goes through all codes,
// all BF16 values and many floats). Tables would cost a load each, so values are made from bits: a code moved to where
// FP32 has its exponent and mantissa is the value times a fixed power of two, subnormals included, because FP32's own
// subnormals are linear too (the kernels are compiled without flush-to-zero).
#pragma once

#include "backends/cuda/device.cuh"
#include "lib/base/number.h"

namespace dsv4::cuda {

// ------------------------------------------------------------------------------------------------------------ BF16

DSV4_DEVICE float widen(bf16 x) { return float_of(static_cast<uint32_t>(x.bits) << 16); }

// Round to nearest, ties to even. A NaN stays a NaN, with its sign and the upper bits of its payload.
DSV4_DEVICE uint32_t narrow_bits(float x) {
  const uint32_t u = bits_of(x);
#if defined(__CUDA_ARCH__)
  uint32_t rounded;
  asm("{.reg .b16 h; cvt.rn.bf16.f32 h, %1; cvt.u32.u16 %0, h;}" : "=r"(rounded) : "f"(x));
#else
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
#endif
  return (u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded;
}
DSV4_DEVICE bf16 narrow(float x) {
  bf16 y;
  y.bits = static_cast<uint16_t>(narrow_bits(x));
  return y;
}
DSV4_DEVICE float rounded(float x) { return float_of(narrow_bits(x) << 16); }

// Two BF16 in one register, the element of the lower address in the low half.
DSV4_DEVICE uint32_t pack_bf16(float low, float high) { return narrow_bits(low) | narrow_bits(high) << 16; }
DSV4_DEVICE float low_of(uint32_t pair) { return float_of(pair << 16); }
DSV4_DEVICE float high_of(uint32_t pair) { return float_of(pair & 0xffff0000u); }

// Both halves times the halves of `scale`, each rounded to BF16. Meant for powers of two, where the product is exact
// (E4M3 and E2M1 values times their block's scale fit BF16: spec, model.md §2).
DSV4_DEVICE uint32_t scale_pair(uint32_t pair, uint32_t scale) {
#if defined(__CUDA_ARCH__)
  uint32_t product;
  // sm_80 multiplies BF16 pairs by fma only; adding -0 changes no product, not even a zero's sign.
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(pair), "r"(scale), "r"(0x80008000u));
  return product;
#else
  return pack_bf16(low_of(pair) * low_of(scale), high_of(pair) * high_of(scale));
#endif
}

// ------------------------------------------------------------------------------------------------------------ E4M3

// 0x7f and 0xff are NaN.
DSV4_DEVICE float e4m3_value(uint8_t code) {
  const uint32_t magnitude = code & 0x7fu, sign = static_cast<uint32_t>(code & 0x80u) << 24;
  const uint32_t value = bits_of(float_of(magnitude << 20) * 0x1p120f);
  return float_of((magnitude == 0x7fu ? 0x7fc00000u : value) | sign);
}

// Nearest, ties to even; more than 448 becomes 448, a NaN stays one.
DSV4_DEVICE uint8_t e4m3_code(float x) {
  const uint32_t u = bits_of(x) & 0x7fffffffu, sign = (bits_of(x) >> 24) & 0x80u;
  const uint32_t normal = ((u + 0x7ffffu + ((u >> 20) & 1u)) >> 20) - (120u << 3);  // exponent 127 becomes 7
  // Below 2^-6 in units of 2^-9, which is the last place of a float in [2^14, 2^15): the sum rounds as the format does.
  const uint32_t subnormal = bits_of(float_of(u) + 0x1p14f) - 0x46800000u;
  uint32_t code = u < 0x3c800000u ? subnormal : normal;
  code = u > 0x43e00000u ? 0x7eu : code;
  code = u > 0x7f800000u ? 0x7fu : code;
  return static_cast<uint8_t>(code | sign);
}

// ------------------------------------------------------------------------------------------------------------ E2M1

// Bit 3 is the sign.
DSV4_DEVICE float e2m1_value(int code) {
  const auto c = static_cast<uint32_t>(code);
  return float_of(bits_of(float_of((c & 7u) << 22) * 0x1p126f) | (c & 8u) << 28);
}

// Nearest, ties to even; more than 6 becomes 6, and a NaN, which the format lacks, 0.
DSV4_DEVICE int e2m1_code(float x) {
  const uint32_t u = bits_of(x) & 0x7fffffffu, sign = (bits_of(x) >> 28) & 8u;
  const uint32_t normal = ((u + 0x1fffffu + ((u >> 22) & 1u)) >> 22) - (126u << 1);  // exponent 127 becomes 1
  const uint32_t subnormal = bits_of(float_of(u) + 0x1p22f) - 0x4a800000u;           // below 1, in units of 1/2
  uint32_t code = u < 0x3f800000u ? subnormal : normal;
  code = code > 7u ? 7u : code;
  code = u > 0x7f800000u ? 0u : code;
  return static_cast<int>(code | sign);
}

// ---------------------------------------------------------------------------------------------------------- scales

// 2^(e - 127); 0 is the subnormal 2^-127.
DSV4_DEVICE float e8m0_value(uint8_t e) { return float_of(e == 0 ? 0x00400000u : static_cast<uint32_t>(e) << 23); }

// 2^e for -149 <= e <= 127.
DSV4_DEVICE float exp2_of(int e) {
  return float_of(e < -126 ? 1u << ((149 + e) & 31) : static_cast<uint32_t>(e + 127) << 23);
}

// ceil(log2(x)) of a positive normal float.
DSV4_DEVICE int ceil_log2_of(float x) {
  const uint32_t u = bits_of(x);
  return static_cast<int>(u >> 23) - 127 + ((u & 0x7fffffu) != 0 ? 1 : 0);
}

// The exponent of a block's scale by its largest magnitude. The published program multiplies by the FP32 reciprocal,
// which decides exact ties of the ceiling.
DSV4_DEVICE int e4m3_block_exponent_of(float amax) {
  return ceil_log2_of((amax < 1e-4f ? 1e-4f : amax) * (1.0f / 448.0f));
}
DSV4_DEVICE int e2m1_block_exponent_of(float amax) {
  constexpr float kLeast = 6.0f * 0x1p-126f;
  const int e = ceil_log2_of((amax < kLeast ? kLeast : amax) * (1.0f / 6.0f));
  return e < -126 ? -126 : e;
}

}  // namespace dsv4::cuda
