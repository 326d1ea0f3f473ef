#include "lib/sample/logit_blocks.h"

#include <algorithm>
#include <limits>

#include "lib/sample/exp2_weight.h"

namespace dsv4 {
namespace {

// Compilers make a vector instruction of this, which they do not of std::max: its rule for NaN and -0 is another.
inline float larger(float a, float b) { return a > b ? a : b; }

// Folds four quarters, n apart, into one. A maximum or a sum of many folds that do not wait for each other is what
// vectors are for; a running one is not.
inline void fold_largest(const float* in, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    out[i] = larger(larger(in[i], in[i + n]), larger(in[i + 2 * n], in[i + 3 * n]));
  }
}

static_assert(kLogitBlock == 256, "four folds take it down to one");

bool scan_block(const float* logits, float& best) {
  float a[64], b[16];
  fold_largest(logits, 64, a);
  fold_largest(a, 16, b);
  fold_largest(b, 4, a);
  fold_largest(a, 1, &best);
  int nan = 0;
  for (size_t i = 0; i < kLogitBlock; ++i) nan |= logits[i] != logits[i];
  return nan == 0;
}

// Running sums that do not wait for each other.
class Lanes {
 public:
  void add(const float* values, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (size_t j = 0; j < 8; ++j) lane_[j] += static_cast<double>(values[i + j]);
    }
    for (size_t j = 0; i + j < n; ++j) lane_[j] += static_cast<double>(values[i + j]);
  }
  double sum() const {
    return ((lane_[0] + lane_[1]) + (lane_[2] + lane_[3])) + ((lane_[4] + lane_[5]) + (lane_[6] + lane_[7]));
  }

 private:
  double lane_[8] = {};
};

// Four at a time are added as floats, whose rounding is that of the weights themselves, and the rest as doubles: a draw
// asks for no more.
double sum_block(const float* weights) {
  float quarter[kLogitBlock / 4];
  for (size_t i = 0; i < 64; ++i) {
    quarter[i] = (weights[i] + weights[i + 64]) + (weights[i + 128] + weights[i + 192]);
  }
  Lanes lanes;
  lanes.add(quarter, 64);
  return lanes.sum();
}

// Block `index`, where need be made whole with `filler` in `room`.
const float* whole_block(std::span<const float> values, size_t index, float filler, float (&room)[kLogitBlock]) {
  const std::span<const float> block = logit_block(values, index);
  if (block.size() == kLogitBlock) return block.data();
  std::fill(std::copy(block.begin(), block.end(), room), room + kLogitBlock, filler);
  return room;
}

}  // namespace

bool scan_logits(std::span<const float> logits, std::vector<float>& best, float& best_of_all) {
  constexpr float kLeast = -std::numeric_limits<float>::infinity();
  float room[kLogitBlock];
  best.resize(logit_block_count(logits.size()));
  best_of_all = kLeast;
  for (size_t b = 0; b < best.size(); ++b) {
    if (!scan_block(whole_block(logits, b, kLeast, room), best[b])) return false;
    best_of_all = larger(best[b], best_of_all);
  }
  return true;
}

void weigh_logits(std::span<const float> logits, float best, float scale, std::vector<float>& weights,
                  std::vector<double>& sums) {
  float room[kLogitBlock];
  weights.resize(logits.size());
  sums.resize(logit_block_count(logits.size()));
  for (size_t b = 0; b < sums.size(); ++b) {
    const std::span<const float> block = logit_block(logits, b);
    float* out = weights.data() + b * kLogitBlock;
    for (size_t i = 0; i < block.size(); ++i) out[i] = exp2_weight((block[i] - best) * scale);
    sums[b] = sum_block(whole_block(weights, b, 0, room));
  }
}

double sum_weights(std::span<const float> weights) {
  Lanes lanes;
  for (size_t b = 0; b < logit_block_count(weights.size()); ++b) {
    const std::span<const float> block = logit_block(weights, b);
    lanes.add(block.data(), block.size());
  }
  return lanes.sum();
}

double sum_weights_of(std::span<const float> logits, std::span<const float> weights, std::span<const float> best,
                      float least) {
  Lanes lanes;
  for (size_t b = 0; b < best.size(); ++b) {
    if (best[b] < least) continue;
    const std::span<const float> block = logit_block(logits, b);
    float counted[kLogitBlock];
    for (size_t i = 0; i < block.size(); ++i) counted[i] = block[i] >= least ? weights[b * kLogitBlock + i] : 0.0f;
    lanes.add(counted, block.size());
  }
  return lanes.sum();
}

size_t find_nan(std::span<const float> logits) {
  for (size_t b = 0; b < logit_block_count(logits.size()); ++b) {
    const std::span<const float> block = logit_block(logits, b);
    int nan = 0;
    for (size_t i = 0; i < block.size(); ++i) nan |= block[i] != block[i];
    for (size_t i = 0; nan != 0 && i < block.size(); ++i) {
      if (block[i] != block[i]) return b * kLogitBlock + i;
    }
  }
  return logits.size();
}

}  // namespace dsv4
