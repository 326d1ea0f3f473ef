// XXH64 (Yann Collet's xxHash, 64 bits; github.com/Cyan4973/xxHash, doc/xxhash_spec.md): finds damage, not malice.
// Four lanes of multiply and rotate over blocks of 32 bytes, merged and mixed at the end: several GB/s.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsv4 {

class Checksum {
 public:
  explicit Checksum(uint64_t seed = 0);
  void add(const void* data, size_t size);
  uint64_t value() const;  // of everything added so far

 private:
  uint64_t lanes_[4];
  uint8_t rest_[32];  // bytes that do not make a block yet
  uint64_t size_ = 0;
  uint64_t seed_;
};

uint64_t checksum(const void* data, size_t size);

}  // namespace dsv4
