#include "lib/sample/top_logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/error.h"
#include "lib/sample/logit_blocks.h"

namespace dsv4 {
namespace {

// The n first of the ranking. A block whose best does not beat the worst of n found before it has nothing to give.
void rank_top(std::span<const float> logits, std::span<const float> block_best, size_t n,
              std::vector<TokenLogprob>& top) {
  top.clear();
  if (n == 0) return;
  for (size_t b = 0; b < block_best.size(); ++b) {
    if (top.size() == n && !(static_cast<double>(block_best[b]) > top.back().logprob)) continue;
    const std::span<const float> block = logit_block(logits, b);
    for (size_t i = 0; i < block.size(); ++i) {
      const double logit = static_cast<double>(block[i]);
      if (top.size() == n) {
        if (!(logit > top.back().logprob)) continue;
        top.pop_back();
      }
      const auto at = std::find_if(top.begin(), top.end(), [&](const TokenLogprob& t) { return logit > t.logprob; });
      top.insert(at, {static_cast<int32_t>(b * kLogitBlock + i), logit});
    }
  }
}

}  // namespace

void top_logprobs(std::span<const float> logits, int32_t chosen, int32_t n, TokenLogprob& own,
                  std::vector<TokenLogprob>& top) {
  if (n < 0 || n > kMaxTopLogprobs) {
    fail(Status::kInvalidArgument, "top_logprobs: expected 0 to {}, found {}", kMaxTopLogprobs, n);
  }
  if (chosen < 0 || static_cast<size_t>(chosen) >= logits.size()) {
    fail(Status::kInternal, "top_logprobs: token {} of {} logits", chosen, logits.size());
  }
  std::vector<float> block_best;
  float best = 0;
  if (!scan_logits(logits, block_best, best)) {
    fail(Status::kInternal, "top_logprobs: logit {} of {} is NaN", find_nan(logits), logits.size());
  }
  if (best == -std::numeric_limits<float>::infinity())
    fail(Status::kInternal, "top_logprobs: all of {} logits are -inf", logits.size());

  const double reference = static_cast<double>(best);
  const auto distance = [&](double logit) { return logit == reference ? 0.0 : logit - reference; };  // not inf - inf
  double sum = 0;
  for (const float logit : logits) sum += std::exp(distance(static_cast<double>(logit)));
  const double log_sum = std::log(sum);

  own = {chosen, distance(static_cast<double>(logits[static_cast<size_t>(chosen)])) - log_sum};
  rank_top(logits, block_best, static_cast<size_t>(n), top);
  for (TokenLogprob& t : top) t.logprob = distance(t.logprob) - log_sum;
}

}  // namespace dsv4
