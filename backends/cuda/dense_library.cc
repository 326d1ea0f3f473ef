// cuBLASLt for products (dense_library.h). To the library, which counts columns first, our row-major matrices are their
// transposes: D[weight rows, rows] = op(A) · B with A = weightᵀ [cols, weight rows], transposed, and B = xᵀ [cols,
// rows].
#include "backends/cuda/dense_library.h"

#include <cublasLt.h>

#include <algorithm>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>

#include "backends/cuda/dense_kernels.h"
#include "lib/base/dynamic_module.h"
#include "lib/base/error.h"

namespace dsv4::cuda {
namespace {

// Rows from which the library is asked. Below, a weight's way through memory decides, and our tiles read it as it is
// stored, while the library wants it widened. Reasoned, to be tuned on a GPU.
constexpr int64_t kLeastRows = 256;
constexpr size_t kWorkspaceBytes = size_t{32} << 20;    // what NVIDIA recommends for Hopper
constexpr size_t kMostWidenedBytes = size_t{64} << 20;  // more is widened in pieces
constexpr int64_t kPieceUnit = 128;                     // a piece has a multiple of so many weight rows
constexpr uint32_t kAlignment = 16;                     // bytes: of every matrix's beginning and rows
constexpr size_t kMostPlans = 512;

#ifdef DSV4_SIMT
constexpr const char* kNames[] = {""};  // the system's library knows a GPU, but not the executor's memory
#else
constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
#endif

// Throws where a call failed.
void check_call(cublasStatus_t status, const char* function) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(status == CUBLAS_STATUS_ALLOC_FAILED ? Status::kOutOfMemoryHost : Status::kInternal,
       "cuda: {} failed: status {}", function, static_cast<int>(status));
}

struct Functions {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
};

// The functions of an opened library. Error kUnsupported names one that is missing.
Functions resolve(void* module) {
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(find_symbol(module, name));
    if (function == nullptr) fail(Status::kUnsupported, "cuda: cuBLASLt: {} is missing", name);
  };
  Functions f;
  find(f.create, "cublasLtCreate");
  find(f.destroy, "cublasLtDestroy");
  find(f.version, "cublasLtGetVersion");
  find(f.desc_create, "cublasLtMatmulDescCreate");
  find(f.desc_set, "cublasLtMatmulDescSetAttribute");
  find(f.desc_destroy, "cublasLtMatmulDescDestroy");
  find(f.layout_create, "cublasLtMatrixLayoutCreate");
  find(f.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(f.preference_create, "cublasLtMatmulPreferenceCreate");
  find(f.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(f.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(f.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(f.matmul, "cublasLtMatmul");
  return f;
}

// What the library makes and we destroy.
template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, cublasStatus_t (*)(Handle)>;

// A product but for its addresses.
struct Shape {
  int64_t rows;         // of x and out
  int64_t weight_rows;  // of a piece
  int64_t cols;
  int64_t x_stride;
  int64_t out_stride;
  bool out_f32;

  auto operator<=>(const Shape&) const = default;
};

struct Plan {
  Owned<cublasLtMatrixLayout_t> weight, x, out;
  std::optional<cublasLtMatmulAlgo_t> algorithm;  // none: the library has none for this shape
};

}  // namespace

class DenseLibrary::Loaded {
 public:
  explicit Loaded(void* module)
      : f_(resolve(module)),
        handle_(made<cublasLtHandle_t>("cublasLtCreate", f_.destroy, f_.create)),
        product_(made<cublasLtMatmulDesc_t>("cublasLtMatmulDescCreate", f_.desc_destroy, f_.desc_create,
                                            CUBLAS_COMPUTE_32F, CUDA_R_32F)),
        preference_(made<cublasLtMatmulPreference_t>("cublasLtMatmulPreferenceCreate", f_.preference_destroy,
                                                     f_.preference_create)) {
    if (f_.version() < 12000) {  // "13" and "12" are files' names only
      fail(Status::kUnsupported, "cuda: cuBLASLt: version {} found, 12000 or newer expected", f_.version());
    }
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check_call(f_.desc_set(product_.get(), CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
               "cublasLtMatmulDescSetAttribute");
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
    // Sums are cut nowhere, so none is rounded to BF16 halfway, and equal steps give equal bits.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    for (const auto matrix : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(matrix, kAlignment);
    }
  }

  bool knows(const Shape& shape) const { return plans_.count(shape) > 0; }
  // Null where the library has no algorithm.
  const Plan* plan(const Shape& shape) {
    auto known = plans_.find(shape);
    if (known == plans_.end()) {
      Plan made = make(shape);
      if (plans_.size() >= kMostPlans) plans_.clear();
      known = plans_.emplace(shape, std::move(made)).first;
    }
    return known->second.algorithm ? &known->second : nullptr;
  }

  void multiply(const Gpu& gpu, const Plan& plan, const bf16* weight, const bf16* x, void* out,
                const DeviceBuffer& workspace) const {
    const float one = 1.0f, zero = 0.0f;
    const cublasStatus_t status = f_.matmul(handle_.get(), product_.get(), &one, weight, plan.weight.get(), x,
                                            plan.x.get(), &zero, out, plan.out.get(), out, plan.out.get(),
                                            &*plan.algorithm, workspace.as<void>(), workspace.size(), gpu.stream());
    if (status == CUBLAS_STATUS_EXECUTION_FAILED) gpu.synchronize();  // says so where it is the device that is lost
    check_call(status, "cublasLtMatmul");
  }

 private:
  template <class Handle, class Create, class... Args>
  static Owned<Handle> made(const char* name, cublasStatus_t (*destroy)(Handle), Create create, Args... args) {
    Handle handle = nullptr;
    check_call(create(&handle, args...), name);
    return {handle, destroy};
  }

  template <class T>
  void prefer(cublasLtMatmulPreferenceAttributes_t which, T value) {
    check_call(f_.preference_set(preference_.get(), which, &value, sizeof(value)),
               "cublasLtMatmulPreferenceSetAttribute");
  }

  Owned<cublasLtMatrixLayout_t> layout(cudaDataType_t type, int64_t rows, int64_t cols, int64_t stride) const {
    return made<cublasLtMatrixLayout_t>("cublasLtMatrixLayoutCreate", f_.layout_destroy, f_.layout_create, type,
                                        static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), stride);
  }

  Plan make(const Shape& s) const {
    Plan plan{layout(CUDA_R_16BF, s.cols, s.weight_rows, s.cols), layout(CUDA_R_16BF, s.cols, s.rows, s.x_stride),
              layout(s.out_f32 ? CUDA_R_32F : CUDA_R_16BF, s.weight_rows, s.rows, s.out_stride), std::nullopt};
    cublasLtMatmulHeuristicResult_t best = {};
    int count = 0;
    const cublasStatus_t status = f_.heuristic(handle_.get(), product_.get(), plan.weight.get(), plan.x.get(),
                                               plan.out.get(), plan.out.get(), preference_.get(), 1, &best, &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_ARCH_MISMATCH) return plan;
    check_call(status, "cublasLtMatmulAlgoGetHeuristic");
    if (count == 1 && best.state == CUBLAS_STATUS_SUCCESS && best.workspaceSize <= kWorkspaceBytes) {
      plan.algorithm = best.algo;
    }
    return plan;
  }

  Functions f_;
  Owned<cublasLtHandle_t> handle_;
  Owned<cublasLtMatmulDesc_t> product_;
  Owned<cublasLtMatmulPreference_t> preference_;
  std::map<Shape, Plan> plans_;
};

namespace {

Shape shape_of(const ProductJob& job, int64_t rows, int64_t weight_rows) {
  return {rows, weight_rows, job.weight.cols, job.x_stride, job.out_stride, job.out_f32};
}

int64_t element_bytes(const ProductJob& job) { return job.out_f32 ? 4 : 2; }

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kAlignment == 0; }

bool is_recording(const Gpu& gpu) {
  cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(gpu.stream(), &recording), "asking whether a step is being recorded");
  return recording != cudaStreamCaptureStatusNone;
}

}  // namespace

DenseLibrary::DenseLibrary(const Gpu& gpu, std::string path) : gpu_(gpu), path_(std::move(path)) {}
DenseLibrary::~DenseLibrary() = default;

void DenseLibrary::open() {
  void* module = nullptr;
  for (const char* name : kNames) {
    const std::string path = path_.empty() ? name : path_;
    if (module == nullptr && !path.empty()) module = open_module(path, reason_);
  }
  if (module == nullptr) {
    reason_ = "cuBLASLt: " + (reason_.empty() ? "no library was given" : reason_);
    return;
  }
  try {
    loaded_ = std::make_unique<Loaded>(module);
    reason_.clear();
  } catch (const Error& error) {  // too old, or without the device that it wants
    reason_ = error.what();
  }
}

void DenseLibrary::grow(DeviceBuffer& buffer, size_t bytes, const char* what) {
  try {
    buffer.grow(gpu_, bytes, what);
  } catch (const Error& error) {
    if (error.status() != Status::kOutOfMemoryDevice) throw;
    reason_ = error.what();
  }
}

void DenseLibrary::reserve(const Limits& limits) {
  if (limits.rows < kLeastRows) return;
  if (loaded_ == nullptr && reason_.empty()) open();
  if (loaded_ == nullptr) return;
  grow(workspace_, kWorkspaceBytes, "workspace of cuBLASLt");
  const size_t largest = static_cast<size_t>(limits.outer * limits.inner) * sizeof(bf16);
  grow(widened_, std::min(largest, kMostWidenedBytes), "widened weights");
}

int64_t DenseLibrary::piece_rows(const WeightView& weight) const {
  if (weight.dtype == DType::kBF16) return weight.rows;
  const int64_t room = static_cast<int64_t>(widened_.size() / sizeof(bf16)) / weight.cols;
  return room >= weight.rows ? weight.rows : room / kPieceUnit * kPieceUnit;
}

std::string_view DenseLibrary::refusal(const ProductJob& job, int64_t rows) {
  const WeightView& w = job.weight;
  if (rows < kLeastRows) return "few rows";
  if (w.dtype == DType::kF32) return "an F32 weight";
  if (job.groups > 1) return "groups of columns";
  if (w.rows % 8 != 0 || w.cols % 8 != 0) return "weight rows or columns are no multiple of 8";
  if (!job.aligned || !aligned(w.data) || !aligned(job.out) || job.out_stride * element_bytes(job) % kAlignment != 0) {
    return "a matrix whose rows do not begin at multiples of 16 bytes";
  }
  if (w.dtype != DType::kBF16 && !job.paired) return "a quantised weight with an input in natural order";
  const std::string_view reason = reason_;
  if (loaded_ == nullptr) return reason.empty() ? "steps of so many rows were not reserved" : reason;
  if (workspace_.size() == 0) return reason;
  const int64_t step = piece_rows(w);
  if (step == 0) return reason.empty() ? "no room for widened weights was reserved" : reason;

  const Shape piece = shape_of(job, rows, step), last = shape_of(job, rows, (w.rows - 1) % step + 1);
  if ((!loaded_->knows(piece) || !loaded_->knows(last)) && is_recording(gpu_)) return "a new shape in a recorded step";
  if (loaded_->plan(piece) == nullptr || loaded_->plan(last) == nullptr) return "no algorithm of the library";
  return {};
}

void DenseLibrary::multiply(const ProductJob& job, int64_t rows) {
  const WeightView& w = job.weight;
  const int64_t step = piece_rows(w);
  for (int64_t first = 0; first < w.rows; first += step) {
    const int64_t count = std::min(step, w.rows - first);
    const Plan* plan = loaded_->plan(shape_of(job, rows, count));
    if (plan == nullptr) fail(Status::kInternal, "cuda: a product that cuBLASLt had refused");
    const bf16* weight = reinterpret_cast<const bf16*>(w.data);
    if (w.dtype != DType::kBF16) {
      widen_rows(gpu_, widened_.as<bf16>(), w, first, count);
      weight = widened_.as<bf16>();
    }
    void* out = static_cast<uint8_t*>(job.out) + first * element_bytes(job);
    loaded_->multiply(gpu_, *plan, weight, job.x, out, workspace_);
  }
}

}  // namespace dsv4::cuda
