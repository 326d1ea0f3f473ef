// Reads a safetensors file of tests/data/golden whole. For tests only: the data is the repository's own, and the
// reader is independent of lib/checkpoint, so that both cannot be wrong in the same way.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/base/number.h"

namespace dsv4::test {

struct GoldenTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const uint8_t* data = nullptr;

  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t cols() const;  // of a row: the other dimensions together; of a vector: its length
  int64_t count() const { return rows() * cols(); }
  std::vector<float> floats() const;    // F32 or BF16
  std::vector<int32_t> ints() const;    // I32
};

class GoldenFile {
 public:
  explicit GoldenFile(const std::string& path);
  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  const GoldenTensor& get(const std::string& name) const;  // throws std::runtime_error naming what is missing
  const std::map<std::string, GoldenTensor>& all() const { return tensors_; }

 private:
  std::string path_;
  std::string bytes_;
  std::map<std::string, GoldenTensor> tensors_;
};

}  // namespace dsv4::test
