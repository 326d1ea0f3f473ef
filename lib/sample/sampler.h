// Logits to a token. The filters act in this order, each on what the one before it left:
//   1. top_k        the k largest logits stay
//   2. temperature  p = softmax(logits / temperature) over them
//   3. top_p        the fewest most probable tokens whose probabilities sum to at least top_p stay
//   4. min_p        tokens with p >= min_p * (the largest p) stay
// and one of the rest is drawn in proportion to p. Equal logits are ranked by index, the lower one first, so that every
// filter keeps a definite set; a NaN has no rank and is an error. The most probable token always stays.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/sample/rng.h"

namespace dsv4 {

struct SamplerOptions {
  double temperature = 1;  // >= 0; 0: greedy, the largest logit whatever the filters say
  double top_p = 0;        // [0, 1]; 0 or 1: off
  double min_p = 0;        // [0, 1]; 0: off
  int32_t top_k = 0;       // >= 0; 0: off
};

class Sampler {
 public:
  // Error kInvalidArgument names the option that is out of range.
  explicit Sampler(const SamplerOptions& options);

  // The next token. Greedy takes nothing from `rng`, anything else exactly one number.
  // Error kInternal: a logit is NaN (the message has its index), or none is above -inf.
  int32_t pick(std::span<const float> logits, Rng& rng);

  // What pick() draws from: one weight per token, 0 where a filter removed it, 1 for the most probable, not normalised.
  // Valid until the next call. Not for temperature 0. Errors as pick().
  std::span<const double> weigh(std::span<const float> logits);

 private:
  void keep_top_k(std::span<const float> logits);
  void keep_top_p(std::span<const float> logits);
  void keep_min_p();

  SamplerOptions options_;
  std::vector<int32_t> kept_;    // tokens still in play, in no particular order
  std::vector<double> weights_;  // [vocab]
};

}  // namespace dsv4
