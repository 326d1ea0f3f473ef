// The class behind make_cuda_backend(). One pair of files per subject: the verbs' host side in .cc, their kernels in .cu
// behind plain functions in a .h (kernels' launches only: no allocation, no waiting).
#pragma once

#include <memory>
#include <string>

#include "backends/cuda/attention_kernels.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/cuda_graphs.h"
#include "backends/cuda/cuda_memory.h"
#include "backends/cuda/cuda_state.h"
#include "backends/cuda/dense_library.h"
#include "backends/cuda/expert_kernels.h"
#include "backends/cuda/gpu.h"
#include "backends/cuda/product_kernels.h"
#include "backends/cuda/row_kernels.h"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options);
  ~CudaBackend() override;

  std::string name() const override { return "cuda"; }
  std::string description() const override;
  double matrix_peak() override;
  double copy_peak() override;
  uint64_t free_device_bytes() const override;

  std::unique_ptr<Memory> allocate(size_t bytes) override;
  bool expect_weights(uint64_t bytes) override;
  Weight prepare(const HostTensor& tensor) override;
  std::unique_ptr<SequenceState> make_state(const StateShape& shape) override;
  size_t state_bytes(const StateShape& shape) const override;
  void reserve(const Limits& limits) override;
  void upload(Mat to, const void* from) override;
  void download(void* to, Mat from) override;

  void run(uint64_t key, std::span<const Run> runs, const std::function<void()>& body) override;
  void commit(std::span<const Run> runs) override;
  void synchronize() override;

  void embed(Mat X, Mat tokens, const Weight& table) override;
  void hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) override;
  void hc_post(Mat X, Mat y, Mat mix) override;
  void hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) override;
  void hc_head(Mat x, Mat X, const HyperConnection& head) override;

  void norm(Mat y, Mat x, const Weight& weight, float eps) override;
  void linear(std::span<const Product> products, Mat x) override;
  void rope(Mat table, Mat positions, Mat frequencies) override;

  void query(Mat q, Mat rope, const Query& options) override;
  void append(const Cache& cache, Mat kv, Mat rope, const Append& options) override;
  void compress(const Cache& cache, Mat k, Mat z, const Compressor& options) override;
  void index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) override;
  void attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) override;
  void project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) override;

  void route(const Route& out, Mat x, Mat tokens, const Gate& gate) override;
  void experts(Mat y, Mat x, const Route& route, const Experts& experts) override;

  void logits(Mat out, Mat x, const Weight& head) override;
  void carry(Mat previous, Mat X, std::span<const Run> runs) override;
  void merge(Mat X, Mat e, Mat h) override;

 private:
  Gpu gpu_;
  Staging staging_;           // cuda_memory.h: between host and device
  WeightMemory weights_;      // cuda_memory.h: what prepare() has put on the device
  Limits limits_;             // the largest that reserve() was told
  RowScratch rows_;           // row_kernels.h: partial sums of the hyper-connections, scores of the gate
  ProductScratch products_;   // product_kernels.h: quantised inputs, partial sums
  DenseLibrary dense_;        // dense_library.h: cuBLASLt, for products of many rows
  ExpertScratch experts_;     // expert_kernels.h: work lists, h of the picked
  AttentionScratch attention_;  // attention_kernels.h: index scores, partial sums of attend
  StepTable step_;            // cuda_state.h: the runs of the step, on the device
  Graphs graphs_;             // cuda_graphs.h: recorded steps
  int64_t recorded_generation_ = 0;  // of attention_, when graphs_ was last empty
};

}  // namespace dsv4::cuda
