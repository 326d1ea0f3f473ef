// Several sessions of one model that decode at once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "client.h"

namespace cli {

constexpr uint64_t kBatchWarmUpTokens = 3;  // of each session, while the others are still beginning

// Tokens per second of `count` forks of `session` together, each generating `tokens` tokens after those in a thread of
// its own, by the median time between two of them. Every fork draws other tokens.
double decode_together(const Session& session, const dsv4_model_info& info, size_t count, uint64_t tokens);

}  // namespace cli
