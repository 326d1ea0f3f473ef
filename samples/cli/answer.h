// One answer, printed as it comes: what the model says on standard output, timings on standard error.
#pragma once

#include <cstdint>
#include <functional>

#include "client.h"
#include "turn_flags.h"

namespace cli {

// What else there is to do about one answer.
struct AnswerPlan {
  bool resume = false;           // go on with the turn that was interrupted
  bool print_ids = false;        // the ids of the tokens on one line of standard error
  uint64_t pause_at = 0;         // pause after so many tokens; 0: never
  std::function<void()> paused;  // called then, before the answer goes on
};

// Answers what waits in the session. Ctrl-C ends the answer and keeps what there is of it: `reason` is then
// DSV4_DONE_CANCELLED.
dsv4_generate_stats answer(const dsv4_model* model, dsv4_session* session, const TurnFlags& flags,
                           const AnswerPlan& plan = {});

// One line on standard error: tokens, speed, why the turn ended.
void print_stats(const dsv4_generate_stats& stats, bool greedy);

}  // namespace cli
