// Memory, weights and steps of the cuda backend; the verbs are in the files of their subjects.
#include "backends/cuda/cuda_backend.h"

#include <algorithm>

#include "backends/cuda/cuda_verbs.h"
#include "lib/base/error.h"

namespace dsv4 {

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  return std::make_unique<cuda::CudaBackend>(options);
}

namespace cuda {
namespace {

// Steps of more rows are prefill: too many shapes to record, and long enough to hide what queueing costs.
constexpr int64_t kMostRecordedRows = 64;

size_t bytes_of(const Mat& m, int64_t elements) { return static_cast<size_t>(elements * dtype_bits(m.dtype) / 8); }

}  // namespace

CudaBackend::CudaBackend(const CudaOptions& options)
    : gpu_(options.device), staging_(gpu_), weights_(gpu_), dense_(gpu_, options.dense_library) {
  gpu_.set_limit(static_cast<size_t>(options.memory_limit));
}

CudaBackend::~CudaBackend() {
  if (cudaStreamSynchronize(gpu_.stream()) != cudaSuccess) cudaGetLastError();  // lost: told before
}

std::string CudaBackend::description() const {
  return fmt::format("cuda: {}, sm_{}, {} SMs, {:.1f} GB, CUDA {}.{}", gpu_.name(), gpu_.capability(),
                     gpu_.processors(), static_cast<double>(gpu_.total_bytes()) / 1e9, CUDART_VERSION / 1000,
                     CUDART_VERSION % 1000 / 10);
}

std::unique_ptr<Memory> CudaBackend::allocate(size_t bytes) {
  gpu_.make_current();
  return std::make_unique<CudaMemory>(gpu_, bytes);
}

bool CudaBackend::expect_weights(uint64_t bytes) {
  gpu_.make_current();
  weights_.expect(bytes);
  return true;
}

Weight CudaBackend::prepare(const HostTensor& tensor) {
  gpu_.make_current();
  return weights_.put(tensor, staging_);
}

void CudaBackend::reserve(const Limits& limits) {
  gpu_.make_current();
  gpu_.synchronize();  // what grows may be in use
  graphs_.clear();     // and what is recorded names it
  limits_.widen(limits);
  rows_.reserve(gpu_, limits_);
  products_.reserve(gpu_, limits_);
  experts_.reserve(gpu_, limits_);
  attention_.reserve(gpu_, limits_);
  step_.reserve(gpu_, limits_);
  dense_.reserve(limits_);  // last: it does without where no memory is left
}

void CudaBackend::upload(Mat to, const void* from) {
  gpu_.make_current();
  staging_.to_device(to.data, bytes_of(to, to.stride), from, bytes_of(to, to.cols), static_cast<size_t>(to.rows));
}

void CudaBackend::download(void* to, Mat from) {
  gpu_.make_current();
  staging_.to_host(to, from.data, bytes_of(from, from.stride), bytes_of(from, from.cols),
                   static_cast<size_t>(from.rows));
}

void CudaBackend::run(uint64_t key, std::span<const Run> runs, const std::function<void()>& body) {
  gpu_.make_current();
  step_.use(runs);
  int64_t rows = 0;
  bool short_runs = true;  // longer ones stage their tails, which changes what the verbs queue
  for (const Run& run : runs) {
    rows += run.rows;
    short_runs = short_runs && run.rows <= kRollback;
  }
  if (!short_runs || rows > kMostRecordedRows) return body();
  if (attention_.generation() != recorded_generation_) {
    graphs_.clear();
    recorded_generation_ = attention_.generation();
  }
  graphs_.run(gpu_, key, body);
}

void CudaBackend::synchronize() {
  gpu_.make_current();
  gpu_.synchronize();
}

}  // namespace cuda
}  // namespace dsv4
