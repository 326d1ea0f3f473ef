// lib/sample/sampler: every processor and their order against a plain reference, draws against the distribution, and
// the logits and options that break samplers.
#include "lib/sample/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "tests/support/sampler_reference.h"

using namespace dsv4;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<double> weigh(const SampleCase& c) {
  const PenaltyHistory history = c.history();
  return c.sampler().weigh(c.inputs(history));
}

// The same tokens are in, and weights agree to what a float's rounding does to the exponent.
bool agree(const std::vector<double>& weights, const std::vector<double>& expected) {
  if (weights.size() != expected.size()) return false;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double w = weights[i], e = expected[i];
    const double exponent = e > 0 ? -std::log(e) : 0;
    if (e > 1e-37 && !(w > 0)) return false;
    if (e == 0 && w != 0) return false;
    if (!(std::abs(w - e) <= e * (3 + 2 * exponent) * 0x1p-23 + 1e-37)) return false;
  }
  return true;
}

std::vector<uint32_t> random_mask(size_t vocab, Rng& rng) {
  std::vector<uint32_t> mask((vocab + 31) / 32);
  for (uint32_t& word : mask) {
    const uint64_t kind = rng.next() % 4;  // words with all, none, half of the bits
    word = kind == 0 ? 0 : kind == 1 ? UINT32_MAX : static_cast<uint32_t>(rng.next());
  }
  mask[0] |= 1;
  return mask;
}

// Something of everything, at random.
SampleCase random_case(uint64_t seed) {
  Rng rng(seed);
  const auto chance = [&](double p) { return rng.uniform() < p; };
  SampleCase c;
  const size_t vocab = 1 + rng.next() % 700;
  c.logits = random_logits(vocab, seed, 2 + 30 * rng.uniform(), chance(0.4));
  for (float& l : c.logits) {
    if (chance(0.03)) l = -kInf;
  }
  c.logits[0] = 0.5f;
  SamplerOptions& o = c.options;
  o.temperature = chance(0.3) ? 1 : 0.05 + 3 * rng.uniform();
  if (chance(0.5)) o.top_k = static_cast<int32_t>(1 + rng.next() % (chance(0.5) ? 20 : 900));
  if (chance(0.5)) o.top_p = rng.uniform();
  if (chance(0.4)) o.min_p = rng.uniform() * rng.uniform();
  if (chance(0.5)) o.repetition = 0.5 + rng.uniform();
  if (chance(0.5)) o.presence = 4 * rng.uniform() - 2;
  if (chance(0.5)) o.frequency = 4 * rng.uniform() - 2;
  if (chance(0.5)) o.penalty_window = static_cast<int64_t>(rng.next() % 60);
  for (size_t i = 0; i < 80; ++i) c.tokens.push_back(static_cast<int32_t>(rng.next() % std::min<size_t>(vocab, 50)));
  c.prompt = rng.next() % 80;
  for (size_t id = 1; id < vocab; ++id) {
    if (chance(0.05)) o.bias.push_back({static_cast<int32_t>(id), chance(0.2) ? -kInf : float(8 * rng.uniform() - 4)});
  }
  if (chance(0.5)) c.mask = random_mask(vocab, rng);
  if (chance(0.5) && vocab % 17 > 4) c.edit = busy_edit;
  return c;
}

// A case in which every step matters and so does every place in the order that can.
SampleCase full_case(uint64_t seed) {
  SampleCase c = random_case(seed);
  c.logits = random_logits(300, seed, 8, false);
  for (size_t i = 0; i < 41; ++i) c.logits[i] += 2;  // those that have been said
  c.options.bias = {{1, 2.5f}, {2, -1.5f}, {7, 3.f}, {150, 1.f}, {20, -kInf}};
  c.options.repetition = 1.7;
  c.options.presence = 0.6;
  c.options.frequency = 0.3;
  c.options.penalty_window = 60;
  c.options.temperature = 1.6;
  c.options.top_k = 40;
  c.options.top_p = 0.9;
  c.options.min_p = 0.3;
  for (size_t i = 0; i < c.tokens.size(); ++i) c.tokens[i] = static_cast<int32_t>(i * i % 41);
  c.prompt = 30;
  Rng rng(seed);
  c.mask = random_mask(300, rng);
  c.mask[4] &= ~(1u << 22);  // token 150, which the edit wants most
  c.edit = busy_edit;
  return c;
}

// Draws by inversion: the token at which the reference's running sum passes u * total, up to rounding.
void check_draw(const std::vector<double>& p, double u, int32_t token) {
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  const auto at = p.begin() + token;
  const double before = std::accumulate(p.begin(), at, 0.0);
  REQUIRE(*at > 0);
  REQUIRE(before <= (u + 1e-6) * total);
  REQUIRE(before + *at >= (u - 1e-6) * total);
}

}  // namespace

TEST_CASE("sampler: anything at random is what the reference says") {
  int filtered = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    CAPTURE(seed);
    const SampleCase c = random_case(seed);
    const std::vector<double> expected = reference_weights(c);
    const std::vector<double> weights = weigh(c);
    REQUIRE(agree(weights, expected));
    filtered += std::count(weights.begin(), weights.end(), 0.0) > 0;
    Rng rng(seed), same(seed);
    check_draw(expected, same.uniform(), pick_token(c, rng));
    REQUIRE(rng.state() == same.state());

    SampleCase greedy = c;
    greedy.options.temperature = 0;
    Rng untouched(seed);
    const auto best = std::max_element(expected.begin(), expected.end());
    REQUIRE(pick_token(greedy, untouched) == best - expected.begin());
    REQUIRE(untouched.state() == Rng(seed).state());
  }
  CHECK(filtered > 1000);
}

TEST_CASE("sampler: the order of the processors is the documented one and no other") {
  // Pairs that do not commute. Temperature keeps the ranking, so that it may trade places with top_k; min_p is relative
  // to the largest, so that it may with top_p.
  const std::vector<std::pair<Step, Step>> pairs = {
      {Step::kBias, Step::kRepetition}, {Step::kRepetition, Step::kCounts}, {Step::kCounts, Step::kEdit},
      {Step::kBias, Step::kEdit},       {Step::kEdit, Step::kMask},         {Step::kMask, Step::kTopK},
      {Step::kMask, Step::kTopP},       {Step::kTopK, Step::kTopP},         {Step::kTemperature, Step::kTopP},
      {Step::kTemperature, Step::kMinP}};
  std::vector<int> noticed(pairs.size(), 0), missed(kDocumentedOrder.size(), 0);
  for (uint64_t seed = 0; seed < 30; ++seed) {
    CAPTURE(seed);
    const SampleCase c = full_case(seed);
    const std::vector<double> weights = weigh(c);
    REQUIRE(agree(weights, reference_weights(c)));
    for (size_t i = 0; i < pairs.size(); ++i) {
      std::vector<Step> order = kDocumentedOrder;
      std::iter_swap(std::find(order.begin(), order.end(), pairs[i].first),
                     std::find(order.begin(), order.end(), pairs[i].second));
      noticed[i] += agree(weights, reference_weights(c, order)) ? 0 : 1;
    }
    for (size_t i = 0; i < kDocumentedOrder.size(); ++i) {  // each of them does something, too
      std::vector<Step> order = kDocumentedOrder;
      order.erase(order.begin() + static_cast<ptrdiff_t>(i));
      missed[i] += agree(weights, reference_weights(c, order)) ? 0 : 1;
    }
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    CAPTURE(i);
    CHECK(noticed[i] > 0);
  }
  for (size_t i = 0; i < missed.size(); ++i) {
    CAPTURE(i);
    CHECK(missed[i] > 0);
  }
}

TEST_CASE("sampler: every filter keeps the set that a full sort keeps") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SampleCase c;
    c.logits = random_logits(1 + seed * 37 % 900, seed, 2 + double(seed % 5) * 4, seed % 2 == 1);
    for (int32_t top_k : {0, 1, 2, 7, 64, 1000}) {
      for (double top_p : {0.0, 1e-9, 0.137, 0.5, 0.9013, 0.999, 0.999999, 1.0}) {
        for (double min_p : {0.0, 0.0113, 0.3, 1.0}) {
          CAPTURE(seed);
          CAPTURE(top_k);
          CAPTURE(top_p);
          CAPTURE(min_p);
          c.options = {.temperature = 0.7, .top_p = top_p, .min_p = min_p, .top_k = top_k};
          REQUIRE(agree(weigh(c), reference_weights(c)));
        }
      }
    }
  }
}

TEST_CASE("sampler: full vocabularies, flat, peaked, tied, with outliers") {
  for (int kind = 0; kind < 4; ++kind) {
    SampleCase c;
    c.logits = random_logits(129280, 21 + kind, kind == 0 ? 0.01 : 30, kind == 2);
    if (kind == 3) {
      for (size_t i = 0; i < 10; ++i) c.logits[i * 1000] = -1e30f * float(i + 1);
      c.logits[129279] = 22;
    }
    for (const SamplerOptions& options :
         {SamplerOptions{}, SamplerOptions{.top_p = 0.95}, SamplerOptions{.top_p = 0.3, .top_k = 1000},
          SamplerOptions{.top_k = 40}, SamplerOptions{.temperature = 30, .top_p = 0.9, .min_p = 0.3},
          SamplerOptions{.min_p = 0.05}}) {
      CAPTURE(kind);
      CAPTURE(options.top_k);
      CAPTURE(options.top_p);
      c.options = options;
      const std::vector<double> expected = reference_weights(c);
      Sampler sampler = c.sampler();
      const PenaltyHistory history = c.history();
      const PickInputs inputs = c.inputs(history);
      REQUIRE(agree(sampler.weigh(inputs), expected));
      Rng rng(5), same(5);
      for (int i = 0; i < 5; ++i) check_draw(expected, same.uniform(), sampler.pick(inputs, rng));
    }
  }
}

TEST_CASE("sampler: a top_p that only rounding tells from 1 keeps a beginning of the ranking") {
  SampleCase c;
  c.logits = random_logits(5000, 9, 60, true);
  for (double top_p : {1 - 1e-10, 1 - 1e-13, 1 - 0x1p-53}) {
    c.options = {.top_p = top_p};
    const std::vector<double> weights = weigh(c);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    double best_out = 0;
    std::vector<RankedToken> kept;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] > 0) kept.push_back({static_cast<int32_t>(i), c.logits[i], 0});
    }
    REQUIRE(!kept.empty());
    const RankedToken last = *std::max_element(kept.begin(), kept.end(), ranks_before);
    for (size_t i = 0; i < weights.size(); ++i) {
      const RankedToken token{static_cast<int32_t>(i), c.logits[i], 0};
      if (weights[i] == 0) REQUIRE(ranks_before(last, token));
      if (weights[i] == 0) best_out = std::max(best_out, std::exp(double(c.logits[i]) - 30));
    }
    CHECK(best_out < 1e-9 * total);  // and not a short one
  }
}

TEST_CASE("sampler: draws follow the distribution") {
  // Pearson's statistic against the 99.99 % quantiles of chi-square: 15 degrees of freedom 44.3, 7: 29.9.
  SampleCase c;
  c.logits = random_logits(16, 3, 5, false);
  const auto chi_square = [&](const SamplerOptions& drawn, const SamplerOptions& expected_of) {
    c.options = expected_of;
    std::vector<double> p = reference_weights(c);
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    c.options = drawn;
    Sampler sampler = c.sampler();
    const PenaltyHistory history = c.history();
    const PickInputs inputs = c.inputs(history);
    Rng rng(2024);
    std::vector<int> count(p.size(), 0);
    const int draws = 50000;
    for (int i = 0; i < draws; ++i) ++count[static_cast<size_t>(sampler.pick(inputs, rng))];
    double statistic = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      const double expected = p[i] / total * draws;
      if (p[i] == 0) CHECK(count[i] == 0);
      if (p[i] != 0) statistic += (count[i] - expected) * (count[i] - expected) / expected;
    }
    return statistic;
  };
  const auto check = [&](const SamplerOptions& options, double limit) {
    CAPTURE(options.temperature);
    CAPTURE(options.top_k);
    CHECK(chi_square(options, options) < limit);
  };
  check({}, 44.3);
  check({.temperature = 0.5}, 44.3);
  check({.temperature = 2.5}, 44.3);
  check({.top_k = 8}, 29.9);
  check({.temperature = 3, .top_p = 0.8}, 44.3);
  check({.min_p = 0.2}, 44.3);
  check({.temperature = 1.5, .top_p = 0.9, .min_p = 0.05, .top_k = 8}, 29.9);
  CHECK(chi_square({.temperature = 1.1}, {}) > 44.3);  // the test can fail
}

TEST_CASE("sampler: nothing brings a forbidden token back, and a word of the mask means its 32 tokens") {
  SampleCase c;
  c.logits.assign(100, 0.f);
  c.logits[70] = kInf;
  c.options.bias = {{71, 1e30f}};
  c.edit = [](std::span<float> logits) {
    logits[72] = kInf;
    return true;
  };
  c.mask = {0, 1u << 31, 0, 0xfffffff1u};  // tokens 63 and 96; the bits past the end mean nothing
  const std::vector<double> weights = weigh(c);
  for (size_t i = 0; i < 100; ++i) CHECK(weights[i] == (i == 63 || i == 96 ? 1.0 : 0.0));
  c.mask[1] = 0;
  c.options.temperature = 0;
  Rng rng(1);
  CHECK(pick_token(c, rng) == 96);
}

TEST_CASE("sampler: greedy takes the largest logit, the lowest index of equals, whatever the filters say") {
  const SamplerOptions options{.temperature = 0, .top_p = 0.1, .min_p = 0.5, .top_k = 3};
  Rng rng(1);
  CHECK(pick_token({{1, 3, 2, 3}, options}, rng) == 1);
  CHECK(pick_token({{-kInf, -5, -kInf}, options}, rng) == 1);
  CHECK(pick_token({{0, kInf, kInf}, options}, rng) == 1);
  CHECK(pick_token({{-0.0f, 0.0f}, options}, rng) == 0);
  CHECK(pick_token({{-2}, options}, rng) == 0);
  std::vector<float> many(1000, -1.f);
  many[255] = many[256] = many[999] = 4;
  CHECK(pick_token({many, options}, rng) == 255);
  CHECK(rng.state() == Rng(1).state());
}

TEST_CASE("sampler: ties at a border go to the lower index") {
  const auto kept = [](const SamplerOptions& options) {
    SampleCase c;
    c.logits.assign(10, 2.5f);
    c.options = options;
    std::set<size_t> set;
    const std::vector<double> weights = weigh(c);
    for (size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] > 0) set.insert(i);
    }
    return set;
  };
  CHECK(kept({.top_k = 3}) == std::set<size_t>{0, 1, 2});
  CHECK(kept({.top_p = 0.35}) == std::set<size_t>{0, 1, 2, 3});
  CHECK(kept({.min_p = 1}).size() == 10);
}

TEST_CASE("sampler: the penalties and the bias, by hand") {
  SampleCase c;
  c.logits = {2, -2, 2, 2, 0};
  c.tokens = {0, 1, 2, 2, 2};  // the prompt is 0, 1; 2 has been said three times
  c.prompt = 2;
  c.options = {.repetition = 2, .presence = 0.5, .frequency = 0.25, .bias = {{3, -kInf}, {4, 1}}};
  std::vector<float> seen;
  c.edit = [&](std::span<float> logits) {
    seen.assign(logits.begin(), logits.end());
    return true;
  };
  weigh(c);
  CHECK(seen == std::vector<float>{1, -4, 1 - 0.5f - 0.75f, -kInf, 1});
  c.options.penalty_window = 2;
  weigh(c);
  CHECK(seen == std::vector<float>{2, -2, 1 - 0.5f - 0.5f, -kInf, 1});
  c.options.repetition = 0;  // off
  weigh(c);
  CHECK(seen == std::vector<float>{2, -2, 2 - 0.5f - 0.5f, -kInf, 1});
  CHECK_FALSE(SampleCase({.logits = {1}, .options = {.repetition = 0}}).sampler().needs_history());
  CHECK(SampleCase({.logits = {1}, .options = {.presence = -1}}).sampler().needs_history());
}

TEST_CASE("sampler: an edit that wants no token gets none and costs no random number; the model's logits stay") {
  SampleCase c;
  c.logits = {1, 2, 3};
  c.edit = [](std::span<float> logits) {
    logits[0] = 50;
    return false;
  };
  Rng rng(1);
  CHECK(pick_token(c, rng) == Sampler::kNoToken);
  CHECK(rng.state() == Rng(1).state());
  CHECK(c.logits == std::vector<float>{1, 2, 3});
}

TEST_CASE("sampler: same seed, same tokens; another seed, others; a sampler remembers nothing") {
  const std::vector<float> logits = random_logits(1000, 11, 6, false);
  const std::vector<float> other_logits = random_logits(1000, 12, 6, false);
  const auto draw = [&](const SamplerOptions& options, uint64_t seed, bool disturb) {
    Sampler sampler(options, 1000);
    Rng rng(seed), other(99);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) {
      if (disturb) sampler.pick({other_logits}, other);
      tokens.push_back(sampler.pick({logits}, rng));
    }
    return tokens;
  };
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.temperature = 0.9, .top_p = 0.95, .top_k = 200}}) {
    CHECK(draw(options, 5, false) == draw(options, 5, false));
    CHECK(draw(options, 5, false) == draw(options, 5, true));
    CHECK(draw(options, 5, false) != draw(options, 6, false));
  }
  // The tokens themselves, so that a compiler or a machine that draws others is noticed.
  const auto first = [&](const SamplerOptions& options) {
    const std::vector<int32_t> tokens = draw(options, 5, false);
    return std::vector<int32_t>(tokens.begin(), tokens.begin() + 8);
  };
  CHECK(first({}) == std::vector<int32_t>{329, 622, 99, 63, 546, 708, 478, 70});
  CHECK(first({.temperature = 0.8, .top_p = 0.9}) == std::vector<int32_t>{338, 621, 99, 65, 545, 704, 478, 70});
}

TEST_CASE("sampler: a turn goes on from copies of the generator's state and the history, or from the timeline") {
  // A stand-in for a model: logits that depend on the token before.
  const auto model = [](int32_t last) { return random_logits(500, static_cast<uint64_t>(last) + 7, 6, true); };
  const SamplerOptions options{.temperature = 1.2,
                               .top_p = 0.97,
                               .repetition = 1.3,
                               .presence = 0.4,
                               .frequency = 0.2,
                               .penalty_window = 40,
                               .bias = {{3, 1.f}}};
  struct Turn {
    Sampler sampler;
    Rng rng;
    PenaltyHistory history;
    std::vector<int32_t> tokens;
  };
  const auto run = [&](Turn& turn, int count) {
    for (int i = 0; i < count; ++i) {
      const std::vector<float> logits = model(turn.tokens.back());
      const int32_t token = turn.sampler.pick({logits, &turn.history}, turn.rng);
      turn.history.push(token, true);
      turn.tokens.push_back(token);
    }
  };
  const std::vector<int32_t> prompt = {4, 8, 15, 16, 23, 42};
  Turn whole{Sampler(options, 500), Rng(77), PenaltyHistory(500, 40), prompt};
  whole.history.rebuild(prompt, prompt.size());
  run(whole, 50);
  const Rng::State state = whole.rng.state();
  const PenaltyHistory history = whole.history;
  const std::vector<int32_t> tokens = whole.tokens;
  run(whole, 100);

  Turn copied{Sampler(options, 500), Rng(state), history, tokens};
  run(copied, 100);
  CHECK(copied.tokens == whole.tokens);
  Turn rebuilt{Sampler(options, 500), Rng(state), PenaltyHistory(500, 40), tokens};
  rebuilt.history.rebuild(tokens, prompt.size());
  run(rebuilt, 100);
  CHECK(rebuilt.tokens == whole.tokens);
  Turn forgetful{Sampler(options, 500), Rng(state), PenaltyHistory(500, 40), tokens};  // the history does matter
  run(forgetful, 100);
  CHECK(forgetful.tokens != whole.tokens);
}
