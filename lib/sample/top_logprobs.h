// Log-probabilities as hosts ask for them: of the model's own distribution, log softmax of its logits at temperature 1,
// before any processor of lib/sample/sampler.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

struct TokenLogprob {
  int32_t token;
  double logprob;  // natural logarithm; -inf for a logit of -inf
};

inline constexpr int32_t kMaxTopLogprobs = 20;

// `own`: that of token `chosen`. `top`: the n most probable, ranked; of equals the lower index first.
// Errors: kInvalidArgument (n outside 0..20), kInternal (a NaN, all -inf, no such token).
void top_logprobs(std::span<const float> logits, int32_t chosen, int32_t n, TokenLogprob& own,
                  std::vector<TokenLogprob>& top);

}  // namespace dsv4
