// Verbs of the residual state X, m streams of n: embedding, hyper-connections, the heads' input, the draft head's.
#include "backends/cuda/cuda_verbs.h"
#include "backends/cuda/row_kernels.h"

namespace dsv4::cuda {

void CudaBackend::embed(Mat X, Mat tokens, const Weight& table) { embed_rows(gpu_, X, tokens, table); }

void CudaBackend::hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) {
  mix_streams(gpu_, rows_, x, mix, X, Mat{}, hc);
}

void CudaBackend::hc_post(Mat X, Mat y, Mat mix) { spread_streams(gpu_, X, y, mix); }

void CudaBackend::hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) {
  mix_streams(gpu_, rows_, x, mix, X, y, next);
}

void CudaBackend::hc_head(Mat x, Mat X, const HyperConnection& head) { head_streams(gpu_, rows_, x, X, head); }

void CudaBackend::merge(Mat X, Mat e, Mat h) { merge_streams(gpu_, X, e, h); }

}  // namespace dsv4::cuda
