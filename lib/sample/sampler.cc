#include "lib/sample/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "lib/base/error.h"
#include "lib/sample/exp2_weight.h"
#include "lib/sample/logit_blocks.h"

namespace dsv4 {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr double kMaxDouble = std::numeric_limits<double>::max();

void check_range(const char* name, double value, double least, double most) {
  if (!(value >= least && value <= most)) {  // written so that a NaN is refused
    fail(Status::kInvalidArgument, "{}: expected {} to {}, found {}", name, least, most, value);
  }
}

// Neither 0 nor infinite, so that no product with it is NaN.
float clamp_scale(double scale) {
  return static_cast<float>(std::clamp(scale, static_cast<double>(std::numeric_limits<float>::min()),
                                       static_cast<double>(std::numeric_limits<float>::max())));
}

// Finite floats are at least `least` where they are at least this. `least` is not above the largest of them.
float round_up(double least) {
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  if (least <= static_cast<double>(kLowest)) return kLowest;
  const float nearest = static_cast<float>(least);
  return static_cast<double>(nearest) < least ? std::nextafter(nearest, kInf) : nearest;
}

// A table, as not every processor shifts the parts of a vector by different amounts.
constexpr std::array<uint32_t, 32> kBits = [] {
  std::array<uint32_t, 32> bits{};
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = 1u << i;
  return bits;
}();

// -inf for those of 32 logits whose bit is not set, on their representation and without branches: this is most of what
// a mask costs.
void keep_allowed(uint32_t word, float* logits) {
  constexpr uint32_t kNever = std::bit_cast<uint32_t>(-kInf);
  for (size_t i = 0; i < 32; ++i) {
    const uint32_t keep = (word & kBits[i]) != 0 ? UINT32_MAX : 0;
    logits[i] = std::bit_cast<float>((std::bit_cast<uint32_t>(logits[i]) & keep) | (kNever & ~keep));
  }
}

bool allows(std::span<const uint32_t> mask, size_t token) {
  return mask.empty() || (mask[token / 32] >> (token % 32) & 1) != 0;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options, int64_t vocab) : options_(options), vocab_(static_cast<size_t>(vocab)) {
  if (vocab < 1 || vocab > INT32_MAX) fail(Status::kInternal, "sampler: a vocabulary of {}", vocab);
  check_options();
  check_bias();
  if (options_.repetition == 0) options_.repetition = 1;
  has_penalties_ = options_.repetition != 1 || options_.presence != 0 || options_.frequency != 0;
  scale_ = options_.temperature == 0 ? 1.0f : clamp_scale(std::numbers::log2e / options_.temperature);
}

void Sampler::check_options() const {
  check_range("temperature", options_.temperature, 0, kMaxDouble);
  check_range("top_p", options_.top_p, 0, 1);
  check_range("min_p", options_.min_p, 0, 1);
  if (options_.top_k < 0) fail(Status::kInvalidArgument, "top_k: expected 0 or more, found {}", options_.top_k);
  check_range("repetition_penalty", options_.repetition, 0, kMaxDouble);
  check_range("presence_penalty", options_.presence, -2, 2);
  check_range("frequency_penalty", options_.frequency, -2, 2);
  if (options_.penalty_window < 0) {
    fail(Status::kInvalidArgument, "penalty_window: expected 0 or more, found {}", options_.penalty_window);
  }
}

void Sampler::check_bias() const {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < options_.bias.size(); ++i) {
    const LogitBias& b = options_.bias[i];
    if (b.token < 0 || static_cast<size_t>(b.token) >= vocab_) {
      fail(Status::kInvalidArgument, "logit_bias[{}]: token {} is outside the vocabulary of {}", i, b.token, vocab_);
    }
    if (!(b.bias < kInf)) {  // NaN as well
      fail(Status::kInvalidArgument, "logit_bias[{}]: token {}: expected a number or -inf, found {}", i, b.token,
           b.bias);
    }
    tokens.push_back(b.token);
  }
  std::sort(tokens.begin(), tokens.end());
  const auto twice = std::adjacent_find(tokens.begin(), tokens.end());
  if (twice != tokens.end()) fail(Status::kInvalidArgument, "logit_bias: token {} stands in it twice", *twice);
}

int32_t Sampler::pick(const PickInputs& inputs, Rng& rng) {
  if (!process(inputs)) return kNoToken;
  if (options_.temperature == 0) return best_token();
  if (has_filters()) {
    filter();
    return draw_from_kept(rng.uniform());
  }
  weigh_all();
  return draw_from_all(rng.uniform());
}

std::vector<double> Sampler::weigh(const PickInputs& inputs) {
  std::vector<double> weights(vocab_, 0.0);
  if (!process(inputs)) return weights;
  if (has_filters()) {
    filter();
    for (const RankedToken& t : kept_) weights[static_cast<size_t>(t.token)] = static_cast<double>(t.weight);
  } else {
    weigh_all();
    std::copy(weights_.begin(), weights_.end(), weights.begin());
  }
  return weights;
}

// ---------------------------------------------------------------------------------------------- processors of logits

// Steps 1 to 5, on a copy if any of them is in use, and the scan of what they leave. False: no token is wanted.
bool Sampler::process(const PickInputs& inputs) {
  if (inputs.logits.size() != vocab_) {
    fail(Status::kInternal, "sampler: {} logits for a vocabulary of {}", inputs.logits.size(), vocab_);
  }
  if (!inputs.mask.empty() && inputs.mask.size() < (vocab_ + 31) / 32) {
    fail(Status::kInternal, "sampler: a mask of {} words for a vocabulary of {}", inputs.mask.size(), vocab_);
  }
  if (has_penalties_ && inputs.history == nullptr) fail(Status::kInternal, "sampler: penalties need a history");
  const bool edits = inputs.edit != nullptr && *inputs.edit;
  logits_ = inputs.logits;
  if (options_.bias.empty() && !has_penalties_ && !edits && inputs.mask.empty()) {
    scan(inputs);
    return true;
  }

  const size_t nan = find_nan(inputs.logits);  // first, as the steps may hide it
  if (nan != vocab_) fail(Status::kInternal, "sampler: logit {} of {} is NaN", nan, vocab_);
  edited_.assign(inputs.logits.begin(), inputs.logits.end());
  logits_ = edited_;
  for (const LogitBias& b : options_.bias) {
    float& logit = edited_[static_cast<size_t>(b.token)];
    logit = b.bias == -kInf ? b.bias : logit + b.bias;  // inf - inf is NaN
  }
  if (has_penalties_) penalise(*inputs.history);
  if (edits) {
    if (!(*inputs.edit)(edited_)) return false;
    const size_t written = find_nan(edited_);
    if (written != vocab_) {
      fail(Status::kInvalidArgument, "the host's edit of the logits: it made logit {} of {} NaN", written, vocab_);
    }
  }
  if (!inputs.mask.empty()) apply_mask(inputs.mask);
  scan(inputs);
  return true;
}

void Sampler::penalise(const PenaltyHistory& history) {
  for (const PenaltyHistory::Count& count : history.counts()) {
    const size_t token = static_cast<size_t>(count.token);
    if (token >= vocab_) fail(Status::kInternal, "sampler: a history of another vocabulary");
    float& logit = edited_[token];
    const double repeated = static_cast<double>(logit);
    logit = static_cast<float>(repeated > 0 ? repeated / options_.repetition : repeated * options_.repetition);
    if (count.generated == 0) continue;
    logit = static_cast<float>(static_cast<double>(logit) -
                               (options_.presence + options_.frequency * static_cast<double>(count.generated)));
  }
}

void Sampler::apply_mask(std::span<const uint32_t> mask) {
  size_t first = 0;
  for (; first + 32 <= vocab_; first += 32) {
    const uint32_t word = mask[first / 32];
    if (word != UINT32_MAX) keep_allowed(word, edited_.data() + first);
  }
  for (; first < vocab_; ++first) {
    if (!allows(mask, first)) edited_[first] = -kInf;
  }
}

// Of logits_: the best and the blocks' best.
void Sampler::scan(const PickInputs& inputs) {
  if (!scan_logits(logits_, block_best_, best_)) {
    fail(Status::kInternal, "sampler: logit {} of {} is NaN", find_nan(logits_), vocab_);
  }
  if (best_ == -kInf) fail_without_token(inputs);
  if (best_ == kInf) spread_infinity();
}

// Logits of +inf share everything between them. Past this point all logits are finite or -inf.
void Sampler::spread_infinity() {
  if (logits_.data() != edited_.data()) edited_.assign(logits_.begin(), logits_.end());
  for (float& logit : edited_) logit = logit == kInf ? 0.0f : -kInf;
  logits_ = edited_;
  scan_logits(logits_, block_best_, best_);
}

// Whose fault it is that nothing is left. The first in order that would have been enough by itself.
void Sampler::fail_without_token(const PickInputs& inputs) const {
  std::vector<bool> removed(vocab_, false);
  for (const LogitBias& b : options_.bias) {
    if (b.bias == -kInf) removed[static_cast<size_t>(b.token)] = true;
  }
  bool model = false, constraint = false, both = false, bias = false;  // is there a token that ... leaves?
  for (size_t i = 0; i < vocab_; ++i) {
    const bool finite = inputs.logits[i] != -kInf;
    const bool allowed = allows(inputs.mask, i);
    model = model || finite;
    constraint = constraint || allowed;
    both = both || (finite && allowed);
    bias = bias || (finite && allowed && !removed[i]);
  }
  if (!model) fail(Status::kInternal, "sampler: all of {} logits are -inf", vocab_);
  if (!constraint) fail(Status::kInternal, "sampler: the constraint allows none of {} tokens", vocab_);
  if (!both) fail(Status::kInternal, "sampler: the logits of all tokens that the constraint allows are -inf");
  const char* which = inputs.mask.empty() ? "" : " that the constraint allows";
  if (!bias) fail(Status::kInvalidArgument, "logit_bias: it removes every token{}", which);
  if (inputs.edit != nullptr && *inputs.edit) {
    fail(Status::kInvalidArgument, "the host's edit of the logits: it leaves no token{} above -inf", which);
  }
  fail(Status::kInvalidArgument, "logit_bias and penalties: they leave no token{} above -inf", which);
}

// ---------------------------------------------------------------------------------------------------------- filters

bool Sampler::has_top_k() const { return options_.top_k > 0 && static_cast<size_t>(options_.top_k) < vocab_; }
bool Sampler::has_top_p() const { return options_.top_p > 0 && options_.top_p < 1; }
bool Sampler::has_filters() const { return has_top_k() || has_top_p() || options_.min_p > 0; }

void Sampler::weigh_all() { weigh_logits(logits_, best_, scale_, weights_, block_sums_); }

// Each filter keeps a beginning of the ranking. A lower bound of where it ends is cheap to find, and most blocks of
// logits have nothing above it; only what is, is looked at closely.
void Sampler::filter() {
  if (has_top_k()) {
    collect(least_of_top_k(), {});
    cutter_.keep_count(kept_, options_.top_k);
    if (has_top_p()) cutter_.keep_sum(kept_, options_.top_p * sum_of_kept());
  } else if (has_top_p()) {
    weigh_all();
    const double sum = options_.top_p * sum_weights(weights_);
    collect_sum(sum);
    cutter_.keep_sum(kept_, sum);
  } else {
    collect(least_of_min_p(), {});
  }
  if (options_.min_p > 0) {
    const float least = least_of_min_p();
    std::erase_if(kept_, [&](const RankedToken& t) { return t.logit < least; });
  }
}

// kept_ becomes the tokens with logits of `least`, which is finite, and more. `weights`: of all
// tokens; empty: to be found.
void Sampler::collect(float least, std::span<const float> weights) {
  kept_.clear();
  for (size_t b = 0; b < block_best_.size(); ++b) {
    if (block_best_[b] < least) continue;
    const std::span<const float> block = logit_block(logits_, b);
    RankedToken found[kLogitBlock];
    size_t count = 0;
    for (size_t i = 0; i < block.size(); ++i) {
      found[count] = {static_cast<int32_t>(b * kLogitBlock + i), block[i], 0};
      count += block[i] >= least ? 1 : 0;
    }
    for (size_t i = 0; i < count; ++i) {
      RankedToken& t = found[i];
      t.weight = weights.empty() ? exp2_weight((t.logit - best_) * scale_) : weights[static_cast<size_t>(t.token)];
    }
    kept_.insert(kept_.end(), found, found + count);
  }
}

// kept_ becomes a beginning of the ranking whose weights, those of weights_, reach `sum`. Tokens below a weight of
// spare / n cannot have more than `spare` together if they are n. With n the vocabulary that is certain, and far more
// than is needed; hence smaller n are tried first.
void Sampler::collect_sum(double sum) {
  const double spare = sum / options_.top_p - sum;
  for (const double part : {1.0 / 256, 1.0 / 16, 1.0}) {
    const double least_weight = std::clamp(spare / (part * static_cast<double>(vocab_)), 0x1p-120, 1.0);
    const float least = round_up(static_cast<double>(best_) + std::log2(least_weight) / static_cast<double>(scale_));
    if (sum_weights_of(logits_, weights_, block_best_, least) < sum) continue;
    collect(least, weights_);
    return;
  }
  collect(std::numeric_limits<float>::lowest(), weights_);  // what rounding has left out
}

double Sampler::sum_of_kept() const {
  double sum = 0;
  for (const RankedToken& t : kept_) sum += static_cast<double>(t.weight);
  return sum;
}

// The best of k blocks are k logits, so that the k-th largest of all is not below the least of them.
float Sampler::least_of_top_k() {
  const size_t k = static_cast<size_t>(options_.top_k);
  if (k > block_best_.size()) return std::numeric_limits<float>::lowest();
  spare_ = block_best_;
  const auto kth = spare_.begin() + static_cast<ptrdiff_t>(k - 1);
  std::nth_element(spare_.begin(), kth, spare_.end(), std::greater<float>());
  return round_up(static_cast<double>(*kth));
}

// p >= min_p * largest, as a condition on the logit.
float Sampler::least_of_min_p() const {
  return round_up(static_cast<double>(best_) + options_.temperature * std::log(options_.min_p));
}

// ------------------------------------------------------------------------------------------------------------- draws

int32_t Sampler::best_token() const {
  size_t b = 0;
  while (block_best_[b] != best_) ++b;
  size_t i = b * kLogitBlock;
  while (logits_[i] != best_) ++i;
  return static_cast<int32_t>(i);
}

// Both walk in the order of the index and take the last token of any weight if rounding made the target the total.
int32_t Sampler::draw_from_all(double uniform) {
  const double target = uniform * std::accumulate(block_sums_.begin(), block_sums_.end(), 0.0);
  size_t block = 0;
  double before_block = 0, sum = 0;
  for (size_t b = 0; b < block_sums_.size(); ++b) {
    if (block_sums_[b] == 0) continue;
    block = b;
    before_block = sum;
    sum += block_sums_[b];
    if (target < sum) break;
  }
  const size_t first = block * kLogitBlock, end = std::min(first + kLogitBlock, vocab_);
  const double rest = target - before_block;
  size_t last = first;
  sum = 0;
  for (size_t i = first; i < end; ++i) {
    if (weights_[i] == 0) continue;
    last = i;
    sum += static_cast<double>(weights_[i]);
    if (rest < sum) break;
  }
  return static_cast<int32_t>(last);
}

int32_t Sampler::draw_from_kept(double uniform) const {
  const double target = uniform * sum_of_kept();
  double sum = 0;
  int32_t last = kept_.front().token;
  for (const RankedToken& t : kept_) {
    if (t.weight == 0) continue;
    last = t.token;
    sum += static_cast<double>(t.weight);
    if (target < sum) break;
  }
  return last;
}

}  // namespace dsv4
