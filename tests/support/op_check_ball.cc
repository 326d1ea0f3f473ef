#include "tests/support/op_check_ball.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace dsv4::test {
namespace {

Ball between(double lo, double hi) { return {(lo + hi) / 2, (hi - lo) / 2}; }
double magnitude(Ball a) { return std::fabs(a.v) + a.r; }

double bf16_of(double x) { return round_bf16(static_cast<float>(x)); }

}  // namespace

Balls points(const float* x, int64_t n) {
  Balls out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)].v = x[i];
  return out;
}

Ball add(Ball a, Ball b) { return {a.v + b.v, a.r + b.r + kSlop * (std::fabs(a.v) + std::fabs(b.v))}; }
Ball mul(Ball a, Ball b) { return {a.v * b.v, std::fabs(a.v) * b.r + std::fabs(b.v) * a.r + a.r * b.r}; }
Ball div(Ball a, Ball b) {
  const double least = std::fabs(b.v) - b.r;
  return {a.v / b.v, (a.r + std::fabs(a.v / b.v) * b.r) / least};
}
Ball sloppy(Ball a) { return {a.v, a.r + kSlop * std::fabs(a.v)}; }
Ball hull(Ball a, Ball b) { return between(std::min(a.v - a.r, b.v - b.r), std::max(a.v + a.r, b.v + b.r)); }
Ball exp_ball(Ball x) { return sloppy(between(std::exp(x.v - x.r), std::exp(x.v + x.r))); }
Ball sigmoid_ball(Ball x) {
  const auto f = [](double v) { return 1 / (1 + std::exp(-v)); };
  return sloppy(between(f(x.v - x.r), f(x.v + x.r)));
}

Ball dot_balls(const float* w, const Balls& x) {
  Ball sum;
  double size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double wi = w[i];
    sum.v += wi * x[i].v;
    sum.r += std::fabs(wi) * x[i].r;
    size += std::fabs(wi) * magnitude(x[i]);
  }
  sum.r += kSlop * size;
  return sum;
}

Ball rounded(Ball x) { return between(bf16_of(x.v - x.r), bf16_of(x.v + x.r)); }
void round_balls(Balls& x) {
  for (Ball& b : x) b = rounded(b);
}

Balls product_balls(const std::vector<float>& w, const Balls& x) {
  Balls out(w.size() / x.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = dot_balls(w.data() + i * x.size(), x);
  return out;
}

void norm_balls(Balls& x, const float* weight, double eps) {
  Ball square;
  for (const Ball& b : x) {
    const Ball s = mul(b, b);
    square.v += s.v;
    square.r += s.r + kSlop * s.v;
  }
  const auto n = static_cast<double>(x.size());
  const double lo = 1 / std::sqrt((square.v + square.r) / n + eps);
  const double hi = 1 / std::sqrt(std::max(square.v - square.r, 0.0) / n + eps);
  const Ball scale = sloppy(between(lo, hi));
  for (size_t i = 0; i < x.size(); ++i) {
    const Ball y = mul(x[i], scale);
    x[i] = rounded(sloppy(mul(y, {weight != nullptr ? weight[i] : 1.0, 0})));
  }
}

void rope_balls(Balls& x, int64_t from, double position, const std::vector<float>& frequencies, bool back) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = static_cast<float>(position) * frequencies[i];  // one FP32 product
    const Ball c = sloppy({std::cos(angle), 0}), s = sloppy({back ? -std::sin(angle) : std::sin(angle), 0});
    Ball& even = x[static_cast<size_t>(from) + 2 * i];
    Ball& odd = x[static_cast<size_t>(from) + 2 * i + 1];
    const Ball minus = mul(odd, s);
    const Ball e = add(mul(even, c), {-minus.v, minus.r});
    const Ball o = add(mul(even, s), mul(odd, c));
    even = rounded(e);
    odd = rounded(o);
  }
}

void hadamard_balls(Balls& x) {
  const double scale = 1 / std::sqrt(static_cast<double>(x.size()));
  Balls out(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    double size = 0;
    for (size_t j = 0; j < x.size(); ++j) {
      const bool minus = std::popcount(i & j) % 2 != 0;  // Sylvester's matrix
      out[i].v += minus ? -x[j].v : x[j].v;
      out[i].r += x[j].r;
      size += magnitude(x[j]);
    }
    out[i] = rounded({out[i].v * scale, (out[i].r + kSlop * size) * scale});
  }
  x = out;
}

namespace {

template <class Exponent, class Quantise>
void quant_block(Ball* x, int64_t n, Exponent exponent, Quantise quantise) {
  double least = 0, most = 0;
  for (int64_t i = 0; i < n; ++i) {
    least = std::max(least, std::fabs(x[i].v) - x[i].r);
    most = std::max(most, magnitude(x[i]));
  }
  const int low = exponent(static_cast<float>(least)), high = exponent(static_cast<float>(most));
  for (int64_t i = 0; i < n; ++i) {
    double lo = INFINITY, hi = -INFINITY;
    for (int e = low; e <= high; ++e) {
      const double scale = std::ldexp(1.0, e);
      lo = std::min(lo, quantise((x[i].v - x[i].r) / scale) * scale);
      hi = std::max(hi, quantise((x[i].v + x[i].r) / scale) * scale);
    }
    x[i] = between(lo, hi);
  }
}

}  // namespace

void quant_e4m3_balls(Balls& x, int64_t from, int64_t n, int64_t block) {
  for (int64_t at = from; at < from + n; at += block) {
    quant_block(x.data() + at, std::min(block, from + n - at), e4m3_block_exponent, [](double v) {
      return static_cast<double>(kE4M3[to_e4m3(static_cast<float>(std::clamp(v, -448.0, 448.0)))]);
    });
  }
}

void quant_e2m1_balls(Balls& x) {
  for (size_t at = 0; at < x.size(); at += 32) {
    quant_block(x.data() + at, 32, e2m1_block_exponent, [](double v) {
      return static_cast<double>(kE2M1[to_e2m1(static_cast<float>(std::clamp(v, -6.0, 6.0)))]);
    });
  }
}

Balls softmax_balls(const Balls& logits, const std::vector<Balls>& values, const Ball* sink) {
  double highest = sink != nullptr ? sink->v : -INFINITY, spread = 0, sum = 0;
  for (const Ball& l : logits) highest = std::max(highest, l.v);
  std::vector<double> p;
  for (const Ball& l : logits) {
    p.push_back(std::exp(l.v - highest));
    sum += p.back();
    spread = std::max(spread, std::expm1(l.r));
  }
  if (sink != nullptr) sum += std::exp(sink->v - highest);
  Balls out(values.empty() ? 0 : values[0].size());
  for (size_t c = 0; c < out.size(); ++c) {
    double size = 0;
    for (size_t j = 0; j < p.size(); ++j) {
      out[c].v += p[j] / sum * values[j][c].v;
      out[c].r += p[j] / sum * values[j][c].r;
      size += p[j] / sum * magnitude(values[j][c]);
    }
    // Numerator and denominator may each be off by the spread of the weights.
    out[c].r += (2.1 * spread + 4 * kSlop) * size;
  }
  return out;
}

}  // namespace dsv4::test
