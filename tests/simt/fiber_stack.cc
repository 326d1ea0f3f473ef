#include "tests/simt/fiber_stack.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace dsv4::simt {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kGuard = 1 << 20;  // a frame larger than a page must not step over it
constexpr size_t kStack = 128 * 1024;
constexpr size_t kStagger = 320;  // bytes between the tops of neighbours, modulo a page

}  // namespace

FiberStack::FiberStack(size_t number) {
  void* p = mmap(nullptr, kGuard + kStack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<unsigned char*>(p);
  if (mprotect(base_ + kGuard, kStack, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  top_ = base_ + kGuard + kStack - number * kStagger % kPage / 64 * 64;
  size_ = static_cast<size_t>(top_ - base_) - kGuard;
}

FiberStack::~FiberStack() {
  if (base_ != nullptr) munmap(base_, kGuard + kStack);
}

FiberStack::FiberStack(FiberStack&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), top_(other.top_), size_(other.size_) {}

bool FiberStack::guards(uintptr_t address) const { return address - reinterpret_cast<uintptr_t>(base_) < kGuard; }

}  // namespace dsv4::simt
