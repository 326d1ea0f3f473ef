#include "lib/sample/ranking.h"

#include <algorithm>

namespace dsv4 {
namespace {

constexpr size_t kBins = 2048;
constexpr size_t kSortAtMost = 64;

// Bins of equal width over the range of the logits, the best first. Rising in -logit, as it must be: each step is.
class Binning {
 public:
  explicit Binning(const std::vector<RankedToken>& tokens) {
    float least = tokens.front().logit, most = least;
    for (const RankedToken& t : tokens) {
      least = t.logit < least ? t.logit : least;
      most = t.logit > most ? t.logit : most;
    }
    top_ = most;
    all_equal_ = least == most;
    if (all_equal_) return;
    scale_ = (kBins - 1) / (top_ - static_cast<double>(least));
    last_ = (*this)(least);
  }

  bool all_equal() const { return all_equal_; }
  size_t last() const { return last_; }
  size_t operator()(float logit) const {
    return static_cast<size_t>(static_cast<int32_t>((top_ - static_cast<double>(logit)) * scale_));
  }

 private:
  double top_, scale_ = 0;
  bool all_equal_;
  size_t last_ = 0;  // bin of the least logit
};

}  // namespace

void RankingCutter::keep_count(std::vector<RankedToken>& tokens, double k) {
  if (k < static_cast<double>(tokens.size())) keep(tokens, k, [](const RankedToken&) { return 1.0; });
}

void RankingCutter::keep_sum(std::vector<RankedToken>& tokens, double sum) {
  keep(tokens, sum, [](const RankedToken& t) { return static_cast<double>(t.weight); });
}

template <class Amount>
void RankingCutter::keep(std::vector<RankedToken>& tokens, double target, Amount amount) {
  if (tokens.empty()) return;
  range_ = tokens;
  const RankedToken last = find_last(target, amount);
  std::erase_if(tokens, [&](const RankedToken& t) { return ranks_before(last, t); });
}

// Sorts range_ into bins, adds these up from the best on, and goes on with the one in which the sum is reached, until
// it is small or all in it are equal. The best and the least never share a bin, so that each round leaves some out, and
// any but an adversary's logits leave the rounds after the first next to nothing.
template <class Amount>
RankedToken RankingCutter::find_last(double missing, Amount amount) {
  while (range_.size() > kSortAtMost) {
    const Binning bin(range_);
    if (bin.all_equal()) break;
    bins_.assign(kBins, 0.0);
    for (const RankedToken& t : range_) bins_[bin(t.logit)] += amount(t);
    size_t border = 0;
    while (border < bin.last() && bins_[border] < missing) missing -= bins_[border++];
    std::erase_if(range_, [&](const RankedToken& t) { return bin(t.logit) != border; });
  }
  if (range_.size() <= kSortAtMost) std::sort(range_.begin(), range_.end(), ranks_before);
  for (const RankedToken& t : range_) {
    missing -= amount(t);
    if (missing <= 0) return t;
  }
  return range_.back();
}

}  // namespace dsv4
