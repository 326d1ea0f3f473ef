// The decorator that measures verbs: every call is counted under its verb, in the order of first calls, and what the
// verbs compute is untouched.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "backends/reference/reference_backend.h"
#include "lib/backend/verb_times.h"
#include "lib/base/error.h"

using namespace dsv4;

TEST_CASE("profile: verbs are counted by name, and their results are the inner backend's") {
  VerbTimes profile(make_reference_backend());
  const std::unique_ptr<Backend> plain = make_reference_backend();
  std::vector<uint16_t> e = {0x3f80, 0x4000, 0x4040, 0x4080}, h = {0x3f80, 0x3f80, 0x4000, 0x4000};
  std::vector<uint16_t> got(4), want(4);
  const auto mat = [](std::vector<uint16_t>& v) { return Mat{v.data(), DType::kBF16, 1, 4, 4}; };
  std::vector<int32_t> position = {3};
  std::vector<float> frequency = {0.5f}, table(2);
  profile.merge(mat(got), mat(e), mat(h));
  profile.rope({table.data(), DType::kF32, 1, 2, 2}, {position.data(), DType::kI32, 1, 1, 1},
               {frequency.data(), DType::kF32, 1, 1, 1});
  profile.merge(mat(got), mat(e), mat(h));
  plain->merge(mat(want), mat(e), mat(h));
  CHECK(got == want);
  REQUIRE(profile.lines().size() == 2);
  CHECK(std::string(profile.lines()[0].verb) == "merge");
  CHECK(profile.lines()[0].calls == 2);
  CHECK(profile.lines()[0].seconds > 0);
  CHECK(std::string(profile.lines()[1].verb) == "rope");
  CHECK(profile.lines()[1].calls == 1);
  CHECK(profile.lines()[1].weight_bytes == 0);
  profile.clear();
  CHECK(profile.lines().empty());
}

namespace {

// Fails in place of its first product.
class OnceRefused final : public Decorator {
 public:
  using Decorator::Decorator;

 protected:
  void verb(const char* name, const Mat&, const std::function<void()>& call) override {
    if (std::string(name) == "logits" && !refused_) {
      refused_ = true;
      fail(Status::kInternal, "refused");
    }
    call();
  }

 private:
  bool refused_ = false;
};

}  // namespace

TEST_CASE("profile: a verb that failed costs nothing, and leaves nothing to the next") {
  VerbTimes profile(std::make_unique<OnceRefused>(make_reference_backend()));
  Limits limits;
  limits.rows = 1, limits.inner = 4, limits.outer = 4, limits.vocab = 3;
  profile.reserve(limits);
  std::vector<float> head(3 * 4, 1.0f), out(3);
  std::vector<uint16_t> x(4, 0x3f80);
  const Weight weight = profile.prepare({head.data(), nullptr, DType::kF32, 3, 4});
  const auto logits = [&] {
    profile.logits({out.data(), DType::kF32, 1, 3, 3}, {x.data(), DType::kBF16, 1, 4, 4}, weight);
  };
  CHECK_THROWS_AS(logits(), Error);
  CHECK(profile.lines().empty());
  logits();
  REQUIRE(profile.lines().size() == 1);
  CHECK(profile.lines()[0].calls == 1);
  CHECK(profile.lines()[0].weight_bytes == 3 * 4 * 4);
  CHECK(profile.lines()[0].multiply_adds == 3 * 4);
}
