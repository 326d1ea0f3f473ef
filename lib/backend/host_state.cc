#include "lib/backend/host_state.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "lib/base/error.h"

namespace dsv4 {
namespace {

constexpr size_t kAlign = 64;

size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

int64_t tail_span(int ratio) { return ratio == 4 ? 2 * ratio : ratio; }  // CSA pools the previous group too
int64_t tail_width(int ratio, int64_t dim) { return ratio == 4 ? 2 * dim : dim; }

// Where each part of a layer lies in the one allocation of a state.
struct LayerPlan {
  HostLayer layer;
  size_t window = 0, compressed = 0, index_rows = 0, tail = 0, index_tail = 0;  // offsets
};

struct Plan {
  std::vector<LayerPlan> layers;
  size_t carry[2] = {0, 0};
  size_t bytes = 0;
};

Plan make_plan(const StateShape& shape) {
  Plan plan;
  const auto take = [&](int64_t bytes) {
    const size_t at = plan.bytes;
    plan.bytes += aligned(static_cast<size_t>(bytes));
    return at;
  };
  for (const LayerShape& s : shape.layers) {
    LayerPlan p;
    p.layer.shape = s;
    p.layer.kv = {s.head_dim - s.rope_dim, s.rope_dim};
    p.layer.index = {s.index_dim};
    p.layer.ring = shape.window + std::max(shape.max_rows, kRollback);
    p.layer.entries = s.ratio != 0 ? shape.context / s.ratio : 0;
    p.window = take(p.layer.ring * p.layer.kv.stride());
    p.compressed = take(p.layer.entries * p.layer.kv.stride());
    if (s.ratio != 0) {
      p.tail = take(4 * Tail::floats(tail_span(s.ratio), tail_width(s.ratio, s.head_dim)));
    }
    if (s.index_dim != 0) {
      p.index_rows = take(p.layer.entries * p.layer.index.stride());
      p.index_tail = take(4 * Tail::floats(tail_span(s.ratio), tail_width(s.ratio, s.index_dim)));
    }
    plan.layers.push_back(p);
  }
  for (size_t& at : plan.carry) at = take(shape.carry * 2);
  return plan;
}

}  // namespace

void Tail::init(float* memory, int64_t span, int64_t width) {
  span_ = span;
  capacity_ = span + kRollback;
  width_ = width;
  active_ = memory;
  staged_ = memory + capacity_ * 2 * width;
}

void Tail::put(float* ring, int64_t position, const float* k, const float* z) {
  float* to = ring + slot(position) * 2 * width_;
  std::memcpy(to, k, static_cast<size_t>(width_) * 4);
  std::memcpy(to + width_, z, static_cast<size_t>(width_) * 4);
}

void Tail::store(int64_t position, const Mat& k, const Mat& z) {
  has_staged_ = k.rows > kRollback;
  float* ring = has_staged_ ? staged_ : active_;
  const int64_t end = position + k.rows;
  if (has_staged_) {
    for (int64_t p = std::max<int64_t>(end - capacity_, 0); p < position; ++p) put(ring, p, this->k(p), this->z(p));
  }
  for (int64_t p = std::max(end - capacity_, position); p < end; ++p) {
    put(ring, p, k.row<float>(p - position), z.row<float>(p - position));
  }
}

void Tail::commit() {
  if (has_staged_) std::swap(active_, staged_);
  has_staged_ = false;
}

size_t HostState::bytes_for(const StateShape& shape) { return make_plan(shape).bytes; }

HostState::HostState(const StateShape& shape) {
  const Plan plan = make_plan(shape);
  bytes_ = plan.bytes;
  // calloc leaves a large block untouched until it is written: a long context costs nothing before it is used.
  memory_ = static_cast<uint8_t*>(std::calloc(1, bytes_ + kAlign));
  if (memory_ == nullptr) {
    fail(Status::kOutOfMemoryHost, "session state: cannot allocate {} bytes for a context of {}", bytes_, shape.context);
  }
  uint8_t* base = memory_ + (kAlign - reinterpret_cast<uintptr_t>(memory_) % kAlign) % kAlign;
  layers_.reserve(plan.layers.size());
  for (const LayerPlan& p : plan.layers) {
    HostLayer layer = p.layer;
    const LayerShape& s = layer.shape;
    layer.window = base + p.window;
    if (s.ratio != 0) {
      layer.compressed = base + p.compressed;
      layer.tail.init(reinterpret_cast<float*>(base + p.tail), tail_span(s.ratio), tail_width(s.ratio, s.head_dim));
    }
    if (s.index_dim != 0) {
      layer.index_rows = base + p.index_rows;
      layer.index_tail.init(reinterpret_cast<float*>(base + p.index_tail), tail_span(s.ratio),
                            tail_width(s.ratio, s.index_dim));
    }
    layers_.push_back(layer);
  }
  for (int i = 0; i < 2; ++i) carry_[i] = reinterpret_cast<bf16*>(base + plan.carry[i]);
}

HostState::~HostState() { std::free(memory_); }

void HostState::export_rows(int l, StateRows which, int64_t first, int64_t count, uint8_t* out) const {
  const HostLayer& s = layer(l);
  for (int64_t i = first; i < first + count; ++i) {
    const uint8_t* row = which == StateRows::kWindow       ? s.window_row(i)
                         : which == StateRows::kCompressed ? s.compressed_row(i)
                                                           : s.index_row(i);
    const int64_t bytes = which == StateRows::kIndex ? s.index.bytes() : s.kv.bytes();
    std::memcpy(out, row, static_cast<size_t>(bytes));
    out += bytes;
  }
}

void HostState::commit() {
  for (HostLayer& l : layers_) {
    l.tail.commit();
    l.index_tail.commit();
  }
  if (carry_written_) carry_active_ = 1 - carry_active_;
  carry_written_ = false;
}

}  // namespace dsv4
