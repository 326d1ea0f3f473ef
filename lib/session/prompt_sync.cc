#include "lib/session/prompt_sync.h"

#include <algorithm>
#include <string_view>

namespace dsv4 {
namespace {

struct Match {
  size_t tokens = 0;  // of the timeline
  size_t pieces = 0;  // of the prompt, whole ones
};

// How many tokens from the front of `timeline` are exactly `piece`; -1 when they are not.
int64_t match_piece(const PromptPiece& piece, std::span<const int32_t> timeline, const Tokenizer& tokenizer) {
  if (piece.kind == PromptPiece::Kind::kIds) {
    const bool same =
        piece.ids.size() <= timeline.size() && std::equal(piece.ids.begin(), piece.ids.end(), timeline.begin());
    return same ? static_cast<int64_t>(piece.ids.size()) : -1;
  }
  std::string_view left = piece.text;
  size_t tokens = 0;
  while (!left.empty()) {
    if (tokens == timeline.size()) return -1;
    const int32_t id = timeline[tokens];
    const std::string_view bytes = tokenizer.bytes(id);
    const bool same_kind = tokenizer.is_added(id) == (piece.kind == PromptPiece::Kind::kSpecial);
    if (!same_kind || bytes.empty() || !left.starts_with(bytes)) return -1;
    left.remove_prefix(bytes.size());
    ++tokens;
  }
  return static_cast<int64_t>(tokens);
}

// The longest beginning of both that ends where a piece of the prompt ends.
Match match_prefix(const std::vector<PromptPiece>& pieces, std::span<const int32_t> timeline,
                   const Tokenizer& tokenizer) {
  Match match;
  for (const PromptPiece& piece : pieces) {
    const int64_t tokens = match_piece(piece, timeline.subspan(match.tokens), tokenizer);
    if (tokens < 0) break;
    match.tokens += static_cast<size_t>(tokens);
    ++match.pieces;
  }
  return match;
}

}  // namespace

std::vector<int32_t> sync_prompt(const Prompt& prompt, std::span<const int32_t> timeline, const Tokenizer& tokenizer) {
  const Match match = match_prefix(prompt.pieces, timeline, tokenizer);
  std::vector<int32_t> ids(timeline.begin(), timeline.begin() + static_cast<std::ptrdiff_t>(match.tokens));
  Prompt rest;
  rest.pieces.assign(prompt.pieces.begin() + static_cast<std::ptrdiff_t>(match.pieces), prompt.pieces.end());
  rest.encode(tokenizer, ids);
  return ids;
}

}  // namespace dsv4
