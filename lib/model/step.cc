#include "lib/model/step.h"

#include <algorithm>

namespace dsv4 {
namespace {

constexpr size_t kAlign = 64;

// Calls each(mat, cols, dtype, rows) for every buffer: the one list of them.
template <class Each>
void for_each_buffer(Buffers& b, const Config& c, int64_t rows, Each&& each) {
  const int64_t wide = c.streams * c.hidden;
  const bool compressed = std::any_of(c.ratios.begin(), c.ratios.end(), [](int r) { return r != 0; });
  const bool indexed = std::any_of(c.ratios.begin(), c.ratios.end(), [](int r) { return r == 4; });
  each(b.tokens, 1, DType::kI32, rows);
  each(b.positions, 1, DType::kI32, rows);
  for (Mat& rope : b.rope) each(rope, c.rope_dim, DType::kF32, rows);
  each(b.X, wide, DType::kBF16, rows);
  each(b.x, c.hidden, DType::kBF16, rows);
  each(b.y, c.hidden, DType::kBF16, rows);
  each(b.mix, c.streams + c.streams * c.streams, DType::kF32, rows);
  each(b.qr, c.q_rank, DType::kBF16, rows);
  each(b.q, c.heads * c.head_dim, DType::kBF16, rows);
  each(b.kv, c.head_dim, DType::kBF16, rows);
  if (compressed) {
    each(b.ck, 2 * c.head_dim, DType::kF32, rows);
    each(b.cz, 2 * c.head_dim, DType::kF32, rows);
  }
  if (indexed) {
    each(b.iq, c.index_heads * c.index_dim, DType::kBF16, rows);
    each(b.iw, c.index_heads, DType::kBF16, rows);
    each(b.ik, 2 * c.index_dim, DType::kF32, rows);
    each(b.iz, 2 * c.index_dim, DType::kF32, rows);
    each(b.top, c.index_topk, DType::kI32, rows);
  }
  each(b.o, c.heads * c.head_dim, DType::kBF16, rows);
  each(b.low, c.o_groups * c.o_rank, DType::kBF16, rows);
  each(b.route.experts, c.experts_per_token, DType::kI32, rows);
  each(b.route.weights, c.experts_per_token, DType::kF32, rows);
  if (c.mtp_layers != 0) {
    each(b.previous, wide, DType::kBF16, rows);
    each(b.streams, wide, DType::kBF16, rows);
  }
  each(b.logits, c.vocab, DType::kF32, std::min(rows, kLogitRows));
}

size_t buffer_bytes(int64_t rows, int64_t cols, DType dtype) {
  const size_t bytes = static_cast<size_t>(rows * cols) * static_cast<size_t>(dtype_bits(dtype)) / 8;
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

size_t Workspace::bytes_for(const Config& config, int64_t max_rows) {
  Buffers b;
  size_t bytes = 0;
  for_each_buffer(b, config, max_rows,
                  [&](Mat&, int64_t cols, DType dtype, int64_t rows) { bytes += buffer_bytes(rows, cols, dtype); });
  return bytes;
}

Workspace::Workspace(const Config& config, int64_t max_rows, Backend& backend)
    : config_(config), max_rows_(max_rows), memory_(backend.allocate(bytes_for(config, max_rows))) {
  uint8_t* at = static_cast<uint8_t*>(memory_->data());
  for_each_buffer(full_, config, max_rows, [&](Mat& m, int64_t cols, DType dtype, int64_t rows) {
    m = {at, dtype, rows, cols, cols};
    at += buffer_bytes(rows, cols, dtype);
  });
}

Step Workspace::step(int64_t rows) const {
  Step s;
  s.b = full_;
  for_each_buffer(s.b, config_, rows, [](Mat& m, int64_t, DType, int64_t cut) { m.rows = cut; });
  return s;
}

}  // namespace dsv4
