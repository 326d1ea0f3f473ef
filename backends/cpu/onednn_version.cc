// Which oneDNN this build computes with.
#include <string>

#include "backends/cpu/cpu_backend.h"

#ifdef DSV4_ONEDNN
#include <dnnl.h>
#endif

namespace dsv4 {

std::string cpu_onednn_version() {
#ifdef DSV4_ONEDNN
  const dnnl_version_t* v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
#else
  return {};
#endif
}

}  // namespace dsv4
