// dsv4.h, section "version, build".

#include "lib/api/guard.h"
#include "lib/api/registry.h"

#define DSV4_TEXT_(x) #x
#define DSV4_TEXT(x) DSV4_TEXT_(x)

using namespace dsv4;

uint32_t dsv4_version(void) { return DSV4_VERSION_MAJOR * 1000000u + DSV4_VERSION_MINOR * 1000u + DSV4_VERSION_PATCH; }

dsv4_status dsv4_build_info_get(dsv4_build_info* info, dsv4_error** error) {
  return api::guard(error, [&] {
    dsv4_build_info out{};
    out.version = DSV4_TEXT(DSV4_VERSION_MAJOR) "." DSV4_TEXT(DSV4_VERSION_MINOR) "." DSV4_TEXT(DSV4_VERSION_PATCH);
    out.backends = backend_names();
    out.onednn = onednn_version();
    out.cuda = cuda_version();
    out.cuda_reason = cuda_reason();
    out.isa = cpu_instruction_sets();
#if defined(__clang__)
    out.compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
    out.compiler = "gcc " __VERSION__;
#else
    out.compiler = "unknown";
#endif
    api::write_info(info, out, "info");
  });
}
