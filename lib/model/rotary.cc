#include "lib/model/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dsv4 {

std::vector<float> rotary_frequencies(const Config& config, bool compressed) {
  const int64_t dim = config.rope_dim, half = dim / 2;
  const double theta = compressed ? config.compress_rope_theta : config.rope_theta;
  std::vector<float> f(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    // A float exponent, a float power: exactly these two roundings, then the reciprocal's.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    const float power = static_cast<float>(std::pow(static_cast<double>(static_cast<float>(theta)), exponent));
    f[static_cast<size_t>(i)] = 1.0f / power;
  }
  if (!compressed || !config.yarn.on) return f;

  const Yarn& y = config.yarn;
  const auto correction = [&](double turns) {
    return static_cast<double>(dim) * std::log(y.original / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(correction(y.beta_fast)), 0.0);
  const double high = std::min(std::ceil(correction(y.beta_slow)), static_cast<double>(dim - 1));
  const double span = high > low ? high - low : 0.001;
  for (int64_t i = 0; i < half; ++i) {
    const float ramp = static_cast<float>(std::clamp((static_cast<double>(i) - low) / span, 0.0, 1.0));
    float& v = f[static_cast<size_t>(i)];
    v = v / static_cast<float>(y.factor) * ramp + v * (1.0f - ramp);
  }
  return f;
}

}  // namespace dsv4
