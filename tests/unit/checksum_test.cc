// XXH64: published values, and the same value however the bytes are cut.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/base/checksum.h"

using dsv4::Checksum;

namespace {

uint64_t of(const char* text, uint64_t seed = 0) {
  Checksum sum(seed);
  sum.add(text, std::strlen(text));
  return sum.value();
}

// The buffer of the reference implementation's own sanity test.
std::vector<uint8_t> sanity_buffer(size_t size) {
  std::vector<uint8_t> out;
  uint64_t generator = 2654435761u;
  for (size_t i = 0; i < size; ++i) {
    out.push_back(static_cast<uint8_t>(generator >> 56));
    generator *= 11400714785074694797u;
  }
  return out;
}

uint64_t of_sanity(size_t size, uint64_t seed) {
  const std::vector<uint8_t> bytes = sanity_buffer(size);
  Checksum sum(seed);
  sum.add(bytes.data(), bytes.size());
  return sum.value();
}

}  // namespace

TEST_CASE("published values") {
  CHECK(of("") == 0xef46db3751d8e999);
  CHECK(of("a") == 0xd24ec4f1a98c6e5b);
  CHECK(of("abc") == 0x44bc2cf5ad770999);
  CHECK(of("xxhash") == 0x32dd38952c4bc720);
  CHECK(of("xxhash", 20141025) == 0xb559b98d844e0635);
  CHECK(of("Nobody inspects the spammish repetition") == 0xfbcea83c8a378bf1);
}

TEST_CASE("values of the reference implementation's sanity test") {
  constexpr uint64_t kSeed = 2654435761u;
  CHECK(of_sanity(0, 0) == 0xef46db3751d8e999);
  CHECK(of_sanity(0, kSeed) == 0xac75fda2929b17ef);
  CHECK(of_sanity(1, 0) == 0xe934a84adb052768);
  CHECK(of_sanity(1, kSeed) == 0x5014607643a9b4c3);
  CHECK(of_sanity(4, 0) == 0x9136a0dca57457ee);
  CHECK(of_sanity(14, 0) == 0x8282dcc4994e35c8);
  CHECK(of_sanity(14, kSeed) == 0xc3bd6bf63deb6df0);
  CHECK(of_sanity(222, 0) == 0xb641ae8cb691c174);
  CHECK(of_sanity(222, kSeed) == 0x20cb8ab7ae10c14a);
}

TEST_CASE("in pieces of any size") {
  const std::vector<uint8_t> bytes = sanity_buffer(333);
  const uint64_t whole = dsv4::checksum(bytes.data(), bytes.size());
  for (size_t piece = 1; piece < 100; ++piece) {
    Checksum sum;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      sum.add(bytes.data() + at, std::min(piece, bytes.size() - at));
      sum.add(nullptr, 0);
    }
    CHECK(sum.value() == whole);
  }
}
