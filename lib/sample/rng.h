// Rng: the generator behind sampling, xoshiro256++ (Blackman, Vigna 2019) seeded through splitmix64.
// Its numbers depend on the seed alone, on every platform, and its whole state is four words that can be saved.
#pragma once

#include <array>
#include <cstdint>

namespace dsv4 {

class Rng {
 public:
  using State = std::array<uint64_t, 4>;

  explicit Rng(uint64_t seed);
  // Goes on from a saved state. Error kCorrupt: all four words are zero, which no generator ever reaches.
  explicit Rng(const State& state);

  const State& state() const { return state_; }

  uint64_t next();
  // Uniform in [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  State state_;
};

}  // namespace dsv4
