// The cuda backend and a runtime that can be made to fail: whole models keep to the rules of device memory, say what is
// missing, and come through every failing call. What else they do is in tests/gpu/cuda_model_cases.cc.
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cuda/cuda_backend.h"
#include "lib/base/error.h"
#include "tests/gpu/cuda_sequences.h"
#include "tests/simt/fake_cuda.h"

namespace dsv4::test {
namespace {

struct Fresh {  // a device nobody has touched, and nothing left on it afterwards
  Fresh() { simt::reset_fake_cuda(); }
  ~Fresh() {
    CHECK(simt::unreleased() == "");
    simt::reset_fake_cuda();
    simt::fake_device() = {};
  }
};

}  // namespace

TEST_CASE("host and device keep to their memory, and queued work does not look at what the host has changed since") {
  const Fresh fresh;
  const std::vector<int32_t> tokens = golden_tokens("micro", 60);
  std::vector<std::vector<float>> seen;
  for (const bool deferred : {false, true}) {
    simt::fake_device().deferred = deferred;
    simt::fake_device().strict = !deferred;
    const auto model = open_cuda("micro");
    Sequences s(*model, 2);
    s.step({{0, {tokens.begin(), tokens.begin() + 30}}, {1, {tokens.begin(), tokens.begin() + 9}}});
    for (size_t i = 30; i < 36; ++i) s.step({{0, {tokens[i]}}, {1, {tokens[i + 1]}}});
    seen.insert(seen.end(), s.logits.begin(), s.logits.end());
  }
  CHECK(seen[0] == seen[2]);
  CHECK(seen[1] == seen[3]);
}

TEST_CASE("decode steps are replayed, whatever sequence they are of") {
  const Fresh fresh;
  const std::vector<int32_t> tokens = golden_tokens("micro", 60);
  const auto model = open_cuda("micro");
  Sequences s(*model, 2);
  s.step({{0, {tokens.begin(), tokens.begin() + 30}}, {1, {tokens.begin(), tokens.begin() + 9}}});
  const int64_t before = simt::calls("cudaGraphLaunch");
  for (size_t i = 0; i < 8; ++i) s.step({{i % 2, {tokens[i + 30]}}});
  CHECK(simt::calls("cudaGraphLaunch") - before == 7);  // the first one runs as it is
}

TEST_CASE("weights that do not fit are refused with the bytes that are missing") {
  const Fresh fresh;
  simt::fake_device().memory = size_t{100} << 20;
  const auto backend = make_cuda_backend({});
  try {
    backend->expect_weights(uint64_t{150} << 30);
    FAIL("150 GB on a card of 100 MB");
  } catch (const Error& e) {
    CHECK(e.status() == Status::kOutOfMemoryDevice);
    CHECK(std::string(e.what()).find("bytes are missing") != std::string::npos);
  }
  CudaOptions limited;
  limited.memory_limit = 1000;
  const auto small = make_cuda_backend(limited);
  try {
    small->allocate(1001);
    FAIL("more than the limit");
  } catch (const Error& e) {
    CHECK(e.status() == Status::kOutOfMemoryDevice);
    CHECK(std::string(e.what()).find("device_memory_limit") != std::string::npos);
  }
}

TEST_CASE("no driver, no card, an old card: reasons that can be read") {
  const Fresh fresh;
  const auto reason = [] {
    try {
      make_cuda_backend({});
    } catch (const Error& e) {
      CHECK(e.status() == Status::kUnsupported);
      return std::string(e.what());
    }
    return std::string();
  };
  simt::fake_device().devices = 0;
  CHECK(reason().find("no NVIDIA GPU") != std::string::npos);
  simt::fake_device() = {};
  simt::fake_device().driver = 0;
  CHECK(reason().find("driver") != std::string::npos);
  simt::fake_device() = {};
  simt::fake_device().major = 7;
  CHECK(reason().find("compute capability 7.0") != std::string::npos);
}

TEST_CASE("a lost device is a status, again and again, and everything can be released") {
  const Fresh fresh;
  const std::vector<int32_t> tokens = golden_tokens("micro", 20);
  const auto model = open_cuda("micro");
  Sequences s(*model, 1);
  s.step({{0, tokens}});
  simt::lose_device(cudaErrorIllegalAddress);
  for (int i = 0; i < 3; ++i) {
    try {
      s.step({{0, {tokens[0]}}});
      FAIL("a lost device answered");
    } catch (const Error& e) {
      CHECK(e.status() == Status::kDeviceLost);
    }
  }
  CHECK_THROWS_AS(s.exported(0), Error);
  CHECK_THROWS_AS(model->make_state(100, false), Error);
}

namespace {

// Opens, evaluates a prompt and decodes; at the end, what the sequence holds. `s` keeps what there was of it.
struct Life {
  std::unique_ptr<Model> model;
  std::unique_ptr<Sequences> sequences;

  void live(const std::vector<int32_t>& tokens) {
    if (model == nullptr) model = open_cuda("micro");
    if (sequences == nullptr) sequences = std::make_unique<Sequences>(*model, 1);
    Sequences& s = *sequences;
    if (s.positions[0] == 0) s.step({{0, {tokens.begin(), tokens.begin() + 20}}});
    while (s.positions[0] < 24) s.step({{0, {tokens[static_cast<size_t>(s.positions[0])]}}});
  }
};

}  // namespace

TEST_CASE("every call of the runtime fails in turn: a status, nothing lost, and it goes on as if nothing had been") {
  const Fresh fresh;
  const std::vector<int32_t> tokens = golden_tokens("micro", 30);
  std::vector<float> undisturbed;
  int64_t calls = 0;
  {
    const int64_t before = simt::calls();
    Life life;
    life.live(tokens);
    undisturbed = life.sequences->logits[0];
    calls = simt::calls() - before;
  }
  REQUIRE(calls > 100);
  // Evenly spread places, with steps that share no factor with what repeats inside a life.
  constexpr int64_t kPlaces = 30;
  int failures = 0;
  for (int64_t i = 0; i < kPlaces; ++i) {
    const int64_t nth = 1 + i * calls / kPlaces;
    const cudaError_t error = i % 2 == 0 ? cudaErrorMemoryAllocation : cudaErrorInvalidValue;
    CAPTURE(nth);
    Life life;
    simt::fail_call(nth, error);
    try {
      life.live(tokens);
    } catch (const Error& e) {
      ++failures;
      CHECK((e.status() == Status::kOutOfMemoryDevice || e.status() == Status::kOutOfMemoryHost ||
             e.status() == Status::kInternal || e.status() == Status::kUnsupported));
      CHECK(std::string(e.what()).find("cuda") != std::string::npos);
    }
    simt::reset_fake_cuda();
    life.live(tokens);
    CHECK(life.sequences->logits[0] == undisturbed);
  }
  CHECK(failures >= kPlaces * 3 / 4);  // what a destructor meets is nobody's failure
}

}  // namespace dsv4::test
