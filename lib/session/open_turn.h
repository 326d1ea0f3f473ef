// OpenTurn: a turn that was interrupted (paused, stopped, cancelled, out of max_tokens) before the model ended it, with
// what decides how it goes on. Where the output stands in reasoning, answer, call or character, what the constraint has
// seen and what the penalties count is not in here: it follows from the options and from the tokens on the timeline.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lib/sample/rng.h"
#include "lib/session/generate.h"
#include "lib/text/output_parser.h"

namespace dsv4 {

// The message that the answer continues (Message::prefix), as it was before.
struct ContinuedMessage {
  std::string reasoning;
  std::string content;
};

// The ends of a turn that leave it open.
inline bool is_interruption(EndReason reason) {
  return reason == EndReason::kPaused || reason == EndReason::kLength || reason == EndReason::kHost ||
         reason == EndReason::kCancelled;
}

struct OpenTurn {
  // As the turn was begun with, but for what is the host's own each time: its events and its hand in the logits.
  GenerateOptions options;
  bool edited = false;  // there was such a hand
  ConstraintSpec constraint;
  OutputStart start = OutputStart::kContent;
  int64_t prompt = 0;        // tokens
  int64_t answer_begin = 0;  // see Turn
  Rng::State rng{};
  GenerateStats stats;  // `reason`: why it was interrupted
  std::optional<ContinuedMessage> continued;
  bool kept = false;  // what there is of the answer is the conversation's last message
};

// The options under which an open turn goes on: its own, with the host's events, its hand in the logits and, where it
// gives one, its limit. Error kInvalidArgument: an option that is neither left alone nor what the turn has.
GenerateOptions resumed_options(const OpenTurn& turn, const GenerateOptions& given);

}  // namespace dsv4
