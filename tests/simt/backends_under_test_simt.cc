// In place of tests/support/backends_under_test.cc: the cuda backend on the executor, and nothing else. Its device's
// work begins when the host waits for it, so that a host which does not wait reads what is not there yet. (That the
// host also keeps its hands off device memory, which is slow to watch, simt_model_test holds.)
#include "backends/cuda/cuda_backend.h"
#include "tests/simt/fake_cuda.h"
#include "tests/support/backends_under_test.h"

namespace dsv4::test {

const std::vector<BackendUnderTest>& backends_under_test() {
  static const std::vector<BackendUnderTest> list = {{"cuda (executor)",
                                                      [] {
                                                        simt::fake_device().deferred = true;
                                                        return make_cuda_backend(CudaOptions{});
                                                      },
                                                      false}};
  return list;
}

}  // namespace dsv4::test
