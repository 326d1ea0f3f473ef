#include "lib/base/checksum.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace dsv4 {
namespace {

constexpr uint64_t kPrime1 = 0x9e3779b185ebca87;
constexpr uint64_t kPrime2 = 0xc2b2ae3d27d4eb4f;
constexpr uint64_t kPrime3 = 0x165667b19e3779f9;
constexpr uint64_t kPrime4 = 0x85ebca77c2b2ae63;
constexpr uint64_t kPrime5 = 0x27d4eb2f165667c5;
constexpr size_t kBlock = 32;

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

template <class T>
uint64_t word(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

uint64_t round(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }
uint64_t merge(uint64_t value, uint64_t lane) { return (value ^ round(0, lane)) * kPrime1 + kPrime4; }

void take_block(uint64_t* lanes, const uint8_t* p) {
  for (int i = 0; i < 4; ++i) lanes[i] = round(lanes[i], word<uint64_t>(p + 8 * i));
}

}  // namespace

Checksum::Checksum(uint64_t seed)
    : lanes_{seed + kPrime1 + kPrime2, seed + kPrime2, seed, seed - kPrime1}, rest_{}, seed_(seed) {}

void Checksum::add(const void* data, size_t size) {
  const uint8_t* p = static_cast<const uint8_t*>(data);
  const size_t waiting = size_ % kBlock;
  size_ += size;
  if (waiting != 0) {
    const size_t n = std::min(size, kBlock - waiting);
    if (n != 0) std::memcpy(rest_ + waiting, p, n);
    if (waiting + n < kBlock) return;
    take_block(lanes_, rest_);
    p += n;
    size -= n;
  }
  for (; size >= kBlock; p += kBlock, size -= kBlock) take_block(lanes_, p);
  if (size != 0) std::memcpy(rest_, p, size);
}

uint64_t Checksum::value() const {
  uint64_t h = seed_ + kPrime5;
  if (size_ >= kBlock) {
    h = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
    for (const uint64_t lane : lanes_) h = merge(h, lane);
  }
  h += size_;
  const uint8_t* p = rest_;
  size_t left = size_ % kBlock;
  for (; left >= 8; p += 8, left -= 8) h = std::rotl(h ^ round(0, word<uint64_t>(p)), 27) * kPrime1 + kPrime4;
  for (; left >= 4; p += 4, left -= 4) h = std::rotl(h ^ word<uint32_t>(p) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; left != 0; ++p, --left) h = std::rotl(h ^ *p * kPrime5, 11) * kPrime1;
  h = (h ^ h >> 33) * kPrime2;
  h = (h ^ h >> 29) * kPrime3;
  return h ^ h >> 32;
}

uint64_t checksum(const void* data, size_t size) {
  Checksum sum;
  sum.add(data, size);
  return sum.value();
}

}  // namespace dsv4
