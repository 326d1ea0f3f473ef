// The floating-point mode that results are defined in: round to nearest, subnormal numbers as they are. A host may have
// set another on the thread that calls (flush-to-zero is common in audio and graphics): it gets its own back.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace dsv4::cpu {

class FloatMode {
 public:
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;
#if defined(__x86_64__)
  FloatMode() : before_(_mm_getcsr()) {
    if ((before_ & ~kFlags) != kDefault) set_default();
  }
  ~FloatMode() {
    if ((before_ & ~kFlags) != kDefault) _mm_setcsr(before_);
  }
  static void set_default() { _mm_setcsr(kDefault); }  // for good: on threads of our own

 private:
  static constexpr unsigned kDefault = 0x1f80;  // all exceptions masked
  static constexpr unsigned kFlags = 0x3f;      // exceptions that have happened: no mode
  unsigned before_;
#else
  FloatMode() {}
  ~FloatMode() {}
  static void set_default() {}
#endif
};

}  // namespace dsv4::cpu
