// The floating-point mode that results are defined in: round to nearest, subnormal numbers as they are. A host may have
// set another on the thread that calls (flush-to-zero is common in audio and graphics): it gets its own back.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace dsv4::cpu {

class FloatMode {
 public:
  FloatMode() : before_(read()) {
    if ((before_ & ~kFlags) != kDefault) set_default();
  }
  ~FloatMode() {
    if ((before_ & ~kFlags) != kDefault) write(before_);
  }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;
  static void set_default() { write(kDefault); }  // for good: on threads of our own

 private:
#if defined(__x86_64__)
  using Register = unsigned;
  static constexpr Register kDefault = 0x1f80;  // all exceptions masked
  static constexpr Register kFlags = 0x3f;      // exceptions that have happened: no mode
  static Register read() { return _mm_getcsr(); }
  static void write(Register mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Register = uint64_t;
  static constexpr Register kDefault = 0;  // no flushing (FZ), no default NaN (DN), no traps
  static constexpr Register kFlags = 0;    // what has happened is in another register, FPSR
  // "memory": what is computed between the two stays there.
  static Register read() {
    Register mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
    return mode;
  }
  static void write(Register mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else
  using Register = unsigned;
  static constexpr Register kDefault = 0, kFlags = 0;
  static Register read() { return kDefault; }
  static void write(Register) {}
#endif
  Register before_;
};

}  // namespace dsv4::cpu
