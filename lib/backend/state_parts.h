// What the state of a sequence of P committed positions consists of, on every backend: rows in the model's own format
// (spec: model.md §4), and nothing else. A snapshot holds them all; a checkpoint inside a session only those that later
// steps write over, since compressed and index rows stay where they are.
//
//   window       the last `window` positions                       packed key/value rows
//   tail         positions of groups that are not finished; CSA (ratio 4) pools the group before as well
//   compressed   one row per finished group                        index rows likewise
//   carry        with a draft head: the residual row of the newest position
//
// With a draft head the last layer is the head's own, which is one position behind the others.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/backend/backend.h"

namespace dsv4 {

// CSA's groups overlap: each pools the one before it too.
inline bool overlaps(int ratio) { return ratio == 4; }

// Bytes of one packed row; 0 where the layer has no such rows. Not for kCarry.
size_t row_bytes(const LayerShape& layer, StateRows which);

struct StatePart {
  int layer = 0;  // -1: kCarry
  StateRows rows = StateRows::kWindow;
  int64_t first = 0;  // position, or entry
  int64_t count = 0;
  size_t row_bytes = 0;

  size_t bytes() const { return static_cast<size_t>(count) * row_bytes; }
};

enum class StateExtent {
  kAll,
  kRecent  // without compressed and index rows
};
// In a fixed order: layer by layer, in the order of StateRows. Parts without rows are left out.
std::vector<StatePart> state_parts(const StateShape& shape, int64_t positions, StateExtent extent);
size_t total_bytes(const std::vector<StatePart>& parts);

}  // namespace dsv4
