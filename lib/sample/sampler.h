// Logits to a token. The processors act in this order, each on what the one before it left:
//   1. logit_bias          its bias is added to a token's logit; -inf: never
//   2. repetition_penalty  l > 0 ? l / r : l * r for every token that stands in the prompt or in the answer so far
//   3. presence_penalty and frequency_penalty  l - presence - frequency * (times that it stands there) for every token
//                          of the answer so far. All three penalties see the last penalty_window tokens only
//   4. the host's edit     whatever it likes
//   5. the constraint      tokens outside its mask become -inf, whatever came before
//   6. top_k               the k largest logits stay
//   7. temperature         p = softmax(logits / temperature) over them
//   8. top_p               the fewest most probable tokens whose probabilities sum to at least top_p stay
//   9. min_p               tokens with p >= min_p * (the largest p) stay
// and one of the rest is drawn in proportion to p. Temperature 0 takes the largest logit after 5 instead. Equal logits
// are ranked by index, the lower one first, so that every filter keeps a definite set; a NaN has no rank and is an
// error. The most probable token always stays.
//
// A probability has the precision of a float (exp2_weight.h); one that is 2^-127 of the largest, or less, is 0. Sums
// that decide what stays are in double. Everything is added in an order that is always the same.
//
// A Sampler has no memory: what a draw depends on besides the options and the inputs is the generator's state and the
// history, both plain values. With copies of these two, or with the one and the other rebuilt, a turn goes on exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/sample/penalty_history.h"
#include "lib/sample/ranking.h"
#include "lib/sample/rng.h"

namespace dsv4 {

struct LogitBias {
  int32_t token;
  float bias;
};

struct SamplerOptions {
  double temperature = 1;            // >= 0; 0: greedy, the largest logit whatever the filters say
  double top_p = 0;                  // [0, 1]; 0 or 1: off
  double min_p = 0;                  // [0, 1]; 0: off
  int32_t top_k = 0;                 // >= 0; 0: off
  double repetition = 1;             // > 0; 1, and also 0: off
  double presence = 0;               // [-2, 2]
  double frequency = 0;              // [-2, 2]
  int64_t penalty_window = 0;        // >= 0; 0: all tokens
  std::vector<LogitBias> bias = {};  // a token at most once; -inf: never
};

// May edit the logits of the next token. False: there shall be none.
using EditLogits = std::function<bool(std::span<float> logits)>;

struct PickInputs {
  std::span<const float> logits;            // [vocab], as the model gave them
  const PenaltyHistory* history = nullptr;  // needed if the options have a penalty
  std::span<const uint32_t> mask = {};      // bit t % 32 of word t / 32: token t is allowed; empty: all are
  const EditLogits* edit = nullptr;
};

class Sampler {
 public:
  static constexpr int32_t kNoToken = -1;

  // Error kInvalidArgument names the option that is out of range.
  Sampler(const SamplerOptions& options, int64_t vocab);

  bool needs_history() const { return has_penalties_; }

  // The next token; kNoToken if the edit wants none. Greedy and kNoToken take nothing from `rng`, anything else exactly
  // one number.
  // Errors: kInternal: a logit is NaN (the message has its index), none is above -inf, or the constraint allows none
  // that is. kInvalidArgument: the edit wrote a NaN; bias, penalties or edit left no token above -inf.
  int32_t pick(const PickInputs& inputs, Rng& rng);

  // What pick() draws from, for tests: one weight per token, 0 where it is out, 1 for the most probable, not
  // normalised. Not for temperature 0 or an edit that wants no token. Errors as pick().
  std::vector<double> weigh(const PickInputs& inputs);

 private:
  void check_options() const;
  void check_bias() const;
  bool process(const PickInputs& inputs);
  void penalise(const PenaltyHistory& history);
  void apply_mask(std::span<const uint32_t> mask);
  void scan(const PickInputs& inputs);
  void spread_infinity();
  [[noreturn]] void fail_without_token(const PickInputs& inputs) const;

  bool has_top_k() const;
  bool has_top_p() const;
  bool has_filters() const;
  void weigh_all();
  void filter();
  void collect(float least, std::span<const float> weights);
  void collect_sum(double sum);
  double sum_of_kept() const;
  float least_of_top_k();
  float least_of_min_p() const;
  int32_t best_token() const;
  int32_t draw_from_all(double uniform);
  int32_t draw_from_kept(double uniform) const;

  SamplerOptions options_;
  size_t vocab_;
  bool has_penalties_;
  float scale_;  // log2(e) / temperature: weights are powers of two

  // Of the call that runs.
  std::span<const float> logits_;  // the model's own, or edited_
  float best_ = 0;                 // the largest of them
  std::vector<float> edited_;
  std::vector<float> block_best_, spare_;
  std::vector<float> weights_;      // without a filter, or for top_p: of all tokens
  std::vector<double> block_sums_;  // of weights_
  std::vector<RankedToken> kept_;   // with a filter: what it left, in the order of the index
  RankingCutter cutter_;
};

}  // namespace dsv4
