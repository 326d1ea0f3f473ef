// TokenPicker: everything of one turn that decides the next token: the sampler with its random numbers, what the
// penalties count, the constraint; and the log-probabilities for hosts that ask.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "lib/session/session.h"

namespace dsv4 {

class TokenPicker {
 public:
  // Error kInvalidArgument names the option that is out of range. The options must outlive it.
  TokenPicker(const GenerateOptions& options, uint64_t seed, int64_t vocab);

  // To go on with a turn's random numbers; behind its tokens, which take() has seen.
  void set_random(const Rng::State& state) { rng_ = Rng(state); }
  const Rng::State& random() const { return rng_.state(); }

  // Before the first token: what stands before it, and what the answer must look like (nullptr: anything).
  void begin(std::span<const int32_t> prompt, std::shared_ptr<const Constraint> constraint);

  // The next token, Sampler::kNoToken when the host's edit wants none. `in_answer`: behind the reasoning, where the
  // constraint holds. Errors: as Sampler::pick; kInvalidArgument where the grammar leaves no token at all.
  int32_t pick(std::span<const float> logits, bool in_answer);
  // A token joins the text: the one that was picked, or one that somebody else put there. False: the constraint does
  // not have it there, and this picker is of no use any more.
  bool take(int32_t id, bool in_answer);

  // Log-probabilities of `id` and of the most probable.
  TokenInfo describe(std::span<const float> logits, int32_t id, bool forced) const;

 private:
  const GenerateOptions& options_;
  Sampler sampler_;
  Rng rng_;
  PenaltyHistory history_;
  std::optional<ConstraintMatcher> matcher_;
};

}  // namespace dsv4
