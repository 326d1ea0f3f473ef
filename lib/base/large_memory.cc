#include "lib/base/large_memory.h"

#include <utility>

#include "lib/base/error.h"
#include "lib/base/windows_api.h"

#ifndef _WIN32
#include <sys/mman.h>
#endif

namespace dsv4 {

LargeMemory::LargeMemory(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
#ifdef _WIN32
  data_ = static_cast<uint8_t*>(VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
#else
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p != MAP_FAILED) data_ = static_cast<uint8_t*>(p);
#endif
  if (data_ == nullptr) fail(Status::kOutOfMemoryHost, "no memory for {} bytes", bytes);
}

LargeMemory::LargeMemory(LargeMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

LargeMemory& LargeMemory::operator=(LargeMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

LargeMemory::~LargeMemory() {
  if (data_ == nullptr) return;
#ifdef _WIN32
  VirtualFree(data_, 0, MEM_RELEASE);
#else
  munmap(data_, size_);
#endif
}

}  // namespace dsv4
