// Products of many rows by cuBLASLt: out[rows, weight.rows] = x[rows, cols] · weight[weight.rows, cols]ᵀ, BF16 times
// BF16 in FP32, one rounding to BF16 at the end or none. The candidate in front of our own kernels (product_kernels.h)
// where a machine has the library: it is opened at run time and nothing is linked, so it may be missing.
// Quantised weights are widened first (dense_kernels.h), in pieces of as many rows as the scratch holds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "backends/cuda/gpu.h"
#include "backends/cuda/product_kernels.h"

namespace dsv4::cuda {

class DenseLibrary {
 public:
  // `path`: of the library; empty: libcublasLt wherever the system finds it.
  DenseLibrary(const Gpu& gpu, std::string path);
  ~DenseLibrary();
  DenseLibrary(const DenseLibrary&) = delete;
  DenseLibrary& operator=(const DenseLibrary&) = delete;

  // Opens the library the first time that steps may have enough rows for it, and takes its memory. Neither a library
  // that cannot be used nor memory that is not there is an error: refusal() says so.
  void reserve(const Limits& limits);

  // Why the library does not take this product; empty: multiply() does. Makes the product's plans where they are new,
  // unless a step is being recorded.
  std::string_view refusal(const ProductJob& job, int64_t rows);
  // Queues a product that was not refused.
  void multiply(const ProductJob& job, int64_t rows);

 private:
  class Loaded;  // the library's functions, its handle, plans by shape

  void open();
  void grow(DeviceBuffer& buffer, size_t bytes, const char* what);
  int64_t piece_rows(const WeightView& weight) const;  // weight rows of one call to the library; 0: no room for any

  const Gpu& gpu_;
  std::string path_;
  std::string reason_;  // why there is no library or no memory for it
  std::unique_ptr<Loaded> loaded_;
  DeviceBuffer workspace_;  // the library's own
  DeviceBuffer widened_;    // BF16 [rows of a piece, cols]: a quantised weight
};

}  // namespace dsv4::cuda
