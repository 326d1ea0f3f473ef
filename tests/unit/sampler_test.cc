// lib/sample: the generator against published numbers, the distribution against the analytic softmax, each filter
// against a brute-force ranking, and the logits that break samplers.
#include "lib/sample/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/sample/rng.h"

using namespace dsv4;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_logits(size_t n, uint64_t seed, double spread, bool with_ties) {
  Rng rng(seed);
  std::vector<float> logits(n);
  for (float& x : logits) {
    x = static_cast<float>((rng.uniform() - 0.5) * spread);
    if (with_ties) x = std::round(x);
  }
  return logits;
}

// The definition, by a full sort: tokens by falling logit and rising index; then each filter in its order.
std::vector<double> brute_force(const std::vector<float>& logits, const SamplerOptions& o) {
  const size_t n = logits.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (o.top_k > 0) order.resize(std::min(n, static_cast<size_t>(o.top_k)));
  const auto softmax = [&](size_t i) {
    double sum = 0;
    for (size_t j : order) sum += std::exp((double(logits[j]) - double(logits[order[0]])) / o.temperature);
    return std::exp((double(logits[i]) - double(logits[order[0]])) / o.temperature) / sum;
  };
  std::vector<double> p;
  for (size_t i : order) p.push_back(softmax(i));
  size_t keep = p.size();
  if (o.top_p > 0 && o.top_p < 1) {
    double sum = 0;
    keep = 0;
    while (keep < p.size() && sum < o.top_p) sum += p[keep++];
  }
  std::vector<double> result(n, 0.0);
  double sum = 0;
  for (size_t r = 0; r < keep; ++r) {
    if (p[r] >= o.min_p * p[0]) sum += result[order[r]] = p[r];
  }
  for (double& x : result) x /= sum;
  return result;
}

// Pearson's statistic of `draws` picks against the expected probabilities, tokens of probability 0 apart.
double chi_square(Sampler& sampler, const std::vector<float>& logits, const std::vector<double>& p, int draws,
                  Rng& rng) {
  std::vector<int> count(p.size(), 0);
  for (int i = 0; i < draws; ++i) ++count[static_cast<size_t>(sampler.pick(logits, rng))];
  double statistic = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      CHECK(count[i] == 0);
      continue;
    }
    const double expected = p[i] * draws;
    statistic += (count[i] - expected) * (count[i] - expected) / expected;
  }
  return statistic;
}

Status status_of(const std::vector<float>& logits, const SamplerOptions& options, std::string* message = nullptr) {
  try {
    Rng rng(1);
    Sampler(options).pick(logits, rng);
  } catch (const Error& e) {
    if (message != nullptr) *message = e.what();
    return e.status();
  }
  return Status::kOk;
}

}  // namespace

TEST_CASE("rng: the published sequence of xoshiro256++ from the state 1, 2, 3, 4") {
  Rng rng(Rng::State{1, 2, 3, 4});
  const std::array<uint64_t, 10> expected = {41943041u,
                                             58720359u,
                                             3588806011781223u,
                                             3591011842654386u,
                                             9228616714210784205u,
                                             9973669472204895162u,
                                             14011001112246962877u,
                                             12406186145184390807u,
                                             15849039046786891736u,
                                             10450023813501588000u};
  for (uint64_t value : expected) CHECK(rng.next() == value);
}

TEST_CASE("rng: seeding is splitmix64, seeds differ, a saved state goes on, zero is refused") {
  CHECK(Rng(0).state()[0] == 0xe220a8397b1dcdafu);  // the published first output of splitmix64(0)
  CHECK(Rng(0).state() != Rng(1).state());
  Rng a(42);
  for (int i = 0; i < 100; ++i) a.next();
  Rng b(a.state());
  for (int i = 0; i < 100; ++i) CHECK(a.next() == b.next());
  CHECK_THROWS_AS(Rng(Rng::State{}), Error);
}

TEST_CASE("rng: uniform lies in [0, 1) and has the moments of a uniform variable") {
  Rng rng(7);
  double sum = 0, squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
    squares += u * u;
  }
  CHECK(sum / n == doctest::Approx(0.5).epsilon(0.01));
  CHECK(squares / n == doctest::Approx(1.0 / 3).epsilon(0.01));
}

TEST_CASE("sampler: greedy takes the largest logit, the lowest index of equals, and no random number") {
  Sampler sampler({.temperature = 0, .top_p = 0.1, .min_p = 0.5, .top_k = 3});
  Rng rng(1);
  const Rng::State before = rng.state();
  CHECK(sampler.pick(std::vector<float>{1, 3, 2, 3}, rng) == 1);
  CHECK(sampler.pick(std::vector<float>{-kInf, -5, -kInf}, rng) == 1);
  CHECK(sampler.pick(std::vector<float>{0, kInf, kInf}, rng) == 1);
  CHECK(sampler.pick(std::vector<float>{-2}, rng) == 0);
  CHECK(rng.state() == before);
}

TEST_CASE("sampler: draws follow the analytic distribution") {
  // 99.99 % quantiles of chi-square: 15 degrees of freedom 44.3, 7: 29.9, 3: 21.1.
  const std::vector<float> logits = random_logits(16, 3, 5, false);
  struct Row {
    SamplerOptions options;
    double limit;
  };
  const Row rows[] = {{{}, 44.3},
                      {{.temperature = 0.5}, 44.3},
                      {{.temperature = 2.5}, 44.3},
                      {{.top_k = 8}, 29.9},
                      {{.temperature = 3, .top_p = 0.8}, 44.3},
                      {{.min_p = 0.2}, 44.3},
                      {{.temperature = 1.5, .top_p = 0.9, .min_p = 0.05, .top_k = 8}, 29.9}};
  for (const Row& row : rows) {
    Sampler sampler(row.options);
    Rng rng(2024);
    CAPTURE(row.options.temperature);
    CAPTURE(row.options.top_k);
    CHECK(chi_square(sampler, logits, brute_force(logits, row.options), 50000, rng) < row.limit);
  }
  // The test can fail: draws at one temperature do not pass for another.
  Sampler sampler({.temperature = 1.1});
  Rng rng(2024);
  CHECK(chi_square(sampler, logits, brute_force(logits, {}), 50000, rng) > 44.3);
}

TEST_CASE("sampler: every filter keeps the set that a full sort keeps") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const bool ties = seed % 2 == 1;
    const std::vector<float> logits = random_logits(1 + seed * 37 % 500, seed, 2 + double(seed % 5) * 4, ties);
    for (int32_t top_k : {0, 1, 2, 7, 64, 1000}) {
      for (double top_p : {0.0, 1e-9, 0.137, 0.5, 0.9013, 0.999, 1.0}) {
        for (double min_p : {0.0, 0.0113, 0.3, 1.0}) {
          const SamplerOptions options{.temperature = 0.7, .top_p = top_p, .min_p = min_p, .top_k = top_k};
          const std::vector<double> expected = brute_force(logits, options);
          Sampler sampler(options);
          const std::span<const double> weights = sampler.weigh(logits);
          REQUIRE(weights.size() == expected.size());
          const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
          for (size_t i = 0; i < weights.size(); ++i) {
            CAPTURE(seed);
            CAPTURE(top_k);
            CAPTURE(top_p);
            CAPTURE(min_p);
            REQUIRE((weights[i] > 0) == (expected[i] > 0));
            REQUIRE(weights[i] / total == doctest::Approx(expected[i]).epsilon(1e-9));
          }
        }
      }
    }
  }
}

TEST_CASE("sampler: ties at a border go to the lower index") {
  const std::vector<float> equal(10, 2.5f);
  const auto kept = [&](const SamplerOptions& options) {
    Sampler sampler(options);
    std::set<size_t> set;
    const auto weights = sampler.weigh(equal);
    for (size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] > 0) set.insert(i);
    }
    return set;
  };
  CHECK(kept({.top_k = 3}) == std::set<size_t>{0, 1, 2});
  CHECK(kept({.top_p = 0.35}) == std::set<size_t>{0, 1, 2, 3});
  CHECK(kept({.min_p = 1}).size() == 10);
}

TEST_CASE("sampler: same seed, same tokens; another seed, others; scratch carries nothing over") {
  const std::vector<float> logits = random_logits(1000, 11, 6, false);
  const std::vector<float> small = random_logits(10, 12, 6, false);
  const auto draw = [&](uint64_t seed, bool disturb) {
    Sampler sampler({.temperature = 0.9, .top_p = 0.95, .top_k = 200});
    Rng rng(seed), other(99);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) {
      if (disturb) sampler.pick(small, other);
      tokens.push_back(sampler.pick(logits, rng));
    }
    return tokens;
  };
  CHECK(draw(5, false) == draw(5, false));
  CHECK(draw(5, false) == draw(5, true));
  CHECK(draw(5, false) != draw(6, false));

  Sampler sampler({.top_k = 1});  // one number a pick, even when there is nothing to choose
  Rng a(3), b(3);
  sampler.pick(logits, a);
  b.next();
  CHECK(a.state() == b.state());
}

TEST_CASE("sampler: infinite, huge and single logits") {
  Rng rng(1);
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.temperature = 1e-300}, SamplerOptions{.temperature = 1e300},
        SamplerOptions{.top_p = 0.5, .min_p = 0.1, .top_k = 3}}) {
    Sampler sampler(options);
    for (int i = 0; i < 20; ++i) {
      CHECK(sampler.pick(std::vector<float>{-kInf, -kInf, -1e30f, -kInf}, rng) == 2);  // all but one are out
      CHECK(sampler.pick(std::vector<float>{1, kInf, 3e38f, -kInf}, rng) == 1);
      CHECK(sampler.pick(std::vector<float>{-7}, rng) == 0);
    }
  }
  Sampler plain({});
  CHECK(plain.pick(std::vector<float>{-3e38f, 3e38f, 0}, rng) == 1);  // their difference overflows a float
  std::set<int32_t> drawn;
  for (int i = 0; i < 100; ++i) drawn.insert(plain.pick(std::vector<float>{kInf, 5, kInf, -kInf}, rng));
  CHECK(drawn == std::set<int32_t>{0, 2});
}

TEST_CASE("sampler: NaN, nothing to choose, options out of range") {
  std::string message;
  for (double temperature : {0.0, 1.0}) {
    const SamplerOptions options{.temperature = temperature};
    CHECK(status_of({0, 1, kNan, 2, kNan}, options, &message) == Status::kInternal);
    CHECK(message.find("logit 2 of 5") != std::string::npos);
    CHECK(status_of({-kInf, -kInf}, options) == Status::kInternal);
    CHECK(status_of({}, options) == Status::kInternal);
  }
  struct Row {
    SamplerOptions options;
    const char* field;
  };
  const Row rows[] = {{{.temperature = -0.1}, "temperature"},
                      {{.temperature = kInf}, "temperature"},
                      {{.temperature = kNan}, "temperature"},
                      {{.top_p = -0.1}, "top_p"},
                      {{.top_p = 1.1}, "top_p"},
                      {{.top_p = kNan}, "top_p"},
                      {{.min_p = -1}, "min_p"},
                      {{.min_p = 1.5}, "min_p"},
                      {{.min_p = kNan}, "min_p"},
                      {{.top_k = -1}, "top_k"}};
  for (const Row& row : rows) {
    CAPTURE(row.field);
    CHECK(status_of({1, 2}, row.options, &message) == Status::kInvalidArgument);
    CHECK(message.find(row.field) == 0);
  }
}

TEST_CASE("sampler: a full vocabulary") {
  const std::vector<float> logits = random_logits(129280, 21, 40, true);  // many equal logits: the hard case to select
  for (const SamplerOptions& options : {SamplerOptions{.top_p = 0.95}, SamplerOptions{.top_p = 0.3, .top_k = 1000},
                                        SamplerOptions{.temperature = 30, .top_p = 0.9, .min_p = 0.3}}) {
    const std::vector<double> weights = [&] {
      Sampler sampler(options);
      const auto w = sampler.weigh(logits);
      return std::vector<double>(w.begin(), w.end());
    }();
    // The kept set is a prefix of the ranking: nothing dropped outranks anything kept.
    size_t worst = logits.size();
    for (size_t i = 0; i < logits.size(); ++i) {
      if (weights[i] > 0 && (worst == logits.size() || logits[i] <= logits[worst])) worst = i;
    }
    REQUIRE(worst < logits.size());
    for (size_t i = 0; i < logits.size(); ++i) {
      const bool outranks = logits[i] > logits[worst] || (logits[i] == logits[worst] && i < worst);
      if (outranks) REQUIRE(weights[i] > 0);
    }
  }
}
