// Routing: which experts a token goes to, and with what weights.
#include "backends/cuda/cuda_verbs.h"
#include "backends/cuda/row_kernels.h"

namespace dsv4::cuda {

void CudaBackend::route(const Route& out, Mat x, Mat tokens, const Gate& gate) {
  route_rows(gpu_, rows_, out, x, tokens, gate);
}

}  // namespace dsv4::cuda
