// In place of tests/support/backends_under_test.cc: the cuda backend on a real GPU, and nothing else.
#include "backends/cuda/cuda_backend.h"
#include "tests/support/backends_under_test.h"

namespace dsv4::test {

const std::vector<BackendUnderTest>& backends_under_test() {
  static const std::vector<BackendUnderTest> list = {
      {"cuda", [] { return make_cuda_backend(CudaOptions{}); }, false}};
  return list;
}

}  // namespace dsv4::test
