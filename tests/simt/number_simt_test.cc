// The device's number formats equal lib/base/number.h bit for bit: every code, every BF16 value, and floats around
// every point at which a format can round or a block's exponent can change.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cuda/device_number.cuh"
#include "lib/base/number.h"

namespace dsv4::cuda {
namespace {

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
float from_bits(uint32_t u) { return std::bit_cast<float>(u); }

// Every upper half of a float with the lower halves at which BF16 rounds, and random ones between. The other formats
// have their ties where the lower half is zero, or a unit beside that.
template <class Visit>
void each_float(Visit visit) {
  std::mt19937 random(7);
  for (uint32_t high = 0; high < 0x10000u; ++high) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      visit(from_bits(high << 16 | low));
    for (int i = 0; i < 16; ++i) visit(from_bits(high << 16 | (random() & 0xffffu)));
  }
}

// How many floats a device function and its definition disagree about.
template <class Device, class Definition>
int64_t differing(Device device, Definition definition) {
  int64_t count = 0;
  each_float([&](float x) { count += device(x) != definition(x) ? 1 : 0; });
  return count;
}

}  // namespace

TEST_CASE("device: BF16 widens and narrows like the definition") {
  for (uint32_t i = 0; i < 0x10000u; ++i) {
    const dsv4::bf16 x{static_cast<uint16_t>(i)};
    REQUIRE(bits(widen(x)) == bits(to_float(x)));
    REQUIRE(bits(low_of(0xabcd0000u | i)) == bits(to_float(x)));
    REQUIRE(bits(high_of(i << 16 | 0xabcdu)) == bits(to_float(x)));
  }
  CHECK(differing([](float x) { return narrow(x).bits; }, [](float x) { return to_bf16(x).bits; }) == 0);
  CHECK(differing([](float x) { return bits(rounded(x)); }, [](float x) { return bits(round_bf16(x)); }) == 0);
  CHECK(differing([](float x) { return pack_bf16(x, 1.0f); },
                  [](float x) { return uint32_t{to_bf16(x).bits} | 0x3f800000u; }) == 0);
  CHECK(differing([](float x) { return pack_bf16(1.0f, x); },
                  [](float x) { return uint32_t{to_bf16(x).bits} << 16 | 0x3f80u; }) == 0);
}

TEST_CASE("device: pairs times a power of two are exact") {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7f) == 0x7f) continue;
    for (int e = -30; e <= 30; ++e) {
      const float value = e4m3_value(static_cast<uint8_t>(code)), scale = exp2_of(e);
      const uint32_t product = scale_pair(pack_bf16(value, -1.5f), pack_bf16(scale, scale));
      REQUIRE(bits(low_of(product)) == bits(value * scale));
      REQUIRE(bits(high_of(product)) == bits(-1.5f * scale));
    }
  }
}

TEST_CASE("device: every code of E4M3, E2M1 and E8M0") {
  for (int code = 0; code < 256; ++code) {
    CAPTURE(code);
    const auto byte = static_cast<uint8_t>(code);
    CHECK(bits(e4m3_value(byte)) == bits(kE4M3[code]));
    CHECK(bits(e8m0_value(byte)) == bits(e8m0_to_float(byte)));
  }
  for (int code = 0; code < 16; ++code) CHECK(bits(e2m1_value(code)) == bits(kE2M1[code]));
}

TEST_CASE("device: floats to E4M3 and E2M1") {
  CHECK(differing([](float x) { return e4m3_code(x); }, [](float x) { return to_e4m3(x); }) == 0);
  CHECK(differing([](float x) { return e2m1_code(x); }, [](float x) { return int{to_e2m1(x)}; }) == 0);
}

TEST_CASE("device: powers of two and the exponents of blocks") {
  for (int e = -149; e <= 127; ++e) CHECK(bits(exp2_of(e)) == bits(exp2i(e)));
  CHECK(differing([](float x) { return e4m3_block_exponent_of(x); }, [](float x) { return e4m3_block_exponent(x); }) ==
        0);
  CHECK(differing([](float x) { return e2m1_block_exponent_of(x); }, [](float x) { return e2m1_block_exponent(x); }) ==
        0);
}

}  // namespace dsv4::cuda
