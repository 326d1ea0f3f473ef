// Balls: numbers with a radius, in float64, for explaining what a flipped rounding inside a step may change.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/number.h"

namespace dsv4::test {

struct Ball {
  double v = 0;  // centre
  double r = 0;  // radius
};
using Balls = std::vector<Ball>;

// What FP32 arithmetic may add, in any order of summation: this share of the sum of the terms' magnitudes.
constexpr double kSlop = 0x1p-21;

Balls points(const float* x, int64_t n);
Ball add(Ball a, Ball b);
Ball mul(Ball a, Ball b);
Ball div(Ball a, Ball b);            // b away from zero
Ball sloppy(Ball a);                 // after a function in FP32
Ball hull(Ball a, Ball b);
Ball exp_ball(Ball x);
Ball sigmoid_ball(Ball x);
Ball dot_balls(const float* w, const Balls& x);                    // over all of x, with the slop of the sum
Ball rounded(Ball x);                                              // -> BF16
void round_balls(Balls& x);
Balls product_balls(const std::vector<float>& w, const Balls& x);  // w [rows, x.size()]; not rounded
void norm_balls(Balls& x, const float* weight, double eps);        // weight may be null; -> BF16
void rope_balls(Balls& x, int64_t from, double position, const std::vector<float>& frequencies, bool back);
void hadamard_balls(Balls& x);
void quant_e4m3_balls(Balls& x, int64_t from, int64_t n, int64_t block);
void quant_e2m1_balls(Balls& x);
// Σ softmax(logits)·values, per channel; a logit without a value (a sink) may be given.
Balls softmax_balls(const Balls& logits, const std::vector<Balls>& values, const Ball* sink);

}  // namespace dsv4::test
