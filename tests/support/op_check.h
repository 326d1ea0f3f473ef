// How a step's output is held against the recorded one: at most 1 BF16 ulp on 99.8 % of the elements, and every element
// beyond 1 ulp must be explained by a flip inside the step.
//
// The explanation is a ball computation: the step in float64, every value with a radius that starts as what FP32
// arithmetic in any order may change, and at every rounding inside the step becomes the distance between what the two
// ends round to. A radius is therefore zero after a rounding, unless the value lay at a tie within FP32's reach, and
// then it is exactly one flip wide. Both outputs, ours and the recorded one, must lie in the ball of the last step,
// give or take 1 ulp. A wrong, missing or additional rounding has no such excuse.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/op_check_ball.h"

namespace dsv4::test {

constexpr double kMostBeyondOneUlp = 0.002;

// What one backend got right so far, by step; printed as one line each.
class OpTable {
 public:
  explicit OpTable(const std::string& backend) : backend_(backend) {}
  // Checks (doctest) `got` against `want`, both [rows, cols]. explain(row) is the row's balls, [cols] of them.
  void check(const std::string& op, const std::string& where, const std::vector<float>& got,
             const std::vector<float>& want, int64_t cols, const std::function<Balls(int64_t row)>& explain);
  void count(const std::string& op, const std::string& where, int64_t elements, int64_t beyond, int64_t explained);
  void print() const;

 private:
  struct Line {
    int64_t elements = 0, beyond = 0;
    double worst = 0;
    std::string where;
  };
  std::string backend_;
  std::map<std::string, Line> lines_;
};

}  // namespace dsv4::test
