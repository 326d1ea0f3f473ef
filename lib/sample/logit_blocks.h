// The two passes over a whole vocabulary that sampling cannot do without, block by block and without branches: this is
// where its time goes. A block's largest logit later tells whether a search can leave the block out, and the blocks'
// sums say in which one a draw has fallen.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace dsv4 {

inline constexpr size_t kLogitBlock = 256;

inline size_t logit_block_count(size_t logits) { return (logits + kLogitBlock - 1) / kLogitBlock; }

// The logits of block `index`; the last one may be shorter.
inline std::span<const float> logit_block(std::span<const float> logits, size_t index) {
  const std::span<const float> rest = logits.subspan(index * kLogitBlock);
  return rest.size() < kLogitBlock ? rest : rest.first(kLogitBlock);
}

// The largest logit; best[b] is that of block b. False: there is a NaN, and the rest means nothing.
bool scan_logits(std::span<const float> logits, std::vector<float>& best, float& best_of_all);

// weights[i] = 2^((logits[i] - best) * scale), by exp2_weight. sums[b]: those of block b, within a relative 2^-22 and
// always the same.
void weigh_logits(std::span<const float> logits, float best, float scale, std::vector<float>& weights,
                  std::vector<double>& sums);

// The sum of the weights in double, in an order that is always the same; and of those only whose logits are at least
// `least`. best[b]: the largest logit of block b.
double sum_weights(std::span<const float> weights);
double sum_weights_of(std::span<const float> logits, std::span<const float> weights, std::span<const float> best,
                      float least);

// The index of the first NaN, logits.size() without one.
size_t find_nan(std::span<const float> logits);

}  // namespace dsv4
