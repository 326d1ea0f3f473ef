// While it lives, a signal for a bad address on this thread jumps to place() instead of ending the program.
// The handler runs on a stack of its own, because it may be the stack that was overflowed.
#pragma once

#include <csetjmp>
#include <csignal>
#include <cstdint>

namespace dsv4::simt {

class AddressTrap {
 public:
  AddressTrap();
  ~AddressTrap();
  AddressTrap(const AddressTrap&) = delete;
  AddressTrap& operator=(const AddressTrap&) = delete;

  sigjmp_buf& place() { return place_; }
  uintptr_t address() const { return address_; }

 private:
  static void handle(int signal, siginfo_t* info, void* context);

  sigjmp_buf place_;
  volatile uintptr_t address_ = 0;
  AddressTrap* outer_;
  stack_t old_stack_;
  struct sigaction old_segv_;
  struct sigaction old_bus_;
};

}  // namespace dsv4::simt
