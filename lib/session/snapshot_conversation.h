// The content of a CONVERSATION section: the request as JSON, and the tokens that the model itself wrote.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/text/conversation.h"

namespace dsv4::snapshot {

// Error kUnsupported: too long, or nested too deeply to be read back.
std::vector<uint8_t> encode_conversation(const Conversation& conversation);
// Error kCorrupt names `name` and the place.
Conversation decode_conversation(std::span<const uint8_t> bytes, int64_t vocab, const std::string& name);

}  // namespace dsv4::snapshot
