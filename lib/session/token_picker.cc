#include "lib/session/token_picker.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"

namespace dsv4 {

TokenPicker::TokenPicker(const GenerateOptions& options, uint64_t seed, int64_t vocab)
    : options_(options),
      sampler_(options.sampling, vocab),
      rng_(seed),
      history_(vocab, options.sampling.penalty_window) {
  if (options.top_logprobs < 0 || options.top_logprobs > kMaxTopLogprobs) {
    fail(Status::kInvalidArgument, "top_logprobs: expected 0 to {}, found {}", kMaxTopLogprobs, options.top_logprobs);
  }
}

void TokenPicker::begin(std::span<const int32_t> prompt, std::shared_ptr<const Constraint> constraint) {
  if (sampler_.needs_history()) history_.rebuild(prompt, prompt.size());
  if (constraint != nullptr) matcher_.emplace(std::move(constraint));
}

int32_t TokenPicker::pick(std::span<const float> logits, bool in_answer) {
  PickInputs inputs;
  inputs.logits = logits;
  inputs.history = &history_;
  if (options_.edit) inputs.edit = &options_.edit;
  if (matcher_ && in_answer) {
    inputs.mask = matcher_->mask();
    if (std::all_of(inputs.mask.begin(), inputs.mask.end(), [](uint32_t word) { return word == 0; })) {
      fail(Status::kInvalidArgument, "grammar: no token of this vocabulary can follow what was generated");
    }
  }
  return sampler_.pick(inputs, rng_);
}

bool TokenPicker::take(int32_t id, bool in_answer) {
  if (sampler_.needs_history()) history_.push(id, true);
  return !matcher_ || !in_answer || matcher_->accept(id);
}

TokenInfo TokenPicker::describe(std::span<const float> logits, int32_t id, bool forced) const {
  TokenInfo info;
  info.token = id;
  info.forced = forced;
  TokenLogprob own{};
  top_logprobs(logits, id, options_.top_logprobs, own, info.top);
  info.logprob = own.logprob;
  return info;
}

}  // namespace dsv4
