// One answer, printed as it comes: what the model says on standard output, timings on standard error.
#pragma once

#include "client.h"
#include "turn_flags.h"

namespace cli {

// Answers what waits in the session. Ctrl-C ends the answer and keeps what there is of it: `reason` is then
// DSV4_DONE_CANCELLED.
dsv4_generate_stats answer(const dsv4_model* model, dsv4_session* session, const TurnFlags& flags);

// One line on standard error: tokens, speed, why the turn ended.
void print_stats(const dsv4_generate_stats& stats, bool greedy);

}  // namespace cli
