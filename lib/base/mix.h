// The output function of splitmix64 (Steele, Lea, Flood 2014): a bijection of 64 bits after which near inputs have
// nothing in common. Step its input by kMixStep.
#pragma once

#include <cstdint>

namespace dsv4 {

inline constexpr uint64_t kMixStep = 0x9e3779b97f4a7c15u;

constexpr uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace dsv4
