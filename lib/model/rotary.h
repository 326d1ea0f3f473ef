// Frequencies of the rotary embedding (spec: model.md §3, "RoPE" and "Rotary angles").
#pragma once

#include <vector>

#include "lib/checkpoint/config.h"

namespace dsv4 {

// rope_dim / 2 frequencies, computed in FP32 as the published program does: the last bit of one decides angles at a
// million tokens. `compressed` layers (ratio 4 and 128) have their own theta and YaRN.
std::vector<float> rotary_frequencies(const Config& config, bool compressed);

}  // namespace dsv4
