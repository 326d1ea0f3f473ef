// Number formats of the model (docs of the formats: OCP FP8 / MX): BF16, E4M3 (fn), E2M1, E8M0, and the two
// block quantisations of activations and keys. Scalar code; it is the definition that every faster path is held to.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace dsv4 {

enum class DType : uint8_t { kF32, kBF16, kF8E4M3, kF8E8M0, kFP4, kI8, kU8, kI32, kI64 };

const char* dtype_name(DType dtype);
// Bits of one element: FP4 has 4.
constexpr int dtype_bits(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32: return 32;
    case DType::kBF16: return 16;
    case DType::kI64: return 64;
    case DType::kFP4: return 4;
    default: return 8;
  }
}

// A BF16 value as it lies in memory.
struct bf16 {
  uint16_t bits = 0;
};

inline float to_float(bf16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
// Round to nearest, ties to even. A NaN stays a NaN.
inline bf16 to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return bf16{static_cast<uint16_t>((u >> 16) | 0x40u)};
  u += 0x7fffu + ((u >> 16) & 1u);
  return bf16{static_cast<uint16_t>(u >> 16)};
}
inline float round_bf16(float x) { return to_float(to_bf16(x)); }

// 2^(e - 127). e = 255 is NaN and is refused when a checkpoint is opened; e = 0 is the subnormal 2^-127.
inline float e8m0_to_float(uint8_t e) {
  return e == 0 ? std::bit_cast<float>(0x00400000u) : std::bit_cast<float>(uint32_t{e} << 23);
}

extern const float kE4M3[256];  // value of every E4M3 byte; 0x7f and 0xff are NaN
extern const float kE2M1[16];   // value of every E2M1 code; bit 3 is the sign

// Nearest E4M3 (ties to even); more than 448 becomes 448, a NaN stays one.
uint8_t to_e4m3(float x);
// Nearest E2M1 (ties to even); more than 6 becomes 6, and a NaN, which the format lacks, 0.
uint8_t to_e2m1(float x);

// ceil(log2(x)) of a positive normal float, exact on its bits.
inline int ceil_log2(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  return static_cast<int>(u >> 23) - 127 + ((u & 0x7fffffu) != 0 ? 1 : 0);
}
// 2^e for -149 <= e <= 127.
inline float exp2i(int e) {
  return e < -126 ? std::bit_cast<float>(1u << (149 + e)) : std::bit_cast<float>(static_cast<uint32_t>(e + 127) << 23);
}
// 2^e for the scale of a block of E4M3 / E2M1: amax is the largest magnitude of the block (spec: model.md §2).
int e4m3_block_exponent(float amax);
int e2m1_block_exponent(float amax);

// quant_e4m3: `n` values in blocks of `block`; codes [n], scales [n / block] as E8M0. The value used is code * scale.
void quant_e4m3(uint8_t* codes, uint8_t* scales, const float* x, size_t n, size_t block);
// quant_e2m1 in blocks of 32: two codes a byte, element 2j in the low nibble of byte j.
void quant_e2m1(uint8_t* packed, uint8_t* scales, const float* x, size_t n);

}  // namespace dsv4
