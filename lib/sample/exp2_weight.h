// 2^z for z <= 0 as sampling needs it: a few operations without branches, so that compilers vectorise loops over it.
//   n = round(z), f = z - n in [-1/2, 1/2], 2^z = 2^n (1 + c1 f + ... + c5 f^5)
// The coefficients minimise the largest relative error, 9.2e-8, with the value at f = 0 fixed to 1. The result depends
// on IEEE arithmetic alone: the same bits from every compiler, in a vector or not.
#pragma once

#include <bit>
#include <cstdint>

namespace dsv4 {

// z >= -126: 2^z within a relative 2e-7 (every float was tried), and 0 gives exactly 1. Down to -127: at least 0 and
// under 2^-126. Below, and for -inf: exactly 0, as n = -127 takes the exponent of p = 1 away. Not for z > 0 and NaN.
inline float exp2_weight(float z) {
  constexpr float kLeast = -127.0f;
  constexpr float kRounder = 0x1.8p23f;  // x + kRounder has the integer nearest to x in its low bits
  const float x = z > kLeast ? z : kLeast;
  const float shifted = x + kRounder;
  const float f = x - (shifted - kRounder);
  float p = 0x1.5bba14p-10f;
  p = p * f + 0x1.3cea88p-7f;
  p = p * f + 0x1.c6b752p-5f;
  p = p * f + 0x1.ebf9bcp-3f;
  p = p * f + 0x1.62e42ap-1f;
  p = p * f + 1.0f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23));
}

}  // namespace dsv4
