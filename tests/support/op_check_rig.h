// Matrices in a backend's memory for a test: made, filled and read back through the seam, so that a test body works
// for a backend whose memory the CPU cannot see.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "lib/backend/backend.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {

class Rig {
 public:
  explicit Rig(Backend& backend) : backend_(backend) {}

  Mat mat(DType dtype, int64_t rows, int64_t cols) {
    memory_.push_back(backend_.allocate(static_cast<size_t>(rows * cols * dtype_bits(dtype) / 8)));
    Mat m;
    m.data = memory_.back()->data();
    m.dtype = dtype;
    m.rows = rows;
    m.cols = m.stride = cols;
    return m;
  }
  Mat put(DType dtype, int64_t rows, int64_t cols, const void* host) {
    const Mat m = mat(dtype, rows, cols);
    if (rows > 0) backend_.upload(m, host);
    return m;
  }
  Mat put(const GoldenTensor& t) { return put(t.dtype, t.rows(), t.cols(), t.data); }
  Mat put(const std::vector<int32_t>& column) {
    return put(DType::kI32, static_cast<int64_t>(column.size()), 1, column.data());
  }
  // The table of angles for positions first .. first + rows - 1.
  Mat rope_table(int64_t first, int64_t rows, const std::vector<float>& frequencies) {
    std::vector<int32_t> positions;
    for (int64_t i = 0; i < rows; ++i) positions.push_back(static_cast<int32_t>(first + i));
    return rope_table(positions, frequencies);
  }
  Mat rope_table(const std::vector<int32_t>& positions, const std::vector<float>& frequencies) {
    const auto pairs = static_cast<int64_t>(frequencies.size());
    const Mat table = mat(DType::kF32, static_cast<int64_t>(positions.size()), 2 * pairs);
    backend_.rope(table, put(positions), put(DType::kF32, 1, pairs, frequencies.data()));
    return table;
  }

  template <class T>
  std::vector<T> get(const Mat& m) {
    std::vector<T> out(static_cast<size_t>(m.rows * m.cols));
    if (!out.empty()) backend_.download(out.data(), m);
    return out;
  }
  std::vector<float> floats(const Mat& m) {
    if (m.dtype == DType::kF32) return get<float>(m);
    const std::vector<bf16> x = get<bf16>(m);
    std::vector<float> out(x.size());
    for (size_t i = 0; i < x.size(); ++i) out[i] = to_float(x[i]);
    return out;
  }

 private:
  Backend& backend_;
  std::vector<std::unique_ptr<Memory>> memory_;
};

}  // namespace dsv4::test
