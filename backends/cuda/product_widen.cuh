// Codes to BF16 pairs, eight columns at a time: a code's bits are moved to where BF16 has its sign, exponent and
// mantissa, which is the value times a fixed power of two, subnormals included, and one exact product puts that right.
// The E4M3 codes that say NaN, which no sound checkpoint holds, count as 480 here.
#pragma once

#include "backends/cuda/device.cuh"
#include "backends/cuda/device_number.cuh"

namespace dsv4::cuda {

// Bytes of the eight in (low, high), the lowest four bits of `selector` for the lowest byte of the result, and so on.
DSV4_DEVICE uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t selector) {
#if defined(__CUDA_ARCH__)
  return __byte_perm(low, high, selector);
#else
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  uint32_t picked = 0;
  for (int i = 0; i < 4; ++i)
    picked |= static_cast<uint32_t>(both >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  return picked;
#endif
}

// The E8M0 scale as both halves of a BF16 pair.
DSV4_DEVICE uint32_t scale_as_pair(uint32_t e) { return (e == 0 ? 0x0040u : e << 7) * 0x10001u; }

// Two E4M3 codes in the upper bytes of the halves; what is in the lower ones does not matter.
DSV4_DEVICE uint32_t widen_e4m3_pair(uint32_t q) {
  const uint32_t raw = ((q >> 4) & 0x07f007f0u) | (q & 0x80008000u);
  return scale_pair(raw, 0x7b807b80u);  // 2^120
}

// Codes 0-3 in `low`, 4-7 in `high`; pairs (0, 4) (1, 5) (2, 6) (3, 7), or as they lie.
template <bool kPaired>
DSV4_DEVICE void widen_e4m3(uint32_t (&pairs)[4], uint32_t low, uint32_t high) {
  if constexpr (kPaired) {
    pairs[0] = widen_e4m3_pair(pick_bytes(low, high, 0x4400));
    pairs[1] = widen_e4m3_pair(pick_bytes(low, high, 0x5511));
    pairs[2] = widen_e4m3_pair(pick_bytes(low, high, 0x6622));
    pairs[3] = widen_e4m3_pair(pick_bytes(low, high, 0x7733));
  } else {
    pairs[0] = widen_e4m3_pair(pick_bytes(low, high, 0x1100));
    pairs[1] = widen_e4m3_pair(pick_bytes(low, high, 0x3322));
    pairs[2] = widen_e4m3_pair(pick_bytes(low, high, 0x5544));
    pairs[3] = widen_e4m3_pair(pick_bytes(low, high, 0x7766));
  }
}

// Eight codes, code i in bits 4i to 4i + 3; pairs (0, 4) (1, 5) (2, 6) (3, 7), times the scale.
DSV4_DEVICE void widen_fp4(uint32_t (&pairs)[4], uint32_t codes, uint32_t scale) {
  constexpr uint32_t kSign = 0x80008000u, kMagnitude = 0x01c001c0u, kFactor = 0x7e807e80u;  // 2^126
  pairs[0] = scale_pair(scale_pair((codes << 6 & kMagnitude) | (codes << 12 & kSign), kFactor), scale);
  pairs[1] = scale_pair(scale_pair((codes << 2 & kMagnitude) | (codes << 8 & kSign), kFactor), scale);
  pairs[2] = scale_pair(scale_pair((codes >> 2 & kMagnitude) | (codes << 4 & kSign), kFactor), scale);
  pairs[3] = scale_pair(scale_pair((codes >> 6 & kMagnitude) | (codes & kSign), kFactor), scale);
}

// Where column i of a row in paired order lies.
DSV4_DEVICE int paired_place(int i) { return (i & ~7) + (i % 4) * 2 + (i / 4) % 2; }

// One element of a weight in any format, times its scale.
DSV4_DEVICE float weight_value(const uint8_t* row, const uint8_t* scale, DType dtype, int col) {
  switch (dtype) {
    case DType::kF32: return reinterpret_cast<const float*>(row)[col];
    case DType::kBF16: return widen(reinterpret_cast<const bf16*>(row)[col]);
    case DType::kF8E4M3: return e4m3_value(row[col]) * e8m0_value(scale[col / 128]);
    default: return e2m1_value(row[col / 2] >> (col % 2 * 4) & 15) * e8m0_value(scale[col / 32]);
  }
}

}  // namespace dsv4::cuda
