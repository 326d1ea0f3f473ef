#include "tests/support/golden_file.h"

#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace dsv4::test {
namespace {

DType parse_dtype(const std::string& name) {
  static const std::map<std::string, DType> names = {
      {"F32", DType::kF32}, {"BF16", DType::kBF16}, {"F8_E4M3", DType::kF8E4M3}, {"F8_E8M0", DType::kF8E8M0},
      {"I8", DType::kI8},   {"U8", DType::kU8},     {"I32", DType::kI32},        {"I64", DType::kI64}};
  return names.at(name);
}

}  // namespace

int64_t GoldenTensor::cols() const {
  int64_t n = shape.size() == 1 ? shape[0] : 1;
  for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
  return n;
}

std::vector<float> GoldenTensor::floats() const {
  std::vector<float> out(static_cast<size_t>(count()));
  for (size_t i = 0; i < out.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(&out[i], data + 4 * i, 4);
    } else if (dtype == DType::kBF16) {
      bf16 v;
      std::memcpy(&v, data + 2 * i, 2);
      out[i] = to_float(v);
    } else {
      throw std::runtime_error("golden tensor is neither F32 nor BF16");
    }
  }
  return out;
}

std::vector<int32_t> GoldenTensor::ints() const {
  if (dtype != DType::kI32) throw std::runtime_error("golden tensor is not I32");
  std::vector<int32_t> out(static_cast<size_t>(count()));
  std::memcpy(out.data(), data, out.size() * 4);
  return out;
}

GoldenFile::GoldenFile(const std::string& path) : path_(path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  std::ostringstream all;
  all << in.rdbuf();
  bytes_ = std::move(all).str();
  uint64_t header = 0;
  std::memcpy(&header, bytes_.data(), 8);
  const auto json = nlohmann::json::parse(bytes_.substr(8, header));
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") continue;
    GoldenTensor t;
    t.dtype = parse_dtype(entry.at("dtype").get<std::string>());
    t.shape = entry.at("shape").get<std::vector<int64_t>>();
    const auto offset = entry.at("data_offsets").at(0).get<uint64_t>();
    t.data = reinterpret_cast<const uint8_t*>(bytes_.data()) + 8 + header + offset;
    tensors_[name] = t;
  }
}

const GoldenTensor& GoldenFile::get(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) throw std::runtime_error(path_ + ": no tensor " + name);
  return it->second;
}

}  // namespace dsv4::test
