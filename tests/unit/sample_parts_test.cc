// The parts of lib/sample: the generator against published numbers, the weights' exponential against the library's, the
// rankings against a sort, the penalties' counts against counting again, log-probabilities against their definition.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/sample/exp2_weight.h"
#include "lib/sample/logit_blocks.h"
#include "lib/sample/penalty_history.h"
#include "lib/sample/ranking.h"
#include "lib/sample/rng.h"
#include "lib/sample/top_logprobs.h"
#include "tests/support/sampler_reference.h"

using namespace dsv4;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<PenaltyHistory::Count> sorted(const PenaltyHistory& history) {
  std::vector<PenaltyHistory::Count> counts(history.counts().begin(), history.counts().end());
  std::sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  return counts;
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

TEST_CASE("exp2_weight: within its bound, exactly 1 at 0, exactly 0 from -127 on") {
  double worst = 0;
  const uint32_t end = std::bit_cast<uint32_t>(-126.0f);
  for (uint32_t bits = std::bit_cast<uint32_t>(-0x1p-30f); bits <= end; bits += 331) {
    const float z = std::bit_cast<float>(bits);
    const double expected = std::exp2(static_cast<double>(z));
    worst = std::max(worst, std::abs(static_cast<double>(exp2_weight(z)) - expected) / expected);
  }
  CHECK(worst < 2e-7);
  CHECK(worst > 1e-8);  // it is a float's, and the test sees it
  CHECK(exp2_weight(0.0f) == 1.0f);
  CHECK(exp2_weight(-0.0f) == 1.0f);
  CHECK(exp2_weight(-1e-40f) == 1.0f);
  for (float z = 0; z >= -126; z -= 1) CHECK(exp2_weight(z) == std::exp2(z));
  for (float z = -126; z > -127; z -= 0.0001f) {
    REQUIRE(exp2_weight(z) >= 0.0f);
    REQUIRE(exp2_weight(z) <= 0x1p-126f);
  }
  for (float z : {-127.0f, -127.5f, -200.0f, -3e38f, -kInf}) CHECK(std::bit_cast<uint32_t>(exp2_weight(z)) == 0);
}

TEST_CASE("logit blocks: the best, the weights and their sums of any number of logits") {
  for (size_t n : {size_t{1}, size_t{7}, size_t{255}, size_t{256}, size_t{257}, size_t{1000}, size_t{1024}}) {
    const std::vector<float> logits = random_logits(n, n, 20, false);
    std::vector<float> best, weights;
    std::vector<double> sums;
    float best_of_all = 0;
    REQUIRE(scan_logits(logits, best, best_of_all));
    CHECK(best_of_all == *std::max_element(logits.begin(), logits.end()));
    weigh_logits(logits, best_of_all, 0.5f, weights, sums);
    REQUIRE(best.size() == (n + 255) / 256);
    REQUIRE(sums.size() == best.size());
    REQUIRE(weights.size() == n);
    double total = 0, total_of = 0;
    const float least = best_of_all - 9;
    for (size_t b = 0; b < best.size(); ++b) {
      const auto block = logit_block(logits, b);
      CHECK(best[b] == *std::max_element(block.begin(), block.end()));
      double sum = 0;
      for (size_t i = 0; i < block.size(); ++i) {
        const float weight = weights[b * 256 + i];  // vector or not, the same bits
        REQUIRE(weight == exp2_weight((block[i] - best_of_all) * 0.5f));
        sum += weight;
        if (block[i] >= least) total_of += weight;
      }
      CHECK(sums[b] == doctest::Approx(sum).epsilon(2e-7));
      total += sum;
    }
    CHECK(sum_weights(weights) == doctest::Approx(total).epsilon(1e-14));
    CHECK(sum_weights_of(logits, weights, best, least) == doctest::Approx(total_of).epsilon(1e-14));
    for (size_t at = 0; at < n; at += 1 + n / 97) {
      std::vector<float> with_nan = logits;
      with_nan[at] = at % 2 == 0 ? kNan : -kNan;
      REQUIRE_FALSE(scan_logits(with_nan, best, best_of_all));
      REQUIRE(find_nan(with_nan) == at);
    }
  }
}

TEST_CASE("ranking: cuts are those of a sort, whatever the logits look like") {
  RankingCutter cutter;
  for (uint64_t seed = 0; seed < 120; ++seed) {
    Rng rng(seed);
    const size_t n = 1 + rng.next() % 3000;
    std::vector<RankedToken> tokens;
    for (size_t i = 0; i < n; ++i) {
      float logit = static_cast<float>(rng.uniform() * 10);
      if (seed % 6 == 1) logit = std::floor(logit);  // ties
      if (seed % 6 == 2) logit = 4;                  // nothing else
      if (seed % 6 == 3)
        logit = -std::ldexp(1.0f, static_cast<int>(rng.next() % 250) - 123);  // each bin splits few off
      if (seed % 6 == 4 && i % 100 == 0) logit = i % 200 == 0 ? -3e38f : 3e38f;
      if (seed % 6 == 5) logit = std::nextafter(1.0f, 2.0f) * (rng.next() % 2 == 0 ? 1.0f : 1.0000001f);
      // Whole amounts, so that sums are exact in any order and the border is beyond doubt.
      tokens.push_back({static_cast<int32_t>(2 * i), logit, static_cast<float>(rng.next() % 8)});
    }
    std::vector<RankedToken> ranked = tokens;
    std::sort(ranked.begin(), ranked.end(), ranks_before);
    const double total = [&] {
      double sum = 0;
      for (const RankedToken& t : tokens) sum += t.weight;
      return sum;
    }();
    for (double part : {1e-9, 0.01, 0.3, 0.5, 0.99, 1.0, 1.5}) {
      CAPTURE(seed);
      CAPTURE(part);
      const double k = std::ceil(part * static_cast<double>(n)), sum = part * (total + 1);
      for (const bool by_count : {true, false}) {
        std::vector<int32_t> expected, found;
        double reached = 0;
        for (const RankedToken& t : ranked) {
          if (reached >= (by_count ? k : sum)) break;
          reached += by_count ? 1.0 : t.weight;
          expected.push_back(t.token);
        }
        std::sort(expected.begin(), expected.end());
        std::vector<RankedToken> kept = tokens;
        by_count ? cutter.keep_count(kept, k) : cutter.keep_sum(kept, sum);
        for (const RankedToken& t : kept) found.push_back(t.token);
        REQUIRE(found == expected);
      }
    }
  }
  std::vector<RankedToken> none;
  cutter.keep_sum(none, 1);
  CHECK(none.empty());
}

TEST_CASE("penalty history: after any pushes it is what counting again gives") {
  const int32_t vocab = 40;
  for (int64_t window : {0, 1, 2, 7, 64, 100000}) {
    CAPTURE(window);
    Rng rng(static_cast<uint64_t>(window) + 1);
    PenaltyHistory history(vocab, window);
    CHECK(history.window() == window);
    std::vector<std::pair<int32_t, bool>> pushed;
    std::vector<int32_t> tokens;
    for (int i = 0; i < 600; ++i) {
      const int32_t token = static_cast<int32_t>(rng.next() % static_cast<uint64_t>(rng.next() % 2 == 0 ? 4 : vocab));
      const bool generated = i >= 200;
      history.push(token, generated);
      pushed.push_back({token, generated});
      tokens.push_back(token);
      std::vector<PenaltyHistory::Count> expected;
      const size_t first =
          window > 0 && pushed.size() > static_cast<size_t>(window) ? pushed.size() - size_t(window) : 0;
      for (int32_t id = 0; id < vocab; ++id) {
        PenaltyHistory::Count count{id, 0, 0};
        for (size_t p = first; p < pushed.size(); ++p) {
          if (pushed[p].first != id) continue;
          ++count.all;
          if (pushed[p].second) ++count.generated;
        }
        if (count.all > 0) expected.push_back(count);
      }
      REQUIRE(sorted(history) == expected);
      if (i % 50 == 0) {  // made again from the tokens, also over something else, and a copy is independent
        PenaltyHistory again(vocab, window);
        again.push(3, true);
        again.rebuild(tokens, 200);
        REQUIRE(sorted(again) == expected);
        PenaltyHistory copy = history;
        for (int j = 0; j < 10; ++j) copy.push(j, true);
        REQUIRE(sorted(history) == expected);
        again.push(5, true);
        copy = history;
        copy.push(5, true);
        REQUIRE(sorted(again) == sorted(copy));
      }
    }
    history.clear();
    CHECK(history.counts().empty());
    history.push(1, false);
    CHECK(sorted(history) == std::vector<PenaltyHistory::Count>{{1, 1, 0}});
  }
}

TEST_CASE("penalty history: what it refuses") {
  CHECK_THROWS_AS(PenaltyHistory(0, 0), Error);
  CHECK_THROWS_AS(PenaltyHistory(10, -1), Error);
  PenaltyHistory history(10, 2);
  history.push(4, true);
  for (int32_t token : {-1, 10, INT32_MAX, INT32_MIN}) CHECK_THROWS_AS(history.push(token, true), Error);
  CHECK(sorted(history) == std::vector<PenaltyHistory::Count>{{4, 1, 1}});
  CHECK_THROWS_AS(history.rebuild(std::vector<int32_t>{1, 10}, 0), Error);
  CHECK(history.counts().empty());
}

TEST_CASE("top logprobs: log softmax of the logits, ranked") {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::vector<float> logits = random_logits(1 + seed * 53 % 1500, seed, 1 + double(seed % 7) * 8, seed % 3 == 0);
    if (seed % 4 == 0 && logits.size() > 2) logits[1] = -kInf;
    std::vector<size_t> order(logits.size());
    double sum = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      order[i] = i;
      sum += std::exp(double(logits[i]));
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    for (int32_t n : {0, 1, 5, 20}) {
      CAPTURE(seed);
      CAPTURE(n);
      const size_t chosen = seed * 7 % logits.size();
      TokenLogprob own{};
      std::vector<TokenLogprob> top = {{99, 1.0}};
      top_logprobs(logits, static_cast<int32_t>(chosen), n, own, top);
      CHECK(own.token == static_cast<int32_t>(chosen));
      const double expected = double(logits[chosen]) - std::log(sum);
      if (std::isinf(expected)) CHECK(own.logprob == expected);
      if (!std::isinf(expected)) CHECK(own.logprob == doctest::Approx(expected).epsilon(1e-12));
      REQUIRE(top.size() == std::min(logits.size(), static_cast<size_t>(n)));
      for (size_t r = 0; r < top.size(); ++r) {
        REQUIRE(top[r].token == static_cast<int32_t>(order[r]));
        const double value = double(logits[order[r]]) - std::log(sum);
        if (!std::isinf(value)) REQUIRE(top[r].logprob == doctest::Approx(value).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("top logprobs: infinities, far and equal logits, errors") {
  TokenLogprob own{};
  std::vector<TokenLogprob> top;
  top_logprobs(std::vector<float>{-kInf, 3, -kInf}, 0, 3, own, top);
  CHECK(own.logprob == -std::numeric_limits<double>::infinity());
  REQUIRE(top.size() == 3);
  CHECK(top[0].token == 1);
  CHECK(top[0].logprob == 0);
  CHECK(top[1].token == 0);
  CHECK(top[2].logprob == -std::numeric_limits<double>::infinity());
  top_logprobs(std::vector<float>{kInf, 3, kInf}, 2, 2, own, top);
  CHECK(own.logprob == doctest::Approx(-std::log(2.0)));
  CHECK(top[1].token == 2);
  top_logprobs(std::vector<float>{3e38f, -3e38f}, 1, 0, own, top);
  CHECK(own.logprob == double(-3e38f) - double(3e38f));
  top_logprobs(std::vector<float>(600, 1.f), 599, 20, own, top);
  CHECK(own.logprob == doctest::Approx(-std::log(600.0)));
  for (int32_t r = 0; r < 20; ++r) CHECK(top[static_cast<size_t>(r)].token == r);

  const auto status = [&](const std::vector<float>& logits, int32_t chosen, int32_t n) {
    try {
      top_logprobs(logits, chosen, n, own, top);
    } catch (const Error& e) {
      return e.status();
    }
    return Status::kOk;
  };
  CHECK(status({1, 2}, 0, 21) == Status::kInvalidArgument);
  CHECK(status({1, 2}, 0, -1) == Status::kInvalidArgument);
  CHECK(status({1, 2}, 2, 1) == Status::kInternal);
  CHECK(status({1, 2}, -1, 1) == Status::kInternal);
  CHECK(status({1, kNan}, 0, 1) == Status::kInternal);
  CHECK(status({-kInf}, 0, 1) == Status::kInternal);
}
