// Rankings of tokens: the larger logit first, the lower index among equals. Every filter keeps the first so many of a
// ranking; this finds where they end in linear time, without ranking the rest.
#pragma once

#include <cstdint>
#include <vector>

namespace dsv4 {

struct RankedToken {
  int32_t token;
  float logit;   // finite
  float weight;  // what it is drawn by
};

// A strict order, so that a border is never a matter of chance.
inline bool ranks_before(const RankedToken& a, const RankedToken& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

class RankingCutter {
 public:
  // `tokens`, in the order of their index before and after. The k first of their ranking stay.
  void keep_count(std::vector<RankedToken>& tokens, double k);
  // The shortest beginning of their ranking stays whose weights, summed in double, reach `sum`; all, if they never do.
  void keep_sum(std::vector<RankedToken>& tokens, double sum);

 private:
  template <class Amount>
  void keep(std::vector<RankedToken>& tokens, double target, Amount amount);
  template <class Amount>
  RankedToken find_last(double missing, Amount amount);

  std::vector<RankedToken> range_;  // that part of the ranking in which the border lies, in the order of the index
  std::vector<double> bins_;
};

}  // namespace dsv4
