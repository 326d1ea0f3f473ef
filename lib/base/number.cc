#include "lib/base/number.h"

#include <algorithm>
#include <cmath>

namespace dsv4 {

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "F32";
    case DType::kBF16: return "BF16";
    case DType::kF8E4M3: return "F8_E4M3";
    case DType::kF8E8M0: return "F8_E8M0";
    case DType::kFP4: return "FP4";
    case DType::kI8: return "I8";
    case DType::kU8: return "U8";
    case DType::kI32: return "I32";
    case DType::kI64: return "I64";
  }
  return "?";
}

namespace {

struct E4M3Table {
  float value[256];
};

constexpr E4M3Table make_e4m3() {
  E4M3Table t{};
  for (uint32_t b = 0; b < 256; ++b) {
    const uint32_t exponent = (b >> 3) & 15, mantissa = b & 7;
    // Normal: (8 + m) * 2^(e - 10); subnormal: m * 2^-9.
    float v = static_cast<float>(exponent != 0 ? 8 + mantissa : mantissa);
    for (int e = (exponent != 0 ? static_cast<int>(exponent) : 1) - 10; e != 0; e += e < 0 ? 1 : -1) {
      v = e < 0 ? v * 0.5f : v * 2.0f;
    }
    if ((b & 0x7f) == 0x7f) v = std::bit_cast<float>(0x7fc00000u);
    t.value[b] = (b & 0x80) != 0 ? -v : v;
  }
  return t;
}

}  // namespace

// The tables are constants of the image: no constructor runs at load.
extern constexpr float kE2M1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

namespace {
constexpr E4M3Table kTable = make_e4m3();
}
#define DSV4_ROW8(i)                                                                                              \
  kTable.value[i], kTable.value[i + 1], kTable.value[i + 2], kTable.value[i + 3], kTable.value[i + 4],            \
      kTable.value[i + 5], kTable.value[i + 6], kTable.value[i + 7]
#define DSV4_ROW64(i)                                                                                             \
  DSV4_ROW8(i), DSV4_ROW8(i + 8), DSV4_ROW8(i + 16), DSV4_ROW8(i + 24), DSV4_ROW8(i + 32), DSV4_ROW8(i + 40),     \
      DSV4_ROW8(i + 48), DSV4_ROW8(i + 56)
extern constexpr float kE4M3[256] = {DSV4_ROW64(0), DSV4_ROW64(64), DSV4_ROW64(128), DSV4_ROW64(192)};
#undef DSV4_ROW64
#undef DSV4_ROW8

uint8_t to_e4m3(float x) {
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const float a = std::fabs(x);
  if (!(a <= 448.0f)) return static_cast<uint8_t>(sign | (a > 448.0f ? 0x7e : 0x7f));  // a NaN stays a NaN
  // Spacing of the format at a: 2^(e - 3), never finer than the subnormals' 2^-9. The quotient is exact, and
  // nearbyint rounds ties to even; a carry into the next binade lands on its first value by itself.
  const int e = a < 0x1p-6f ? -6 : static_cast<int>(std::bit_cast<uint32_t>(a) >> 23) - 127;
  const int n = static_cast<int>(std::nearbyint(a * exp2i(3 - e)));  // 0..16, in units of 2^(e - 3)
  if (n < 8) return static_cast<uint8_t>(sign | n);                  // subnormal (e is -6 then)
  return static_cast<uint8_t>(sign | (((e + 7) << 3) + (n - 8)));
}

uint8_t to_e2m1(float x) {
  const uint8_t sign = std::signbit(x) ? 8 : 0;
  const float a = std::fabs(x);
  // Midpoints between neighbours; a tie goes to the even code.
  uint8_t code = 0;
  if (a > 0.25f) code = 1;
  if (a >= 0.75f) code = 2;
  if (a > 1.25f) code = 3;
  if (a >= 1.75f) code = 4;
  if (a > 2.5f) code = 5;
  if (a >= 3.5f) code = 6;
  if (a > 5.0f) code = 7;
  return static_cast<uint8_t>(sign | code);
}

// The published program multiplies by the FP32 reciprocal; so do we, since it decides exact ties of the ceiling.
int e4m3_block_exponent(float amax) { return ceil_log2(std::max(amax, 1e-4f) * (1.0f / 448.0f)); }
int e2m1_block_exponent(float amax) {
  return std::max(ceil_log2(std::max(amax, 6.0f * 0x1p-126f) * (1.0f / 6.0f)), -126);
}

void quant_e4m3(uint8_t* codes, uint8_t* scales, const float* x, size_t n, size_t block) {
  for (size_t b = 0; b < n / block; ++b) {
    const float* v = x + b * block;
    float amax = 0.0f;
    for (size_t i = 0; i < block; ++i) amax = std::max(amax, std::fabs(v[i]));
    const int e = e4m3_block_exponent(amax);
    scales[b] = static_cast<uint8_t>(e + 127);
    const float inverse = exp2i(-e);
    for (size_t i = 0; i < block; ++i) codes[b * block + i] = to_e4m3(std::clamp(v[i] * inverse, -448.0f, 448.0f));
  }
}

void quant_e2m1(uint8_t* packed, uint8_t* scales, const float* x, size_t n) {
  for (size_t b = 0; b < n / 32; ++b) {
    const float* v = x + b * 32;
    float amax = 0.0f;
    for (size_t i = 0; i < 32; ++i) amax = std::max(amax, std::fabs(v[i]));
    const int e = e2m1_block_exponent(amax);
    scales[b] = static_cast<uint8_t>(e + 127);
    const float inverse = exp2i(-e);
    for (size_t i = 0; i < 32; i += 2) {
      const uint8_t lo = to_e2m1(std::clamp(v[i] * inverse, -6.0f, 6.0f));
      const uint8_t hi = to_e2m1(std::clamp(v[i + 1] * inverse, -6.0f, 6.0f));
      packed[b * 16 + i / 2] = static_cast<uint8_t>(lo | hi << 4);
    }
  }
}

}  // namespace dsv4
