// lib/sample/sampler: the logits that break samplers, and what each error says.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/sample/sampler.h"
#include "tests/support/sampler_reference.h"

using namespace dsv4;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Status status_of(const SampleCase& c, std::string* message) {
  try {
    Rng rng(1);
    pick_token(c, rng);
  } catch (const Error& e) {
    *message = e.what();
    return e.status();
  }
  return Status::kOk;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("sampler: infinite, huge and single logits") {
  Rng rng(1);
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.temperature = 1e-300}, SamplerOptions{.temperature = 1e300},
        SamplerOptions{.top_p = 0.5, .min_p = 0.1, .top_k = 3}}) {
    for (int i = 0; i < 20; ++i) {
      CHECK(pick_token({{-kInf, -kInf, -1e30f, -kInf}, options}, rng) == 2);  // all but one are out
      CHECK(pick_token({{1, kInf, 3e38f, -kInf}, options}, rng) == 1);
      CHECK(pick_token({{-7}, options}, rng) == 0);
    }
  }
  CHECK(pick_token({{-3e38f, 3e38f, 0}, {}}, rng) == 1);  // their difference overflows a float
  std::set<int32_t> drawn;
  for (int i = 0; i < 100; ++i) drawn.insert(pick_token({{kInf, 5, kInf, -kInf}, {}}, rng));
  CHECK(drawn == std::set<int32_t>{0, 2});
}

TEST_CASE("sampler: NaN of the model and of the host") {
  std::string message;
  for (double temperature : {0.0, 1.0}) {
    SampleCase c;
    c.options.temperature = temperature;
    c.logits = {0, 1, kNan, 2, kNan};
    CHECK(status_of(c, &message) == Status::kInternal);
    CHECK(has(message, "logit 2 of 5 is NaN"));
    c.mask = {3};  // not even where nobody could draw it, nor where a bias takes its place
    c.options.bias = {{2, -kInf}};
    CHECK(status_of(c, &message) == Status::kInternal);
    CHECK(has(message, "logit 2 of 5 is NaN"));
    c.logits.assign(5, 0.f);
    c.edit = [](std::span<float> logits) {
      logits[3] = kNan;
      return true;
    };
    CHECK(status_of(c, &message) == Status::kInvalidArgument);
    CHECK(has(message, "host's edit"));
    CHECK(has(message, "logit 3 of 5 NaN"));
  }
  SampleCase large;  // in every block, the last and shorter one as well
  for (size_t at : {size_t{0}, size_t{300}, size_t{700}, size_t{799}}) {
    large.logits.assign(800, 0.f);
    large.logits[at] = kNan;
    CHECK(status_of(large, &message) == Status::kInternal);
    CHECK(has(message, "logit " + std::to_string(at) + " of 800"));
  }
}

TEST_CASE("sampler: an error says who left nothing to draw") {
  std::string message;
  SampleCase c;
  const auto edit = [](std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), -kInf);
    return true;
  };
  c.logits = {-kInf, -kInf};
  CHECK(status_of(c, &message) == Status::kInternal);
  CHECK(has(message, "all of 2 logits are -inf"));
  c.logits = {1, -kInf};
  c.mask = {0};
  CHECK(status_of(c, &message) == Status::kInternal);
  CHECK(has(message, "constraint allows none of 2"));
  c.mask = {2};
  CHECK(status_of(c, &message) == Status::kInternal);
  CHECK(has(message, "tokens that the constraint allows are -inf"));
  c.mask = {1};
  c.options.bias = {{0, -kInf}};
  CHECK(status_of(c, &message) == Status::kInvalidArgument);
  CHECK(has(message, "logit_bias: it removes every token that the constraint allows"));
  c.mask.clear();
  CHECK(status_of(c, &message) == Status::kInvalidArgument);
  CHECK(has(message, "logit_bias"));
  CHECK_FALSE(has(message, "constraint"));
  c.options.bias.clear();
  c.edit = edit;
  CHECK(status_of(c, &message) == Status::kInvalidArgument);
  CHECK(has(message, "host's edit"));
  c.edit = nullptr;
  c.logits = {-1e38f, -1e38f};
  c.tokens = {0, 1};
  c.options.repetition = 100;
  CHECK(status_of(c, &message) == Status::kInvalidArgument);
  CHECK(has(message, "penalties"));
}

TEST_CASE("sampler: options out of range, and inputs that do not fit") {
  std::string message;
  const auto check = [&](const SamplerOptions& options, const char* field) {
    CAPTURE(field);
    SampleCase c;
    c.logits = {1, 2};
    c.options = options;
    CHECK(status_of(c, &message) == Status::kInvalidArgument);
    CHECK(message.find(field) == 0);
  };
  for (double wrong : {-0.1, double(kInf), double(kNan)}) {
    check({.temperature = wrong}, "temperature");
    check({.repetition = wrong}, "repetition_penalty");
  }
  for (double wrong : {-0.1, 1.1, double(kNan)}) {
    check({.top_p = wrong}, "top_p");
    check({.min_p = wrong}, "min_p");
  }
  for (double wrong : {-2.1, 2.1, double(kNan)}) {
    check({.presence = wrong}, "presence_penalty");
    check({.frequency = wrong}, "frequency_penalty");
  }
  check({.top_k = -1}, "top_k");
  check({.penalty_window = -1}, "penalty_window");
  check({.bias = {{0, 1}, {2, 1}}}, "logit_bias[1]: token 2");
  check({.bias = {{-1, 1}}}, "logit_bias[0]: token -1");
  check({.bias = {{1, kNan}}}, "logit_bias[0]: token 1");
  check({.bias = {{1, kInf}}}, "logit_bias[0]: token 1");
  check({.bias = {{1, 1}, {0, 1}, {1, 2}}}, "logit_bias: token 1");

  const std::vector<float> logits(40, 1.f);
  const std::vector<uint32_t> word = {1};
  Rng rng(1);
  CHECK_THROWS_AS(Sampler({}, 41).pick({logits}, rng), Error);
  CHECK_THROWS_AS(Sampler({}, 0), Error);
  CHECK_THROWS_AS(Sampler({}, 40).pick({logits, nullptr, word}, rng), Error);
  CHECK_THROWS_AS(Sampler({.presence = 1}, 40).pick({logits}, rng), Error);
  const PenaltyHistory larger = [] {
    PenaltyHistory h(100, 0);
    h.push(99, true);
    return h;
  }();
  CHECK_THROWS_AS(Sampler({.presence = 1}, 40).pick({logits, &larger}, rng), Error);
}
