// Number formats, exhaustively: every code, and every FP32 value near a midpoint, against a brute-force search.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "lib/base/number.h"

namespace dsv4 {
namespace {

float from_bits(uint32_t u) { return std::bit_cast<float>(u); }
bool same_bits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

// The value that the format's definition gives a code.
double e4m3_value(int code) {
  const int e = code >> 3 & 15, m = code & 7;
  const double v = e != 0 ? std::ldexp(8 + m, e - 10) : std::ldexp(m, -9);
  return (code & 0x80) != 0 ? -v : v;
}
double e2m1_value(int code) {
  const int e = code >> 1 & 3, m = code & 1;
  const double v = e != 0 ? std::ldexp(2 + m, e - 2) : 0.5 * m;
  return (code & 8) != 0 ? -v : v;
}

// Nearest of the codes 0 .. last by their values, ties to the even code; beyond the last one, the last.
template <class Value>
int nearest(double a, int last, Value value) {
  int best = 0;
  for (int c = 1; c <= last; ++c) {
    const double d = std::fabs(a - value(c)), b = std::fabs(a - value(best));
    if (d < b || (d == b && c % 2 == 0)) best = c;
  }
  return best;
}

// Every code's value, every midpoint, and the floats around them.
template <class Value>
std::vector<float> interesting(int last, Value value) {
  std::vector<float> out;
  for (int c = 0; c <= last; ++c) {
    for (const double at : {value(c), c < last ? (value(c) + value(c + 1)) / 2 : value(c)}) {
      float down = static_cast<float>(at), up = down;
      out.push_back(down);
      for (int i = 0; i < 200; ++i) {
        out.push_back(down = std::nextafterf(down, 0.0f));
        out.push_back(up = std::nextafterf(up, INFINITY));
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("number: every E4M3 and E2M1 code has its value") {
  for (int c = 0; c < 256; ++c) {
    if ((c & 0x7f) == 0x7f) {
      CHECK(std::isnan(kE4M3[c]));
    } else {
      CHECK(kE4M3[c] == e4m3_value(c));
      CHECK(std::signbit(kE4M3[c]) == (c >= 128));
    }
  }
  CHECK(kE4M3[0x7e] == 448.0f);
  for (int c = 0; c < 16; ++c) {
    CHECK(kE2M1[c] == e2m1_value(c));
    CHECK(std::signbit(kE2M1[c]) == (c >= 8));
  }
}

TEST_CASE("number: rounding to E4M3 is to nearest, ties to even") {
  int wrong = 0;
  for (const float x : interesting(0x7e, e4m3_value)) {
    const int want = nearest(x, 0x7e, e4m3_value);
    wrong += to_e4m3(x) != want;
    wrong += to_e4m3(-x) != (want | 0x80);
  }
  CHECK(wrong == 0);
  for (int c = 0; c < 256; ++c) {
    if ((c & 0x7f) != 0x7f) CHECK(to_e4m3(kE4M3[c]) == c);
  }
  CHECK(to_e4m3(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(to_e4m3(1e30f) == 0x7e);
  CHECK(to_e4m3(-INFINITY) == 0xfe);
  CHECK((to_e4m3(NAN) & 0x7f) == 0x7f);
}

TEST_CASE("number: rounding to E2M1 is to nearest, ties to even") {
  int wrong = 0;
  for (const float x : interesting(7, e2m1_value)) {
    const int want = nearest(x, 7, e2m1_value);
    wrong += to_e2m1(x) != want;
    wrong += to_e2m1(-x) != (want | 8);
  }
  CHECK(wrong == 0);
  CHECK(to_e2m1(INFINITY) == 7);
  CHECK((to_e2m1(NAN) & 7) == 0);
}

TEST_CASE("number: BF16 rounds to nearest even, keeps infinities and NaNs") {
  // Every exponent and sign, mantissas around the tie: against the neighbours' distances in double.
  int wrong = 0;
  for (uint32_t top = 0; top < 0x10000; ++top) {
    if ((top & 0x7fff) >= 0x7f80) continue;  // infinities and NaNs
    const float base = from_bits(top << 16);
    CHECK_MESSAGE(same_bits(to_float(to_bf16(base)), base), top);
    for (const uint32_t low : {1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const uint32_t want = low < 0x8000 ? top : low > 0x8000 ? top + 1 : top + (top & 1);
      wrong += to_bf16(from_bits(top << 16 | low)).bits != want;
    }
  }
  CHECK(wrong == 0);
  CHECK(to_float(to_bf16(INFINITY)) == INFINITY);
  CHECK(to_float(to_bf16(-INFINITY)) == -INFINITY);
  CHECK(to_float(to_bf16(std::numeric_limits<float>::max())) == INFINITY);
  for (const uint32_t nan : {0x7f800001u, 0x7fc00000u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    CHECK(std::isnan(to_float(to_bf16(from_bits(nan)))));
  }
}

TEST_CASE("number: powers of two and their logarithms are exact") {
  for (int e = 0; e < 255; ++e) CHECK(e8m0_to_float(static_cast<uint8_t>(e)) == std::ldexp(1.0, e - 127));
  for (int e = -149; e <= 127; ++e) CHECK(exp2i(e) == std::ldexp(1.0, e));
  for (int e = -126; e <= 127; ++e) {
    const float power = std::ldexp(1.0f, e);
    CHECK(ceil_log2(power) == e);
    CHECK(ceil_log2(std::nextafterf(power, INFINITY)) == e + 1);
    if (e > -126) CHECK(ceil_log2(std::nextafterf(power, 0.0f)) == e);
  }
}

TEST_CASE("number: a block's scale is the smallest power of two that fits it") {
  for (int e = -20; e <= 100; ++e) {
    // At the border itself the published program's FP32 reciprocal decides; one step to either side nothing does.
    const float fits = std::ldexp(448.0f, e), fits4 = std::ldexp(6.0f, e);
    CHECK(e4m3_block_exponent(fits) == e);
    CHECK(e4m3_block_exponent(std::nextafterf(std::nextafterf(fits, INFINITY), INFINITY)) == e + 1);
    CHECK(e4m3_block_exponent(std::nextafterf(fits, 0.0f)) == e);
    CHECK(e2m1_block_exponent(fits4) == e);
    CHECK(e2m1_block_exponent(std::nextafterf(std::nextafterf(fits4, INFINITY), INFINITY)) == e + 1);
    CHECK(e2m1_block_exponent(std::nextafterf(fits4, 0.0f)) == e);
  }
  CHECK(e4m3_block_exponent(0.0f) == -22);  // 1e-4 / 448 = 2.2e-7
  CHECK(e4m3_block_exponent(1e-4f) == -22);
  CHECK(e2m1_block_exponent(0.0f) == -126);
  CHECK(e2m1_block_exponent(1e-40f) == -126);
}

TEST_CASE("number: block quantisation of E4M3 against the definition") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  constexpr size_t kN = 512;
  for (const size_t block : {size_t{64}, size_t{128}}) {
    for (int exponent = -40; exponent <= 40; exponent += 5) {
      std::vector<float> x(kN);
      for (float& v : x) v = std::ldexp(normal(random), exponent);
      x[7] = 0.0f;
      x[9] = -0.0f;
      std::vector<uint8_t> codes(kN), scales(kN / block);
      quant_e4m3(codes.data(), scales.data(), x.data(), kN, block);
      int wrong = 0;
      for (size_t b = 0; b < kN / block; ++b) {
        double amax = 1e-4f;
        for (size_t i = b * block; i < (b + 1) * block; ++i) amax = std::fmax(amax, std::fabs(x[i]));
        const int e = static_cast<int>(std::ceil(std::log2(amax / 448)));
        wrong += scales[b] != e + 127;
        for (size_t i = b * block; i < (b + 1) * block; ++i) {
          const int want = nearest(std::ldexp(std::fabs(x[i]), -e), 0x7e, e4m3_value);
          wrong += codes[i] != (std::signbit(x[i]) ? want | 0x80 : want);
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("number: block quantisation of E2M1 against the definition, two codes a byte") {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  constexpr size_t kN = 256;
  for (int exponent = -120; exponent <= 100; exponent += 11) {
    std::vector<float> x(kN);
    for (float& v : x) v = std::ldexp(normal(random), exponent);
    if (exponent == 1) std::fill_n(x.begin(), 32, 0.0f);
    std::vector<uint8_t> packed(kN / 2), scales(kN / 32);
    quant_e2m1(packed.data(), scales.data(), x.data(), kN);
    int wrong = 0;
    for (size_t b = 0; b < kN / 32; ++b) {
      double amax = 6 * std::ldexp(1.0, -126);
      for (size_t i = b * 32; i < (b + 1) * 32; ++i) amax = std::fmax(amax, std::fabs(x[i]));
      const int e = static_cast<int>(std::ceil(std::log2(amax / 6)));
      wrong += scales[b] != e + 127;
      for (size_t i = b * 32; i < (b + 1) * 32; ++i) {
        const int code = i % 2 == 0 ? packed[i / 2] & 15 : packed[i / 2] >> 4;
        const int want = nearest(std::ldexp(std::fabs(x[i]), -e), 7, e2m1_value);
        wrong += code != (std::signbit(x[i]) ? want | 8 : want);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("number: infinities and NaNs pass through the block quantisers without harm") {
  std::vector<float> x(128, 1.0f);
  x[3] = NAN;
  x[70] = INFINITY;
  std::vector<uint8_t> codes(128), scales(4);
  quant_e4m3(codes.data(), scales.data(), x.data(), 128, 64);
  CHECK((codes[3] & 0x7f) == 0x7f);
  quant_e2m1(codes.data(), scales.data(), x.data(), 128);
  CHECK(scales[1] == 127 - 2);  // the block after the NaN's: ones
}

TEST_CASE("number: every format has its name and width") {
  CHECK(std::string(dtype_name(DType::kF8E4M3)) == "F8_E4M3");
  CHECK(dtype_bits(DType::kFP4) == 4);
  CHECK(dtype_bits(DType::kI64) == 64);
  CHECK(dtype_bits(DType::kBF16) == 16);
  CHECK(dtype_bits(DType::kF8E8M0) == 8);
}

}  // namespace dsv4
