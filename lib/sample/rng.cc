#include "lib/sample/rng.h"

#include <bit>

#include "lib/base/error.h"
#include "lib/base/mix.h"

namespace dsv4 {

Rng::Rng(uint64_t seed) {
  // splitmix64 is a bijection of a counter: four words in a row are never all zero, and near seeds give far states.
  for (uint64_t& word : state_) {
    seed += kMixStep;
    word = mix64(seed);
  }
}

Rng::Rng(const State& state) : state_(state) {
  if ((state[0] | state[1] | state[2] | state[3]) == 0) {
    fail(Status::kCorrupt, "random generator: its state is expected to have a bit set, found all zero");
  }
}

uint64_t Rng::next() {
  State& s = state_;
  const uint64_t result = std::rotl(s[0] + s[3], 23) + s[0];
  const uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = std::rotl(s[3], 45);
  return result;
}

}  // namespace dsv4
