#include "lib/backend/state_parts.h"

#include <algorithm>

#include "lib/base/kv_row.h"

namespace dsv4 {
namespace {

bool is_recent(StateRows which) { return which != StateRows::kCompressed && which != StateRows::kIndex; }

// The rows of one kind that a layer holds after `positions`: [first, end).
StatePart part_of(const LayerShape& layer, StateRows which, int64_t window, int64_t positions) {
  StatePart part;
  part.rows = which;
  int64_t end = positions;
  switch (which) {
    case StateRows::kWindow: part.first = std::max<int64_t>(positions - window, 0); break;
    case StateRows::kCompressed:
    case StateRows::kIndex: end = positions / layer.ratio; break;
    default: {
      const int64_t group = positions / layer.ratio * layer.ratio;
      part.first = overlaps(layer.ratio) ? std::max<int64_t>(group - layer.ratio, 0) : group;
    }
  }
  part.count = end - part.first;
  part.row_bytes = row_bytes(layer, which);
  return part;
}

}  // namespace

size_t row_bytes(const LayerShape& layer, StateRows which) {
  const bool index = which == StateRows::kIndex || which == StateRows::kIndexTail;
  if (which != StateRows::kWindow && layer.ratio == 0) return 0;
  if (index && layer.index_dim == 0) return 0;
  const KvRowLayout kv{layer.head_dim - layer.rope_dim, layer.rope_dim};
  const int64_t width = (index ? layer.index_dim : layer.head_dim) * (overlaps(layer.ratio) ? 2 : 1);
  switch (which) {
    case StateRows::kWindow:
    case StateRows::kCompressed: return static_cast<size_t>(kv.bytes());
    case StateRows::kIndex: return static_cast<size_t>(IndexRowLayout{layer.index_dim}.bytes());
    case StateRows::kTail:
    case StateRows::kIndexTail: return static_cast<size_t>(8 * width);  // k and z, F32
    case StateRows::kCarry: break;
  }
  return 0;
}

std::vector<StatePart> state_parts(const StateShape& shape, int64_t positions, StateExtent extent) {
  std::vector<StatePart> parts;
  const bool draft = shape.carry != 0;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const bool behind = draft && l + 1 == shape.layers.size();
    const int64_t own = behind ? std::max<int64_t>(positions - 1, 0) : positions;
    for (const StateRows which :
         {StateRows::kWindow, StateRows::kCompressed, StateRows::kIndex, StateRows::kTail, StateRows::kIndexTail}) {
      if (row_bytes(shape.layers[l], which) == 0 || (extent == StateExtent::kRecent && !is_recent(which))) continue;
      StatePart part = part_of(shape.layers[l], which, shape.window, own);
      part.layer = static_cast<int>(l);
      if (part.count > 0) parts.push_back(part);
    }
  }
  if (draft && positions > 0) {
    parts.push_back({-1, StateRows::kCarry, positions - 1, 1, static_cast<size_t>(shape.carry) * 2});
  }
  return parts;
}

size_t total_bytes(const std::vector<StatePart>& parts) {
  size_t bytes = 0;
  for (const StatePart& part : parts) bytes += part.bytes();
  return bytes;
}

}  // namespace dsv4
