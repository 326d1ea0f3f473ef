#include "tests/simt/fake_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace dsv4::simt {
namespace {

constexpr size_t kPage = 4096;
// A block ends at its last page's end but for these: what kernels may take for granted of an address.
constexpr size_t kAlignment = 16;
constexpr int kPoison = 0xff;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

void* FakeMemory::allocate_device(size_t bytes) {
  Block block;
  block.bytes = bytes;
  block.mapped = round_up(bytes, kPage) + 2 * kPage;
  void* p = mmap(nullptr, block.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  block.mapping = static_cast<unsigned char*>(p);
  std::memset(block.mapping + kPage, kPoison, block.mapped - 2 * kPage);
  mprotect(block.mapping, kPage, PROT_NONE);
  mprotect(block.mapping + block.mapped - kPage, kPage, PROT_NONE);
  if (closed_) protect(block, PROT_NONE);
  unsigned char* data = block.mapping + block.mapped - kPage - round_up(bytes, kAlignment);
  device_.emplace(reinterpret_cast<uintptr_t>(data), block);
  device_bytes_ += bytes;
  return data;
}

bool FakeMemory::free_device(void* p) {
  const auto it = device_.find(reinterpret_cast<uintptr_t>(p));
  if (it == device_.end()) return false;
  munmap(it->second.mapping, it->second.mapped);
  device_bytes_ -= it->second.bytes;
  device_.erase(it);
  return true;
}

void* FakeMemory::allocate_host(size_t bytes) {
  void* p = std::malloc(bytes > 0 ? bytes : 1);
  if (p == nullptr) return nullptr;
  std::memset(p, kPoison, bytes);
  host_.emplace(reinterpret_cast<uintptr_t>(p), Block{bytes, nullptr, 0});
  return p;
}

bool FakeMemory::free_host(void* p) {
  if (host_.erase(reinterpret_cast<uintptr_t>(p)) == 0) return false;
  std::free(p);
  return true;
}

bool FakeMemory::holds(const Blocks& blocks, const void* p, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  auto it = blocks.upper_bound(address);
  if (it == blocks.begin()) return false;
  --it;
  return address - it->first <= it->second.bytes && bytes <= it->second.bytes - (address - it->first);
}

bool FakeMemory::near_device(const void* p) const { return !describe(reinterpret_cast<uintptr_t>(p)).empty(); }

std::string FakeMemory::describe(uintptr_t address) const {
  for (const auto& [data, block] : device_) {
    const auto begin = reinterpret_cast<uintptr_t>(block.mapping);
    if (address < begin || address >= begin + block.mapped) continue;
    const std::string what = " a device block of " + std::to_string(block.bytes) + " bytes";
    if (address < data) return "byte " + std::to_string(data - address) + " before" + what;
    if (address >= data + block.bytes) return "byte " + std::to_string(address - data - block.bytes) + " behind" + what;
    return "byte " + std::to_string(address - data) + " of" + what;
  }
  return "";
}

void FakeMemory::protect(const Block& block, int rights) {
  mprotect(block.mapping + kPage, block.mapped - 2 * kPage, rights);
}

void FakeMemory::open() {
  if (open_++ > 0 || !closed_) return;
  for (const auto& [data, block] : device_) protect(block, PROT_READ | PROT_WRITE);
  closed_ = false;
}

void FakeMemory::close(bool strict) {
  if (--open_ > 0 || !strict) return;
  for (const auto& [data, block] : device_) protect(block, PROT_NONE);
  closed_ = true;
}

}  // namespace dsv4::simt
