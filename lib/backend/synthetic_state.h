// A state as if tokens had been evaluated, for measuring at a depth without getting there: random rows in the model's
// own formats, as its norms leave them. Rows of zeros would not do: their scores all tie, and their scales are extreme.
#pragma once

#include "lib/backend/backend.h"

namespace dsv4 {

// Every row that `positions` tokens leave; the same ones each time.
void fill_with_noise(SequenceState& state, const StateShape& shape, int64_t positions);

}  // namespace dsv4
