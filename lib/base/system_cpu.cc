#include "lib/base/system_cpu.h"

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace dsv4 {

#if defined(__linux__) && defined(__x86_64__)
const char* request_tile_registers() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA; Linux 5.16
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? nullptr
                                                                     : "the kernel's leave to use tile registers";
}
#else
const char* request_tile_registers() { return "a system that saves tile registers"; }
#endif

#if defined(__ARM_FEATURE_DOTPROD)  // all of this build is for such processors
bool has_byte_dot_products() { return true; }
#elif defined(__linux__) && defined(__aarch64__)
bool has_byte_dot_products() {
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP, which old headers lack
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
}
#else
bool has_byte_dot_products() { return false; }
#endif

}  // namespace dsv4
