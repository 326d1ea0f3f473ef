// In place of tests/support/backends_under_test.cc: the cuda backend on the executor, and nothing else. The device is the
// least forgiving: its work begins when the host waits for it, and its memory is closed to the host.
#include "backends/cuda/cuda_backend.h"
#include "tests/simt/fake_cuda.h"
#include "tests/support/backends_under_test.h"

namespace dsv4::test {

const std::vector<BackendUnderTest>& backends_under_test() {
  static const std::vector<BackendUnderTest> list = {
      {"cuda (executor)",
       [] {
         simt::fake_device().deferred = true;
         simt::fake_device().strict = true;
         return make_cuda_backend(CudaOptions{});
       },
       false}};
  return list;
}

}  // namespace dsv4::test
