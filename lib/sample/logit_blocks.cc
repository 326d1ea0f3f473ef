#include "lib/sample/logit_blocks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/sample/exp2_weight.h"

namespace dsv4 {
namespace {

// Compilers make a vector instruction of this, which they do not of std::max: its rule for NaN and -0 is another.
inline float larger(float a, float b) { return a > b ? a : b; }

// out[i] = the largest of four, n apart. Folding makes a maximum of independent ones: a running one would have to wait
// for its predecessor.
inline void fold_four(const float* in, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    out[i] = larger(larger(in[i], in[i + n]), larger(in[i + 2 * n], in[i + 3 * n]));
  }
}

static_assert(kLogitBlock == 256, "fold_four takes it down to one in four steps");

bool scan_block(const float* logits, float& best) {
  float a[64], b[16];
  fold_four(logits, 64, a);
  fold_four(a, 16, b);
  fold_four(b, 4, a);
  fold_four(a, 1, &best);
  int nan = 0;
  for (size_t i = 0; i < kLogitBlock; ++i) nan |= logits[i] != logits[i];
  return nan == 0;
}

double sum_block(const float* weights, size_t n) {
  constexpr size_t kLanes = 8;
  double lane[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lane[j] += static_cast<double>(weights[i + j]);
  }
  for (size_t j = 0; i + j < n; ++j) lane[j] += static_cast<double>(weights[i + j]);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

}  // namespace

bool scan_logits(std::span<const float> logits, std::vector<float>& best, float& best_of_all) {
  constexpr float kLeast = -std::numeric_limits<float>::infinity();
  best.resize(logit_block_count(logits.size()));
  best_of_all = kLeast;
  for (size_t b = 0; b < best.size(); ++b) {
    const std::span<const float> block = logit_block(logits, b);
    bool whole;
    if (block.size() == kLogitBlock) {
      whole = scan_block(block.data(), best[b]);
    } else {
      float padded[kLogitBlock];
      std::fill(std::copy(block.begin(), block.end(), padded), padded + kLogitBlock, kLeast);
      whole = scan_block(padded, best[b]);
    }
    if (!whole) return false;
    best_of_all = larger(best[b], best_of_all);
  }
  return true;
}

double weigh_logits(std::span<const float> logits, float best, float scale, std::vector<float>& weights,
                    std::vector<double>& sums) {
  weights.resize(logits.size());
  sums.resize(logit_block_count(logits.size()));
  double total = 0;
  for (size_t b = 0; b < sums.size(); ++b) {
    const std::span<const float> block = logit_block(logits, b);
    float* out = weights.data() + b * kLogitBlock;
    for (size_t i = 0; i < block.size(); ++i) out[i] = exp2_weight((block[i] - best) * scale);
    sums[b] = sum_block(out, block.size());
    total += sums[b];
  }
  return total;
}

size_t find_nan(std::span<const float> logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) return i;
  }
  return logits.size();
}

}  // namespace dsv4
