#include "tests/support/sampler_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

using namespace dsv4;

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

struct State {
  std::vector<float> logits;
  std::vector<bool> in;
  double temperature = 1;

  // Tokens still in, by falling logit and rising index.
  std::vector<size_t> ranking() const {
    std::vector<size_t> order;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (in[i] && logits[i] > kNever) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    return order;
  }
  double weight(size_t i, size_t best) const {
    return logits[i] == logits[best] ? 1.0 : std::exp((double(logits[i]) - double(logits[best])) / temperature);
  }
  void keep(const std::vector<size_t>& order, size_t count) {
    for (size_t r = count; r < order.size(); ++r) in[order[r]] = false;
  }
};

void penalise(State& s, const SampleCase& c, bool repetition) {
  const SamplerOptions& o = c.options;
  const size_t window = o.penalty_window == 0 ? c.tokens.size() : static_cast<size_t>(o.penalty_window);
  const size_t first = c.tokens.size() - std::min(window, c.tokens.size());
  for (size_t id = 0; id < s.logits.size(); ++id) {
    int all = 0, generated = 0;
    for (size_t i = first; i < c.tokens.size(); ++i) {
      if (c.tokens[i] != static_cast<int32_t>(id)) continue;
      ++all;
      if (i >= c.prompt) ++generated;
    }
    double l = s.logits[id];
    if (repetition && all > 0 && o.repetition != 0) l = l > 0 ? l / o.repetition : l * o.repetition;
    if (!repetition && generated > 0) l -= o.presence + o.frequency * generated;
    s.logits[id] = static_cast<float>(l);
  }
}

void apply(State& s, const SampleCase& c, Step step) {
  const SamplerOptions& o = c.options;
  const std::vector<size_t> order = s.ranking();
  switch (step) {
    case Step::kBias:
      for (const LogitBias& b : o.bias) s.logits[static_cast<size_t>(b.token)] += b.bias;
      break;
    case Step::kRepetition: penalise(s, c, true); break;
    case Step::kCounts: penalise(s, c, false); break;
    case Step::kEdit:
      if (c.edit) c.edit(s.logits);
      break;
    case Step::kMask:
      for (size_t i = 0; i < s.logits.size() && !c.mask.empty(); ++i) {
        if ((c.mask[i / 32] & (1u << (i % 32))) == 0) s.logits[i] = kNever;
      }
      break;
    case Step::kTopK:
      if (o.top_k > 0) s.keep(order, std::min(order.size(), static_cast<size_t>(o.top_k)));
      break;
    case Step::kTemperature: s.temperature = o.temperature; break;
    case Step::kTopP: {
      if (o.top_p == 0 || o.top_p == 1) break;
      double total = 0, sum = 0;
      for (size_t i : order) total += s.weight(i, order[0]);
      size_t count = 0;
      while (count < order.size() && sum < o.top_p * total) sum += s.weight(order[count++], order[0]);
      s.keep(order, count);
      break;
    }
    case Step::kMinP: {
      if (o.min_p == 0) break;
      size_t count = 0;
      while (count < order.size() && s.weight(order[count], order[0]) >= o.min_p) ++count;
      s.keep(order, count);
      break;
    }
  }
}

}  // namespace

PenaltyHistory SampleCase::history() const {
  PenaltyHistory history(static_cast<int64_t>(logits.size()), options.penalty_window);
  history.rebuild(tokens, prompt);
  return history;
}

int32_t pick_token(const SampleCase& c, Rng& rng) {
  const PenaltyHistory history = c.history();
  return c.sampler().pick(c.inputs(history), rng);
}

std::vector<double> reference_weights(const SampleCase& c, const std::vector<Step>& order) {
  State s{c.logits, std::vector<bool>(c.logits.size(), true), 1};
  for (const Step step : order) apply(s, c, step);
  std::vector<double> weights(c.logits.size(), 0.0);
  const std::vector<size_t> kept = s.ranking();
  for (const size_t i : kept) weights[i] = s.weight(i, kept[0]);
  return weights;
}

bool busy_edit(std::span<float> logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (i % 3 == 1) logits[i] = logits[i] * 0.5f + 1.25f;
    if (i % 17 == 4) logits[i] = kNever;
  }
  logits[logits.size() / 2] = 9.5f;
  return true;
}

std::vector<float> random_logits(size_t size, uint64_t seed, double spread, bool with_ties) {
  Rng rng(seed);
  std::vector<float> logits(size);
  for (float& x : logits) {
    x = static_cast<float>((rng.uniform() - 0.5) * spread);
    if (with_ties) x = std::round(x);
  }
  return logits;
}
