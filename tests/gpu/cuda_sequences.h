// Whole models on the cuda backend, driven step by step: what its tests share, on a GPU and on the executor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/backend/decorator.h"
#include "lib/model/model.h"

namespace dsv4::test {

constexpr int64_t kStepRows = 128;

// A golden checkpoint on a backend, opened as the library opens one.
std::unique_ptr<Model> open_golden(const std::string& name, std::unique_ptr<Backend> backend);
std::unique_ptr<Model> open_cuda(const std::string& name);

std::vector<int32_t> golden_tokens(const std::string& name, size_t count);

// A backend whose steps are never recorded.
class Plain final : public Decorator {
 public:
  using Decorator::Decorator;
};

// Some sequences of one model, evaluated by steps of the test's choosing.
struct Sequences {
  explicit Sequences(Model& m, size_t count, int64_t room = 400);
  struct Part {
    size_t sequence;
    std::vector<int32_t> tokens;
  };
  void step(const std::vector<Part>& parts);  // all parts in one step
  std::vector<uint8_t> exported(size_t sequence) const;
  std::vector<StatePart> parts(int64_t length) const;

  Model& model;
  int64_t context;
  std::vector<std::unique_ptr<SequenceState>> states;
  std::vector<int64_t> positions;
  std::vector<std::vector<float>> logits;  // after the newest token
};

double kl(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace dsv4::test
