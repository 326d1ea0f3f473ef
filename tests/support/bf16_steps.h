// The distance of two values in BF16.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "lib/base/number.h"

namespace dsv4::test {

// How many BF16 values lie between, plus one; 0 when they round to the same. INT64_MAX unless both are finite.
inline int64_t bf16_steps(float a, float b) {
  if (!std::isfinite(a) || !std::isfinite(b)) return INT64_MAX;
  const auto ordered = [](float x) -> int64_t {
    const uint16_t u = to_bf16(x).bits;
    return (u & 0x8000) != 0 ? -static_cast<int64_t>(u & 0x7fff) : static_cast<int64_t>(u);
  };
  return std::abs(ordered(a) - ordered(b));
}

}  // namespace dsv4::test
