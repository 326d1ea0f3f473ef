#include "lib/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "lib/base/error.h"

namespace dsv4 {
namespace {

void check_range(const char* name, double value, double most) {
  if (!(value >= 0 && value <= most)) {  // written so that a NaN is refused
    fail(Status::kInvalidArgument, "{}: expected 0 to {}, found {}", name, most, value);
  }
}

// The most probable token: the largest logit, the lowest index among equals.
size_t find_best(std::span<const float> logits) {
  if (logits.empty()) fail(Status::kInternal, "sampler: no logits");
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) fail(Status::kInternal, "sampler: logit {} of {} is NaN", i, logits.size());
    if (logits[i] > logits[best]) best = i;
  }
  if (logits[best] == -std::numeric_limits<float>::infinity()) {
    fail(Status::kInternal, "sampler: all of {} logits are -inf", logits.size());
  }
  return best;
}

// Ranks tokens: more probable first. A strict order, so that a filter's border is never a matter of chance.
struct Better {
  std::span<const float> logits;
  bool operator()(int32_t a, int32_t b) const {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  }
};

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  check_range("temperature", options.temperature, std::numeric_limits<double>::max());
  check_range("top_p", options.top_p, 1);
  check_range("min_p", options.min_p, 1);
  if (options.top_k < 0) fail(Status::kInvalidArgument, "top_k: expected 0 or more, found {}", options.top_k);
}

int32_t Sampler::pick(std::span<const float> logits, Rng& rng) {
  if (options_.temperature == 0) return static_cast<int32_t>(find_best(logits));
  weigh(logits);
  // Summed and walked in index order, never in that of kept_: the answer must not depend on how a standard library
  // arranges what nth_element leaves undefined.
  const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  const double target = rng.uniform() * total;
  double sum = 0;
  size_t last = 0;  // also the answer if rounding made target equal to total
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] == 0) continue;
    last = i;
    sum += weights_[i];
    if (target < sum) break;
  }
  return static_cast<int32_t>(last);
}

std::span<const double> Sampler::weigh(std::span<const float> logits) {
  const double best = logits[find_best(logits)];
  kept_.resize(logits.size());
  std::iota(kept_.begin(), kept_.end(), 0);
  if (options_.top_k > 0) keep_top_k(logits);

  weights_.assign(logits.size(), 0.0);
  for (int32_t token : kept_) {
    const double logit = logits[static_cast<size_t>(token)];
    // Equal first: inf - inf is NaN. Several infinite logits share everything; all else is then exp(-inf).
    weights_[static_cast<size_t>(token)] = logit == best ? 1.0 : std::exp((logit - best) / options_.temperature);
  }
  if (options_.top_p > 0 && options_.top_p < 1) keep_top_p(logits);
  if (options_.min_p > 0) keep_min_p();
  return weights_;
}

void Sampler::keep_top_k(std::span<const float> logits) {
  const size_t k = static_cast<size_t>(options_.top_k);
  if (k >= kept_.size()) return;
  std::nth_element(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(k), kept_.end(), Better{logits});
  kept_.resize(k);
}

// The kept tokens are a prefix of the ranking, and where it ends is found by halving: rank one half above the other,
// add the better half up, and go on in whichever half the sum crosses top_p. Linear altogether, as the halves shrink.
void Sampler::keep_top_p(std::span<const float> logits) {
  const auto weight = [&](int32_t token) { return weights_[static_cast<size_t>(token)]; };
  double missing = 0;  // weight that the prefix still lacks
  for (int32_t token : kept_) missing += weight(token);
  missing *= options_.top_p;

  auto first = kept_.begin();  // everything before it stays
  auto last = kept_.end();     // everything from it on goes
  while (last - first > 1) {
    const auto middle = first + (last - first) / 2;
    std::nth_element(first, middle, last, Better{logits});
    double sum = 0;
    for (auto it = first; it != middle; ++it) sum += weight(*it);
    if (sum >= missing) {
      last = middle;
    } else {
      missing -= sum;
      first = middle;
    }
  }
  for (auto it = last; it != kept_.end(); ++it) weights_[static_cast<size_t>(*it)] = 0;
  kept_.erase(last, kept_.end());
}

void Sampler::keep_min_p() {
  for (int32_t token : kept_) {
    double& weight = weights_[static_cast<size_t>(token)];  // relative to the largest, which is 1
    if (weight < options_.min_p) weight = 0;
  }
}

}  // namespace dsv4
