// The stack of a fiber: mapped with pages below it that must not be touched, so that one that overflows is a signal.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsv4::simt {

class FiberStack {
 public:
  explicit FiberStack(size_t number);  // neighbours' tops lie at different places of a page, or they share cache sets
  ~FiberStack();
  FiberStack(FiberStack&& other) noexcept;
  FiberStack& operator=(FiberStack&&) = delete;

  void* top() const { return top_; }
  size_t size() const { return size_; }
  bool guards(uintptr_t address) const;  // whether it is in the pages below

 private:
  unsigned char* base_ = nullptr;
  unsigned char* top_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dsv4::simt
