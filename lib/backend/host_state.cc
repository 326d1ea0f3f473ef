#include "lib/backend/host_state.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "lib/backend/state_parts.h"
#include "lib/base/error.h"

namespace dsv4 {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kTooMany = SIZE_MAX / 2;  // bytes: no allocation is that large, and sums up to here do not wrap

size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

int64_t tail_span(int ratio) { return overlaps(ratio) ? 2 * ratio : ratio; }
int64_t tail_width(int ratio, int64_t dim) { return overlaps(ratio) ? 2 * dim : dim; }

constexpr int64_t kCarrySpan = 1;  // the draft head looks at the row before

// Where each part of a layer lies in the one allocation of a state.
struct LayerPlan {
  HostLayer layer;
  size_t window = 0, compressed = 0, index_rows = 0, tail = 0, index_tail = 0;  // offsets
};

struct Plan {
  std::vector<LayerPlan> layers;
  size_t carry = 0, no_carry = 0;
  size_t bytes = 0;
};

Plan make_plan(const StateShape& shape) {
  Plan plan;
  // The size comes from a host's wishes (context, rows), so that it must saturate rather than wrap.
  const auto take = [&](int64_t rows, int64_t row_bytes) {
    const size_t at = plan.bytes;
    const auto n = static_cast<size_t>(rows), size = static_cast<size_t>(row_bytes);
    const bool fits = size == 0 || n <= (kTooMany - at) / size;
    plan.bytes = fits ? std::min(at + aligned(n * size), kTooMany) : kTooMany;
    return at;
  };
  for (const LayerShape& s : shape.layers) {
    LayerPlan p;
    p.layer.shape = s;
    p.layer.kv = {s.head_dim - s.rope_dim, s.rope_dim};
    p.layer.index = {s.index_dim};
    p.layer.ring = shape.window + shape.max_rows + kRollback;
    p.layer.entries = s.ratio != 0 ? shape.context / s.ratio : 0;
    p.window = take(p.layer.ring, p.layer.kv.stride());
    p.compressed = take(p.layer.entries, p.layer.kv.stride());
    if (s.ratio != 0) {
      p.tail = take(1, Tail::bytes(tail_span(s.ratio), tail_width(s.ratio, s.head_dim)));
    }
    if (s.index_dim != 0) {
      p.index_rows = take(p.layer.entries, p.layer.index.stride());
      p.index_tail = take(1, Tail::bytes(tail_span(s.ratio), tail_width(s.ratio, s.index_dim)));
    }
    plan.layers.push_back(p);
  }
  plan.carry = take(1, RecentRows::bytes(kCarrySpan, 2 * shape.carry));
  plan.no_carry = take(1, 2 * shape.carry);
  return plan;
}

}  // namespace

void RecentRows::init(uint8_t* memory, int64_t span, int64_t row_bytes) {
  capacity_ = capacity(span);
  row_bytes_ = row_bytes;
  active_ = memory;
  staged_ = memory + capacity_ * row_bytes;
}

void RecentRows::begin(int64_t position, int64_t rows) {
  has_staged_ = rows > kRollback;
  if (!has_staged_) return;
  for (int64_t p = kept(position + rows); p < position; ++p) {
    std::memcpy(put(p), row(p), static_cast<size_t>(row_bytes_));
  }
}

void RecentRows::commit() {
  if (has_staged_) std::swap(active_, staged_);
  has_staged_ = false;
}

void Tail::init(uint8_t* memory, int64_t span, int64_t width) {
  rows_.init(memory, span, 8 * width);
  width_ = width;
}

void Tail::store(int64_t position, const Mat& k, const Mat& z) {
  const size_t bytes = static_cast<size_t>(width_) * 4;
  const int64_t end = position + k.rows;
  rows_.begin(position, k.rows);
  for (int64_t p = std::max(rows_.kept(end), position); p < end; ++p) {
    std::memcpy(rows_.put(p), k.row<float>(p - position), bytes);
    std::memcpy(rows_.put(p) + bytes, z.row<float>(p - position), bytes);
  }
}

size_t HostState::bytes_for(const StateShape& shape) { return make_plan(shape).bytes; }

HostState::HostState(const StateShape& shape) {
  const Plan plan = make_plan(shape);
  bytes_ = plan.bytes;
  // calloc leaves a large block untouched until it is written: a long context costs nothing before it is used.
  if (bytes_ < kTooMany) memory_.reset(static_cast<uint8_t*>(std::calloc(1, bytes_ + kAlign)));
  if (memory_ == nullptr) {
    fail(Status::kOutOfMemoryHost, "session state: cannot allocate {} bytes for a context of {}", bytes_,
         shape.context);
  }
  uint8_t* base = memory_.get() + (kAlign - reinterpret_cast<uintptr_t>(memory_.get()) % kAlign) % kAlign;
  layers_.reserve(plan.layers.size());
  for (const LayerPlan& p : plan.layers) {
    HostLayer layer = p.layer;
    const LayerShape& s = layer.shape;
    layer.window = base + p.window;
    if (s.ratio != 0) {
      layer.compressed = base + p.compressed;
      layer.tail.init(base + p.tail, tail_span(s.ratio), tail_width(s.ratio, s.head_dim));
    }
    if (s.index_dim != 0) {
      layer.index_rows = base + p.index_rows;
      layer.index_tail.init(base + p.index_tail, tail_span(s.ratio), tail_width(s.ratio, s.index_dim));
    }
    layers_.push_back(layer);
  }
  carry_.init(base + plan.carry, kCarrySpan, 2 * shape.carry);
  carry_width_ = shape.carry;
  no_carry_ = reinterpret_cast<const bf16*>(base + plan.no_carry);
}

const uint8_t* HostState::row(int l, StateRows which, int64_t at) const {
  if (which == StateRows::kCarry) return carry_.row(at);
  const HostLayer& s = layer(l);
  switch (which) {
    case StateRows::kWindow: return s.window_row(at);
    case StateRows::kCompressed: return s.compressed_row(at);
    case StateRows::kIndex: return s.index_row(at);
    case StateRows::kTail: return s.tail.row(at);
    default: return s.index_tail.row(at);
  }
}

size_t HostState::row_bytes(int l, StateRows which) const {
  if (which == StateRows::kCarry) return static_cast<size_t>(carry_width_) * 2;
  return dsv4::row_bytes(layer(l).shape, which);
}

void HostState::export_rows(int l, StateRows which, int64_t first, int64_t count, uint8_t* out) const {
  const size_t bytes = row_bytes(l, which);
  for (int64_t i = first; i < first + count; ++i, out += bytes) std::memcpy(out, row(l, which, i), bytes);
}

void HostState::import_rows(int l, StateRows which, int64_t first, int64_t count, const uint8_t* in) {
  const size_t bytes = row_bytes(l, which);
  // The rows lie in this object's own memory, whatever const the way there has.
  for (int64_t i = first; i < first + count; ++i, in += bytes) {
    std::memcpy(const_cast<uint8_t*>(row(l, which, i)), in, bytes);
  }
}

const bf16* HostState::carried(int64_t position) const {
  return position < 0 ? no_carry_ : reinterpret_cast<const bf16*>(carry_.row(position));
}

void HostState::store_carry(int64_t position, const Mat& X) {
  const int64_t end = position + X.rows;
  carry_.begin(position, X.rows);
  for (int64_t p = std::max(carry_.kept(end), position); p < end; ++p) {
    std::memcpy(carry_.put(p), X.row<bf16>(p - position), static_cast<size_t>(carry_width_) * 2);
  }
}

void HostState::commit() {
  for (HostLayer& l : layers_) {
    l.tail.commit();
    l.index_tail.commit();
  }
  carry_.commit();
}

}  // namespace dsv4
