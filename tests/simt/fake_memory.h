// Memory of the fake runtime. Device memory is host memory that keeps to itself: each block ends at a page that must
// not be touched and begins behind another one, is full of NaNs when it is new, and is unmapped when it is freed; a
// strict device cannot be touched at all but by kernels and copies. Page-locked memory is known by its address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace dsv4::simt {

class FakeMemory {
 public:
  // nullptr where there is no more.
  void* allocate_device(size_t bytes);
  bool free_device(void* p);  // false: no such block
  void* allocate_host(size_t bytes);
  bool free_host(void* p);

  // Whether [p, p + bytes) lies in one block of the kind.
  bool on_device(const void* p, size_t bytes) const { return holds(device_, p, bytes); }
  bool locked(const void* p, size_t bytes) const { return holds(host_, p, bytes); }
  // Whether any of it is device memory, or the pages around it.
  bool near_device(const void* p) const;
  // "byte 40 behind a device block of 4096 bytes", or "" for an address that has nothing to do with device memory.
  std::string describe(uintptr_t address) const;

  size_t device_bytes() const { return device_bytes_; }
  size_t device_blocks() const { return device_.size(); }
  size_t host_blocks() const { return host_.size(); }

  // Device memory can be touched while a MemoryAccess lives; otherwise only if the device is not strict.
  void open();
  void close(bool strict);

 private:
  struct Block {
    size_t bytes = 0;
    unsigned char* mapping = nullptr;  // of `mapped` bytes, the first and the last page closed
    size_t mapped = 0;
  };
  using Blocks = std::map<uintptr_t, Block>;  // by the address that was given out

  static bool holds(const Blocks& blocks, const void* p, size_t bytes);
  static void protect(const Block& block, int rights);

  Blocks device_;
  Blocks host_;
  size_t device_bytes_ = 0;
  int open_ = 0;
  bool closed_ = false;
};

}  // namespace dsv4::simt
