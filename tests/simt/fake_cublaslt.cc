// A cuBLASLt without a device, as a shared library of its own: the functions that backends/cuda/dense_library.cc asks
// for, with the documented meaning, over the memory of the fake CUDA runtime, at once (streams that defer their work
// are not known here). Stricter than the real one where that shows mistakes: what it has made is counted, matrices must
// be aligned as the preference promised, the workspace is overwritten, and where a preference allows sums to meet in
// the output's type, they do, so that one rounding too many is seen.
#pragma GCC visibility push(default)
#include <cublasLt.h>
#pragma GCC visibility pop

#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/base/number.h"

#define DSV4_FAKE_EXPORT extern "C" __attribute__((visibility("default")))

struct cublasLtContext {};

namespace {

using dsv4::bf16;

struct Desc {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t transposed_a = CUBLAS_OP_N;
  int32_t transposed_b = CUBLAS_OP_N;
};

struct Layout {
  cudaDataType_t type;
  uint64_t rows;
  uint64_t cols;
  int64_t stride;

  bool operator==(const Layout&) const = default;
  uint64_t bytes() const { return type == CUDA_R_32F ? 4 : 2; }
  bool sound() const { return rows > 0 && cols > 0 && stride >= static_cast<int64_t>(rows); }
};

struct Preference {
  uint64_t workspace = 0;
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};

// What lies in the opaque algorithm.
struct Algorithm {
  uint32_t magic = 0;
  uint32_t split = 0;  // sums of halves meet in the output's type
  uint32_t alignment[4] = {};
  uint64_t workspace = 0;
  uint64_t shape[3] = {};  // m, n, k
};
constexpr uint32_t kMagic = 0x4c744d6d;
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

struct Fake {
  std::set<const void*> alive;
  std::map<std::string, int64_t> calls;
  std::string failing;
  cublasStatus_t failure = CUBLAS_STATUS_SUCCESS;
};
Fake& fake() {
  static Fake state;
  return state;
}

// Counts the call; what it has to answer before it does anything.
cublasStatus_t begin(const char* function) {
  ++fake().calls[function];
  return fake().failing == function ? fake().failure : CUBLAS_STATUS_SUCCESS;
}

bool alive(const void* p) { return fake().alive.count(p) > 0; }

template <class Handle, class T>
cublasStatus_t create(Handle* handle, const char* function, T value) {
  if (const cublasStatus_t failed = begin(function); failed != CUBLAS_STATUS_SUCCESS) return failed;
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  auto* made = new T(value);
  fake().alive.insert(made);
  *handle = reinterpret_cast<Handle>(made);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T, class Handle>
cublasStatus_t destroy(Handle handle) {
  if (fake().alive.erase(handle) == 0) return CUBLAS_STATUS_INVALID_VALUE;
  delete reinterpret_cast<T*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t set(T& to, const void* from, size_t bytes) {
  if (from == nullptr || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// A product as its descriptors say.
struct Problem {
  const Desc* desc;
  const Layout* layouts[4];  // A, B, C, D
  uint64_t m, n, k;
};

cublasStatus_t read(Problem& p, const void* desc, const void* a, const void* b, const void* c, const void* d) {
  if (!alive(desc) || !alive(a) || !alive(b) || !alive(c) || !alive(d)) return CUBLAS_STATUS_INVALID_VALUE;
  p.desc = static_cast<const Desc*>(desc);
  const void* all[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    p.layouts[i] = static_cast<const Layout*>(all[i]);
    if (!p.layouts[i]->sound()) return CUBLAS_STATUS_INVALID_VALUE;
  }
  const auto& [A, B, C, D] = p.layouts;
  const bool ta = p.desc->transposed_a != CUBLAS_OP_N, tb = p.desc->transposed_b != CUBLAS_OP_N;
  p.m = ta ? A->cols : A->rows;
  p.k = ta ? A->rows : A->cols;
  p.n = tb ? B->rows : B->cols;
  if ((tb ? B->cols : B->rows) != p.k || C->rows != p.m || C->cols != p.n || D->rows != p.m || D->cols != p.n) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool outputs = C->type == D->type && (D->type == CUDA_R_32F || D->type == CUDA_R_16BF);
  const bool inputs = A->type == CUDA_R_16BF && B->type == CUDA_R_16BF;
  const bool sums = p.desc->compute == CUBLAS_COMPUTE_32F && p.desc->scale == CUDA_R_32F;
  return outputs && inputs && sums ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

float element(const void* matrix, const Layout& layout, uint64_t row, uint64_t col) {
  const uint64_t at = col * static_cast<uint64_t>(layout.stride) + row;
  return layout.type == CUDA_R_32F ? static_cast<const float*>(matrix)[at]
                                   : dsv4::to_float(static_cast<const bf16*>(matrix)[at]);
}

// op(matrix) as rows of k: [count, k].
std::vector<float> rows_of(const void* matrix, const Layout& layout, bool k_first, uint64_t count, uint64_t k) {
  std::vector<float> rows(count * k);
  for (uint64_t i = 0; i < count; ++i) {
    for (uint64_t j = 0; j < k; ++j) {
      rows[i * k + j] = k_first ? element(matrix, layout, j, i) : element(matrix, layout, i, j);
    }
  }
  return rows;
}

float sum_of(const float* a, const float* b, uint64_t first, uint64_t end) {
  float sum = 0.0f;
  for (uint64_t i = first; i < end; ++i) sum += a[i] * b[i];
  return sum;
}

void multiply(const Problem& p, bool split, float alpha, float beta, const void* a, const void* b, const void* c,
              void* d) {
  const Layout& out = *p.layouts[3];
  const std::vector<float> left = rows_of(a, *p.layouts[0], p.desc->transposed_a != CUBLAS_OP_N, p.m, p.k);
  const std::vector<float> right = rows_of(b, *p.layouts[1], p.desc->transposed_b == CUBLAS_OP_N, p.n, p.k);
  for (uint64_t col = 0; col < p.n; ++col) {
    for (uint64_t row = 0; row < p.m; ++row) {
      const float *l = left.data() + row * p.k, *r = right.data() + col * p.k;
      float sum = 0.0f;
      if (split && out.type == CUDA_R_16BF) {
        const float half = dsv4::to_float(dsv4::to_bf16(sum_of(l, r, 0, p.k / 2)));
        sum = half + dsv4::to_float(dsv4::to_bf16(sum_of(l, r, p.k / 2, p.k)));
      } else {
        sum = sum_of(l, r, 0, p.k);
      }
      float value = alpha * sum;
      if (beta != 0.0f) value += beta * element(c, *p.layouts[2], row, col);
      const uint64_t at = col * static_cast<uint64_t>(out.stride) + row;
      if (out.type == CUDA_R_32F) {
        static_cast<float*>(d)[at] = value;
      } else {
        static_cast<bf16*>(d)[at] = dsv4::to_bf16(value);
      }
    }
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------------- what tests ask for

// Calls of `function` answer `status` from now on (0: no longer).
DSV4_FAKE_EXPORT void dsv4_fake_cublaslt_fail(const char* function, int status) {
  fake().failing = function;
  fake().failure = static_cast<cublasStatus_t>(status);
}
DSV4_FAKE_EXPORT int64_t dsv4_fake_cublaslt_calls(const char* function) { return fake().calls[function]; }
DSV4_FAKE_EXPORT int64_t dsv4_fake_cublaslt_alive() { return static_cast<int64_t>(fake().alive.size()); }

// --------------------------------------------------------------------------------------------------------- cublasLt.h

size_t cublasLtGetVersion() { return 130000; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return create(handle, __func__, cublasLtContext{}); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return destroy<cublasLtContext>(handle); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  return create(desc, __func__, Desc{compute, scale});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return destroy<Desc>(desc); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t which,
                                              const void* value, size_t bytes) {
  if (const cublasStatus_t failed = begin(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  if (!alive(handle)) return CUBLAS_STATUS_INVALID_VALUE;
  Desc& desc = *reinterpret_cast<Desc*>(handle);
  if (which == CUBLASLT_MATMUL_DESC_TRANSA) return set(desc.transposed_a, value, bytes);
  if (which == CUBLASLT_MATMUL_DESC_TRANSB) return set(desc.transposed_b, value, bytes);
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t stride) {
  return create(layout, __func__, Layout{type, rows, cols, stride});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return destroy<Layout>(layout); }

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create(preference, __func__, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy<Preference>(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t which, const void* value,
                                                    size_t bytes) {
  if (const cublasStatus_t failed = begin(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  if (!alive(handle)) return CUBLAS_STATUS_INVALID_VALUE;
  Preference& preference = *reinterpret_cast<Preference*>(handle);
  switch (which) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(preference.workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(preference.reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(preference.alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(preference.alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(preference.alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(preference.alignment[3], value, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
  if (const cublasStatus_t failed = begin(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  if (!alive(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!alive(preference) || requested <= 0 || results == nullptr || returned == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  *returned = 0;
  Problem problem;
  if (const cublasStatus_t bad = read(problem, desc, a, b, c, d); bad != CUBLAS_STATUS_SUCCESS) return bad;
  const Preference& prefer = *reinterpret_cast<const Preference*>(preference);
  for (int i = 0; i < 4; ++i) {  // tensor cores' loads
    const Layout& layout = *problem.layouts[i];
    const uint64_t stride = static_cast<uint64_t>(layout.stride) * layout.bytes();
    if (prefer.alignment[i] % 16 != 0 || stride % 16 != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  Algorithm algorithm;
  algorithm.magic = kMagic;
  algorithm.split = (prefer.reductions & CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE) != 0;
  std::memcpy(algorithm.alignment, prefer.alignment, sizeof(algorithm.alignment));
  algorithm.workspace = prefer.workspace < (1u << 20) ? prefer.workspace : (1u << 20);
  algorithm.shape[0] = problem.m;
  algorithm.shape[1] = problem.n;
  algorithm.shape[2] = problem.k;
  results[0] = {};
  std::memcpy(&results[0].algo, &algorithm, sizeof(algorithm));
  results[0].workspaceSize = algorithm.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* A,
                              cublasLtMatrixLayout_t a, const void* B, cublasLtMatrixLayout_t b, const void* beta,
                              const void* C, cublasLtMatrixLayout_t c, void* D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspace_bytes, cudaStream_t) {
  if (const cublasStatus_t failed = begin(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  if (!alive(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  Problem problem;
  if (const cublasStatus_t bad = read(problem, desc, a, b, c, d); bad != CUBLAS_STATUS_SUCCESS) return bad;
  if (alpha == nullptr || beta == nullptr || algo == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Algorithm algorithm;
  std::memcpy(static_cast<void*>(&algorithm), algo, sizeof(algorithm));
  const uint64_t shape[3] = {problem.m, problem.n, problem.k};
  if (algorithm.magic != kMagic || std::memcmp(shape, algorithm.shape, sizeof(shape)) != 0) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const void* matrices[4] = {A, B, C, D};
  for (int i = 0; i < 4; ++i) {
    if (matrices[i] == nullptr || reinterpret_cast<uintptr_t>(matrices[i]) % algorithm.alignment[i] != 0) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
  }
  if (C == D && !(*problem.layouts[2] == *problem.layouts[3])) return CUBLAS_STATUS_INVALID_VALUE;
  if (workspace_bytes < algorithm.workspace || reinterpret_cast<uintptr_t>(workspace) % 256 != 0) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (algorithm.workspace > 0) std::memset(workspace, 0x5a, algorithm.workspace);
  multiply(problem, algorithm.split != 0, *static_cast<const float*>(alpha), *static_cast<const float*>(beta), A, B, C,
           D);
  return CUBLAS_STATUS_SUCCESS;
}
