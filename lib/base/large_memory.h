// A large piece of anonymous memory, zero when made. Ordinary pages, on purpose: a mapped checkpoint, which this stands
// in for in benchmarks, has no huge ones, and they would flatter.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsv4 {

class LargeMemory {
 public:
  LargeMemory() = default;
  explicit LargeMemory(size_t bytes);  // Error kOutOfMemoryHost
  LargeMemory(LargeMemory&& other) noexcept;
  LargeMemory& operator=(LargeMemory&& other) noexcept;
  LargeMemory(const LargeMemory&) = delete;
  LargeMemory& operator=(const LargeMemory&) = delete;
  ~LargeMemory();

  uint8_t* data() const { return data_; }  // aligned to a page
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dsv4
