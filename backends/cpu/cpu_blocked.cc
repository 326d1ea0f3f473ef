// Input rows as matrix registers want them (kernels.h: block, dot_blocked). They are blocked once per call of a verb,
// shared out by blocks of all products together, since every weight row meets them.
#include <algorithm>

#include "backends/cpu/cpu_verbs.h"

namespace dsv4::cpu {

bool CpuBackend::tiles_take(XForm form, int64_t rows) const {
  return k_.dot_blocked != nullptr && form != kXF32 && rows >= k_.least_blocked[form];
}

int64_t CpuBackend::blocked_bytes(int64_t rows, int64_t cols) {
  return (rows + kBlockRows - 1) / kBlockRows * kBlockRows * ((cols + kPad - 1) / kPad * kPad) * 2;
}

const uint8_t* CpuBackend::block_rows(XForm form, const Block& to, int64_t offset, const void* const* x, int64_t rows,
                                      int64_t cols) {
  if (k_.dot_blocked == nullptr) return block_onednn(to, offset, x, rows, cols);
  return tiles_take(form, rows) ? block_tiles(to, offset, x, rows, cols) : nullptr;
}

// Block `b` of `rows` rows, which are blocked in pieces of row_chunk_.
void CpuBackend::block_one(uint8_t* to, int64_t b, const void* const* x, int64_t rows, int64_t cols) {
  const int64_t first = b * kBlockRows / row_chunk_ * row_chunk_, those = std::min(row_chunk_, rows - first);
  const int64_t at = b * kBlockRows - first, wide = (cols + kPad - 1) / kPad * kPad;
  k_.block(to + blocked_bytes(first, cols), at / kBlockRows, (those + kBlockRows - 1) / kBlockRows, x + first + at,
           std::min(kBlockRows, those - at), wide);
}

const uint8_t* CpuBackend::block_tiles(const Block& to, int64_t offset, const void* const* x, int64_t rows,
                                       int64_t cols) {
  if (offset + blocked_bytes(rows, cols) > to.bytes()) return nullptr;
  uint8_t* out = to.as<uint8_t>() + offset;
  each_row((rows + kBlockRows - 1) / kBlockRows, kBlockRows * cols,
           [&](int64_t b, int) { block_one(out, b, x, rows, cols); });
  return out;
}

// The inputs of all groups at once, one group behind the other: x[pick] of each, for w1 and w3 or for w2.
void CpuBackend::block_groups(const void* const* x, const Weight Expert::*weight) {
  Group* groups = groups_.as<Group>();
  int64_t blocks = 0, offset = 0;
  const auto blocks_of = [](const Group& g) {
    return g.blocked == nullptr ? 0 : (g.count + kBlockRows - 1) / kBlockRows;
  };
  for (int64_t i = 0; i < group_count_; ++i) {
    Group& g = groups[i];
    const Weight& w = g.expert->*weight;
    const int64_t bytes = blocked_bytes(g.count, w.cols);
    const XForm form = form_for(format_of(w), true);
    const bool alike = weight != &Expert::w1 || form == form_for(format_of(g.expert->w3), true);
    const bool takes = alike && tiles_take(form, g.count) && offset + bytes <= pick_blocked_.bytes();
    g.blocked = takes ? pick_blocked_.as<uint8_t>() + offset : nullptr;
    if (takes) offset += bytes;
    blocks += blocks_of(g);
  }
  share(blocks, [&](int64_t block, int) {
    const Group* g = groups;
    for (; block >= blocks_of(*g); ++g) block -= blocks_of(*g);
    block_one(const_cast<uint8_t*>(g->blocked), block, x + g->first, g->count, (g->expert->*weight).cols);
  });
}

}  // namespace dsv4::cpu
