#include "tests/simt/address_trap.h"

#include <utility>

namespace dsv4::simt {
namespace {

constexpr size_t kStack = 64 * 1024;
alignas(64) thread_local unsigned char handler_stack[kStack];
thread_local AddressTrap* innermost = nullptr;

}  // namespace

AddressTrap::AddressTrap() : outer_(std::exchange(innermost, this)) {
  stack_t stack{};
  stack.ss_sp = handler_stack;
  stack.ss_size = kStack;
  sigaltstack(&stack, &old_stack_);
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &old_segv_);
  sigaction(SIGBUS, &action, &old_bus_);
}

AddressTrap::~AddressTrap() {
  sigaction(SIGBUS, &old_bus_, nullptr);
  sigaction(SIGSEGV, &old_segv_, nullptr);
  sigaltstack(&old_stack_, nullptr);
  innermost = outer_;
}

void AddressTrap::handle(int signal, siginfo_t* info, void*) {
  AddressTrap* trap = innermost;
  if (trap == nullptr) {  // another thread's: it ends the program as it would have without us
    ::signal(signal, SIG_DFL);
    return;
  }
  trap->address_ = reinterpret_cast<uintptr_t>(info->si_addr);
  siglongjmp(trap->place_, 1);
}

}  // namespace dsv4::simt
