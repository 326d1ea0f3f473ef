// Long runs: random steps of many sequences that come and go, recorded and plain, bit for bit; at the end the device has
// as much free memory as before. DSV4_SOAK: seconds (default 5).
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cuda/cuda_backend.h"
#include "tests/gpu/cuda_sequences.h"

namespace dsv4::test {
namespace {

constexpr size_t kSequences = 12;
constexpr int64_t kContext = 600;

double soak_seconds() {
  const char* text = std::getenv("DSV4_SOAK");
  return text != nullptr ? std::atof(text) : 5.0;
}

// One random step: a few sequences with one to some dozen tokens each, mostly one.
std::vector<Sequences::Part> random_step(std::mt19937& random, const Sequences& s) {
  std::vector<Sequences::Part> parts;
  int64_t room = kStepRows;
  for (size_t i = 0; i < s.states.size(); ++i) {
    if (random() % 3 == 0) continue;
    const int64_t count = random() % 8 == 0 ? 1 + static_cast<int64_t>(random() % 40) : 1;
    if (count > room || s.positions[i] + count > kContext) continue;
    room -= count;
    Sequences::Part part{i, {}};
    for (int64_t t = 0; t < count; ++t) {
      part.tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(s.model.config().vocab)));
    }
    parts.push_back(part);
  }
  return parts;
}

// A sequence ends and another begins; or one goes back a few tokens.
void change(std::mt19937& random, Sequences& a, Sequences& b) {
  const size_t i = random() % a.states.size();
  if (random() % 2 == 0 || a.positions[i] + 50 > kContext) {
    for (Sequences* s : {&a, &b}) {
      s->states[i] = s->model.make_state(kContext, s->model.has_draft());
      s->positions[i] = 0;
    }
  } else if (a.positions[i] > kRollback) {
    const int64_t back = static_cast<int64_t>(random() % kRollback);
    a.positions[i] -= back;
    b.positions[i] -= back;
  }
}

}  // namespace

TEST_CASE("random steps of sequences that come and go: recorded ones give the bits of plain ones") {
  const auto probe = make_cuda_backend({});
  const uint64_t free_before = probe->free_device_bytes();
  {
    const auto recorded = open_cuda("micro");
    const auto plain = open_golden("micro", std::make_unique<Plain>(make_cuda_backend({})));
    Sequences a(*recorded, kSequences, kContext), b(*plain, kSequences, kContext);
    std::mt19937 random(1);
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(soak_seconds());
    int64_t steps = 0;
    for (; std::chrono::steady_clock::now() < end; ++steps) {
      if (random() % 10 == 0) change(random, a, b);
      const std::vector<Sequences::Part> parts = random_step(random, a);
      if (parts.empty()) continue;
      a.step(parts);
      b.step(parts);
      for (const Sequences::Part& part : parts) REQUIRE(a.logits[part.sequence] == b.logits[part.sequence]);
    }
    MESSAGE("steps: " << steps);
    for (size_t i = 0; i < kSequences; ++i) CHECK(a.exported(i) == b.exported(i));
  }
  CHECK(probe->free_device_bytes() + (uint64_t{64} << 20) >= free_before);  // the driver keeps a little
}

}  // namespace dsv4::test
