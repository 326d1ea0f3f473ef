// The section TURN of a snapshot (SNAPSHOT.md): a turn that was interrupted.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/session/open_turn.h"

namespace dsv4::snapshot {

std::vector<uint8_t> encode_turn(const OpenTurn& turn);
// Error kCorrupt: options that no turn could have been begun with, too. Whether the turn fits the tokens and the
// conversation is for check_turn().
OpenTurn decode_turn(std::span<const uint8_t> bytes, int64_t vocab, const std::string& name);
// Error kCorrupt.
void check_turn(const OpenTurn& turn, uint64_t tokens, const Conversation& conversation, bool by_messages,
                const std::string& name);

}  // namespace dsv4::snapshot
