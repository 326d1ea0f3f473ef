// One answer, printed as it comes: text on standard output, timings on standard error.
#pragma once

#include "client.h"
#include "model_flags.h"

namespace cli {

// Answers what waits in the session. Ctrl-C ends the answer and keeps what there is of it: `reason` is then
// DSV4_DONE_CANCELLED.
dsv4_generate_stats answer(dsv4_session* session, const TurnFlags& flags);

}  // namespace cli
