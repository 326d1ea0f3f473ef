#include "lib/backend/synthetic_state.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "lib/backend/state_parts.h"
#include "lib/base/kv_row.h"

namespace dsv4 {
namespace {

constexpr int64_t kPool = 8192;  // different rows of a kind

// Rows of one kind, packed.
std::vector<uint8_t> make_rows(const LayerShape& shape, StateRows which, size_t bytes, int64_t count) {
  std::mt19937 random(static_cast<uint32_t>(which) + 1);
  std::normal_distribution<float> normal;
  std::vector<uint8_t> out(bytes * static_cast<size_t>(count));
  std::vector<float> x(std::max<size_t>(bytes, 512) * 2);
  for (int64_t i = 0; i < count; ++i) {
    uint8_t* row = out.data() + static_cast<size_t>(i) * bytes;
    for (float& v : x) v = normal(random);
    switch (which) {
      case StateRows::kWindow:
      case StateRows::kCompressed: KvRowLayout{shape.head_dim - shape.rope_dim, shape.rope_dim}.pack(row, x.data()); break;
      case StateRows::kIndex: IndexRowLayout{shape.index_dim}.pack(row, x.data()); break;
      case StateRows::kCarry:
        for (size_t k = 0; k + 2 <= bytes; k += 2) {
          const bf16 v = to_bf16(x[k / 2]);
          std::memcpy(row + k, &v, 2);
        }
        break;
      default: std::memcpy(row, x.data(), bytes);  // F32
    }
  }
  return out;
}

}  // namespace

void fill_with_noise(SequenceState& state, const StateShape& shape, int64_t positions) {
  constexpr size_t kKinds = static_cast<size_t>(StateRows::kCarry) + 1;
  std::vector<uint8_t> pools[kKinds];
  size_t sizes[kKinds] = {};
  for (const StatePart& part : state_parts(shape, positions, StateExtent::kAll)) {
    const size_t kind = static_cast<size_t>(part.rows);
    const LayerShape layer = part.layer >= 0 ? shape.layers[static_cast<size_t>(part.layer)] : LayerShape{};
    const int64_t pool = std::min(part.count, kPool);
    if (sizes[kind] != part.row_bytes || pools[kind].size() < static_cast<size_t>(pool) * part.row_bytes) {
      pools[kind] = make_rows(layer, part.rows, part.row_bytes, pool);
      sizes[kind] = part.row_bytes;
    }
    for (int64_t i = 0; i < part.count; i += pool) {
      state.import_rows(part.layer, part.rows, part.first + i, std::min(pool, part.count - i), pools[kind].data());
    }
  }
}

}  // namespace dsv4
