#include "lib/session/open_turn.h"

#include <algorithm>

#include "lib/base/error.h"

namespace dsv4 {
namespace {

bool same_bias(const std::vector<LogitBias>& a, const std::vector<LogitBias>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const LogitBias& x, const LogitBias& y) { return x.token == y.token && x.bias == y.bias; });
}

bool same_choice(const ToolChoice& a, const std::optional<ToolChoice>& b) {
  return b.has_value() && a.kind == b->kind && a.name == b->name;
}

bool same_grammar(const ConstraintSpec& a, const std::optional<ConstraintSpec>& b) {
  return b.has_value() && a.kind == b->kind && a.text == b->text;
}

void need(bool same, const char* option) {
  if (same) return;
  fail(Status::kInvalidArgument,
       "{}: an interrupted turn goes on with the options it was begun with: leave it at its default", option);
}

// Left at its default, or what the turn has.
template <class T>
void need_same(const T& given, const T& own, const T& left_alone, const char* option) {
  need(given == left_alone || given == own, option);
}

void check_sampling(const SamplerOptions& given, const SamplerOptions& own) {
  const SamplerOptions plain;
  need_same(given.temperature, own.temperature, plain.temperature, "temperature");
  need_same(given.top_k, own.top_k, 0, "top_k");
  need_same(given.top_p, own.top_p, given.top_p == 1 ? 1.0 : 0.0, "top_p");
  need_same(given.min_p, own.min_p, 0.0, "min_p");
  need_same(given.repetition, own.repetition, given.repetition == 1 ? 1.0 : 0.0, "repetition_penalty");
  need_same(given.presence, own.presence, 0.0, "presence_penalty");
  need_same(given.frequency, own.frequency, 0.0, "frequency_penalty");
  need_same(given.penalty_window, own.penalty_window, int64_t{0}, "penalty_window");
  need(given.bias.empty() || same_bias(given.bias, own.bias), "logit_bias");
}

}  // namespace

GenerateOptions resumed_options(const OpenTurn& turn, const GenerateOptions& given) {
  const GenerateOptions& own = turn.options;
  check_sampling(given.sampling, own.sampling);
  need_same(given.seed, own.seed, uint64_t{0}, "seed");
  need_same(given.reasoning_budget, own.reasoning_budget, uint64_t{0}, "reasoning_budget");
  need(given.stops.empty() || given.stops == own.stops, "stop");
  need(!given.reasoning || given.reasoning == turn.stats.reasoning, "reasoning");
  need(!given.tool_choice || same_choice(*given.tool_choice, own.tool_choice), "tool_choice");
  need(!given.grammar || same_grammar(*given.grammar, own.grammar), "grammar");
  if (turn.edited && !given.edit) {
    fail(Status::kInvalidArgument, "logits: this turn was begun with a callback that edits them: give it again");
  }
  if (!turn.edited && given.edit) {
    fail(Status::kInvalidArgument, "logits: this turn was begun without a callback that edits them");
  }
  GenerateOptions out = own;
  out.resume = true;
  out.edit = given.edit;
  out.token_events = given.token_events;
  out.top_logprobs = given.top_logprobs;
  out.max_tokens = given.max_tokens != 0 ? given.max_tokens : turn.stats.max_tokens;
  return out;
}

}  // namespace dsv4
