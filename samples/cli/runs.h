// What was measured several times.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace cli {

struct Runs {
  std::vector<double> values;  // at least one

  double best() const { return *std::max_element(values.begin(), values.end()); }
  double median() const {
    std::vector<double> sorted = values;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
  }
};

}  // namespace cli
