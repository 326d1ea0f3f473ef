// How much of a timeline a newly rendered prompt can keep.
//
// The tokens that the model itself produced are kept as they are, even where the tokenizer would cut the same text
// differently: the comparison is between the bytes of tokens and the text of the prompt, and control tokens only ever
// equal control tokens. What differs is cut back to the last control token before it and encoded anew.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/text/prompt.h"
#include "lib/text/tokenizer.h"

namespace dsv4 {

// The ids of `prompt`: a beginning of `timeline` as long as its text allows, then the rest encoded.
std::vector<int32_t> sync_prompt(const Prompt& prompt, std::span<const int32_t> timeline, const Tokenizer& tokenizer);

}  // namespace dsv4
