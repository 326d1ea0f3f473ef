#include "lib/base/system_cpu.h"

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>

namespace dsv4 {

const char* request_tile_registers() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA; Linux 5.16
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? nullptr
                                                                     : "the kernel's leave to use tile registers";
}

}  // namespace dsv4
#else

namespace dsv4 {

const char* request_tile_registers() { return "a system that saves tile registers"; }

}  // namespace dsv4
#endif
