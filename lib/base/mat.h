// Mat: a view of rows of numbers in a backend's memory. It owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/base/number.h"

namespace dsv4 {

struct Mat {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next

  bool empty() const { return data == nullptr || rows == 0; }
  // Rows [first, first + count) of this view.
  Mat slice(int64_t first, int64_t count) const {
    Mat m = *this;
    m.data = static_cast<uint8_t*>(data) + first * stride * dtype_bits(dtype) / 8;
    m.rows = count;
    return m;
  }
  // The same dense memory seen as rows of another width: [rows, m * n] as [rows * m, n].
  Mat reshape(int64_t new_rows, int64_t new_cols) const {
    Mat m = *this;
    m.rows = new_rows;
    m.cols = new_cols;
    m.stride = new_cols;
    return m;
  }
  // Row r as host memory of type T. Only for backends whose memory the CPU can read.
  template <class T>
  T* row(int64_t r) const {
    return static_cast<T*>(data) + r * stride;
  }
};

}  // namespace dsv4
