#include "backends/cuda/cuda_state.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "backends/cuda/attention_kernels.h"
#include "lib/backend/host_state.h"
#include "lib/backend/state_parts.h"
#include "lib/base/error.h"

namespace dsv4::cuda {
namespace {

constexpr size_t kAlign = 256;
constexpr size_t kTooMany = SIZE_MAX / 2;  // bytes: no allocation is that large, and sums up to here do not wrap
constexpr int64_t kMostPositions = std::numeric_limits<int32_t>::max();

int64_t tail_span(int ratio) { return overlaps(ratio) ? 2 * ratio : ratio; }
int64_t tail_row_bytes(int ratio, int64_t dim) { return 8 * (overlaps(ratio) ? 2 * dim : dim); }
constexpr int64_t kCarrySpan = 1;  // the draft head looks at the row before

KvRowLayout kv_layout(const LayerShape& s) { return {s.head_dim - s.rope_dim, s.rope_dim}; }

// Where each part lies in the allocation: the layers' descriptions hold offsets until they are placed.
struct LayerPlan {
  size_t window = 0, compressed = 0, index_rows = 0, tail = 0, index_tail = 0;
  int64_t ring = 0, entries = 0;
};
struct Plan {
  std::vector<LayerPlan> layers;
  size_t carry_description = 0, flags = 0, carry = 0;
  size_t zeroed = 0;  // bytes that are zeros when the state is made
  size_t bytes = 0;
};

Plan make_plan(const StateShape& shape) {
  Plan plan;
  // The size comes from a host's wishes (context, rows), so that it must saturate rather than wrap.
  const auto take = [&](int64_t rows, int64_t row_bytes) {
    const size_t at = plan.bytes;
    const auto n = static_cast<size_t>(rows), size = static_cast<size_t>(row_bytes);
    const bool fits = size == 0 || n <= (kTooMany - at) / size;
    plan.bytes = fits ? std::min(at + (n * size + kAlign - 1) / kAlign * kAlign, kTooMany) : kTooMany;
    return at;
  };
  const auto take_ring = [&](int64_t span, int64_t row_bytes) { return take(1, RecentRows::bytes(span, row_bytes)); };
  const auto count = static_cast<int64_t>(shape.layers.size());
  take(count, sizeof(DeviceLayer));
  plan.carry_description = take(1, sizeof(DeviceRing));
  plan.flags = take(2 * count + 1, sizeof(RingFlags));
  for (const LayerShape& s : shape.layers) {
    LayerPlan p;
    p.ring = shape.window + shape.max_rows + kRollback;
    p.entries = s.ratio != 0 ? shape.context / s.ratio : 0;
    p.window = take(p.ring, kv_layout(s).stride());
    if (s.ratio != 0) p.tail = take_ring(tail_span(s.ratio), tail_row_bytes(s.ratio, s.head_dim));
    if (s.index_dim != 0) p.index_tail = take_ring(tail_span(s.ratio), tail_row_bytes(s.ratio, s.index_dim));
    plan.layers.push_back(p);
  }
  plan.carry = take_ring(kCarrySpan, 2 * shape.carry);
  plan.zeroed = plan.bytes;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const LayerShape& s = shape.layers[l];
    LayerPlan& p = plan.layers[l];
    p.compressed = take(p.entries, kv_layout(s).stride());
    if (s.index_dim != 0) p.index_rows = take(p.entries, IndexRowLayout{s.index_dim}.stride());
  }
  return plan;
}

DeviceRing make_ring(uint8_t* rows, RingFlags* flags, int64_t span, int64_t row_bytes) {
  DeviceRing ring;
  ring.rows = rows;
  ring.flags = flags;
  ring.capacity = static_cast<int32_t>(RecentRows::capacity(span));
  ring.row_bytes = static_cast<int32_t>(row_bytes);
  return ring;
}

DeviceLayer place_layer(const LayerShape& s, const LayerPlan& p, uint8_t* memory, RingFlags* flags) {
  DeviceLayer layer;
  layer.window = memory + p.window;
  if (s.ratio != 0) {
    layer.compressed = memory + p.compressed;
    layer.tail = make_ring(memory + p.tail, flags, tail_span(s.ratio), tail_row_bytes(s.ratio, s.head_dim));
  }
  if (s.index_dim != 0) {
    layer.index_rows = memory + p.index_rows;
    layer.index_tail =
        make_ring(memory + p.index_tail, flags + 1, tail_span(s.ratio), tail_row_bytes(s.ratio, s.index_dim));
  }
  layer.ring = static_cast<int32_t>(p.ring);
  layer.entries = static_cast<int32_t>(p.entries);
  layer.ratio = s.ratio;
  layer.nope = static_cast<int32_t>(s.head_dim - s.rope_dim);
  layer.rope = static_cast<int32_t>(s.rope_dim);
  layer.kv_stride = static_cast<int32_t>(kv_layout(s).stride());
  layer.index_stride = static_cast<int32_t>(IndexRowLayout{s.index_dim}.stride());
  return layer;
}

}  // namespace

// ----------------------------------------------------------------------------------------------------- Event, transfer

Event::Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event"); }

Event::~Event() { cudaEventDestroy(event_); }

void Event::record(const Gpu& gpu) { check(cudaEventRecord(event_, gpu.stream()), "recording an event"); }

void Event::wait() const { check(cudaEventSynchronize(event_), "waiting for a copy"); }

StateTransfer::StateTransfer(const Gpu& gpu) : gpu_(gpu), pinned_(2 * kPiece, "copies of session states") {}

void StateTransfer::to_host(uint8_t* out, const uint8_t* rows, int64_t row_bytes, int64_t stride, int64_t count) {
  const int64_t most = std::max<int64_t>(kPiece / stride, 1);
  const auto rows_of = [&](int64_t i) { return std::min(most, count - i * most); };
  const auto start = [&](int64_t i) {
    check(cudaMemcpyAsync(piece(i), rows + i * most * stride, static_cast<size_t>(rows_of(i) * stride),
                          cudaMemcpyDeviceToHost, gpu_.stream()),
          "copying a state to the host");
    copied_[i % 2].record(gpu_);
  };
  if (count > 0) start(0);
  for (int64_t i = 0; i * most < count; ++i) {
    if ((i + 1) * most < count) start(i + 1);
    copied_[i % 2].wait();
    for (int64_t r = 0; r < rows_of(i); ++r, out += row_bytes) {
      std::memcpy(out, piece(i) + r * stride, static_cast<size_t>(row_bytes));
    }
  }
}

void StateTransfer::to_device(uint8_t* rows, const uint8_t* in, int64_t row_bytes, int64_t stride, int64_t count) {
  const int64_t most = std::max<int64_t>(kPiece / stride, 1);
  for (int64_t i = 0; i * most < count; ++i) {
    copied_[i % 2].wait();
    const int64_t n = std::min(most, count - i * most);
    for (int64_t r = 0; r < n; ++r, in += row_bytes) {
      std::memcpy(piece(i) + r * stride, in, static_cast<size_t>(row_bytes));
      std::memset(piece(i) + r * stride + row_bytes, 0, static_cast<size_t>(stride - row_bytes));
    }
    check(cudaMemcpyAsync(rows + i * most * stride, piece(i), static_cast<size_t>(n * stride), cudaMemcpyHostToDevice,
                          gpu_.stream()),
          "copying a state to the device");
    copied_[i % 2].record(gpu_);
  }
  for (const Event& event : copied_) event.wait();
}

// ------------------------------------------------------------------------------------------------------------
// CudaState

size_t CudaState::bytes_for(const StateShape& shape) { return make_plan(shape).bytes; }

CudaState::CudaState(const Gpu& gpu, std::shared_ptr<StateTransfer> transfer, const StateShape& shape)
    : gpu_(gpu), transfer_(std::move(transfer)), shape_(shape) {
  const Plan plan = make_plan(shape);
  bytes_ = plan.bytes;
  const std::string what = fmt::format("session state for a context of {}", shape.context);
  if (bytes_ >= kTooMany) {
    fail(Status::kOutOfMemoryDevice, "cuda: {}: {} bytes of device memory needed, or more", what, bytes_);
  }
  check_state_shape(shape);
  if (shape.context > kMostPositions || shape.window + shape.max_rows > kMostPositions - kRollback) {
    fail(Status::kUnsupported, "cuda: {}; at most {} positions expected", what, kMostPositions);
  }
  memory_ = DeviceBuffer(gpu, bytes_, what.c_str(), DeviceBuffer::kUninitialised);
  auto* memory = memory_.as<uint8_t>();
  auto* flags = reinterpret_cast<RingFlags*>(memory + plan.flags);
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    layers_.push_back(place_layer(shape.layers[l], plan.layers[l], memory, flags + 2 * l));
  }
  carry_ = make_ring(memory + plan.carry, flags + 2 * layers_.size(), kCarrySpan, 2 * shape.carry);
  carry_description_ = reinterpret_cast<const DeviceRing*>(memory + plan.carry_description);
  check(cudaMemsetAsync(memory, 0, plan.zeroed, gpu.stream()), "clearing a state");
  transfer_->to_device(memory, reinterpret_cast<const uint8_t*>(layers_.data()), sizeof(DeviceLayer),
                       sizeof(DeviceLayer), static_cast<int64_t>(layers_.size()));
  transfer_->to_device(memory + plan.carry_description, reinterpret_cast<const uint8_t*>(&carry_), sizeof(DeviceRing),
                       sizeof(DeviceRing), 1);
}

CudaState::Part CudaState::part(int l, StateRows which) const {
  // Of a ring of recent rows the half that is active: the device knows which.
  const auto recent = [&](const DeviceRing& ring) {
    RingFlags flags;
    transfer_->to_host(reinterpret_cast<uint8_t*>(&flags), reinterpret_cast<const uint8_t*>(ring.flags), sizeof(flags),
                       sizeof(flags), 1);
    const int64_t half = int64_t{ring.capacity} * ring.row_bytes;
    return Part{ring.rows + flags.active * half, ring.row_bytes, ring.row_bytes, ring.capacity};
  };
  if (which == StateRows::kCarry) return recent(carry_);
  const DeviceLayer& layer = layers_[static_cast<size_t>(l)];
  const auto packed = static_cast<int64_t>(row_bytes(shape_.layers[static_cast<size_t>(l)], which));
  switch (which) {
    case StateRows::kWindow: return {layer.window, packed, layer.kv_stride, layer.ring};
    case StateRows::kCompressed: return {layer.compressed, packed, layer.kv_stride, layer.entries};
    case StateRows::kIndex: return {layer.index_rows, packed, layer.index_stride, layer.entries};
    case StateRows::kTail: return recent(layer.tail);
    default: return recent(layer.index_tail);
  }
}

// move(rows on the device, how many) for each piece that the ring does not break.
template <class Move>
void CudaState::each_piece(const Part& part, int64_t first, int64_t count, Move move) {
  while (count > 0) {
    const int64_t at = first % part.capacity, n = std::min(count, part.capacity - at);
    move(part.rows + at * part.stride, n);
    first += n;
    count -= n;
  }
}

void CudaState::export_rows(int layer, StateRows which, int64_t first, int64_t count, uint8_t* out) const {
  if (count <= 0) return;
  gpu_.make_current();
  const Part from = part(layer, which);
  each_piece(from, first, count, [&](const uint8_t* rows, int64_t n) {
    transfer_->to_host(out, rows, from.row_bytes, from.stride, n);
    out += n * from.row_bytes;
  });
}

void CudaState::import_rows(int layer, StateRows which, int64_t first, int64_t count, const uint8_t* in) {
  if (count <= 0) return;
  gpu_.make_current();
  const Part to = part(layer, which);
  each_piece(to, first, count, [&](uint8_t* rows, int64_t n) {
    transfer_->to_device(rows, in, to.row_bytes, to.stride, n);
    in += n * to.row_bytes;
  });
}

// ------------------------------------------------------------------------------------------------------------
// StepTable

void StepTable::reserve(const Gpu& gpu, const Limits& limits) {
  gpu_ = &gpu;
  if (limits.rows <= capacity_) return;
  const auto bytes = static_cast<size_t>(limits.rows) * sizeof(DeviceRow);
  for (Slot& slot : slots_) {
    if (slot.copied == nullptr) slot.copied = std::make_unique<Event>();
    slot.copied->wait();
    slot.rows = PinnedBuffer(bytes, "the rows of a step");
  }
  table_ = DeviceBuffer(gpu, bytes, "the rows of a step");
  step_.rows = table_.as<DeviceRow>();
  capacity_ = limits.rows;
  covered_ = 0;
  known_.clear();
  known_.reserve(static_cast<size_t>(capacity_));
}

bool StepTable::is_current(std::span<const Run> runs) const {
  size_t i = 0;
  for (const Run& run : runs) {
    if (run.rows == 0) continue;
    if (i == known_.size()) return false;
    const Known& k = known_[i++];
    if (k.run.state != run.state || k.layers != cuda_state(run).layers() || k.run.first_row != run.first_row ||
        k.run.rows != run.rows || k.run.position != run.position) {
      return false;
    }
  }
  return i == known_.size();
}

const DeviceStep& StepTable::use(std::span<const Run> runs) {
  if (is_current(runs)) return step_;
  cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
  if (gpu_ != nullptr) {
    check(cudaStreamIsCapturing(gpu_->stream(), &recording), "asking whether a step is being recorded");
  }
  if (recording != cudaStreamCaptureStatusNone) {
    fail(Status::kInternal, "cuda: a step that is being recorded uses other runs than its own");
  }
  upload(runs);
  return step_;
}

void StepTable::upload(std::span<const Run> runs) {
  int64_t end = 0;
  for (const Run& run : runs) {
    if (run.rows == 0) continue;
    end = std::max(end, run.first_row + run.rows);
    if (run.first_row < 0 || run.position < 0 || run.position + run.rows > kMostPositions) {
      fail(Status::kInternal, "cuda: a run of {} rows from row {} at position {}", run.rows, run.first_row,
           run.position);
    }
  }
  if (end > capacity_) fail(Status::kInternal, "cuda: a step of {} rows, {} were reserved", end, capacity_);
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % kSlots;
  known_.clear();  // if the copy fails, nothing is known of the table
  if (slot.copied != nullptr) slot.copied->wait();
  auto* rows = slot.rows.as<DeviceRow>();
  const int64_t count = std::max(end, covered_);
  std::fill_n(rows, count, DeviceRow{});
  for (const Run& run : runs) {
    if (run.rows == 0) continue;
    const CudaState& state = cuda_state(run);
    for (int64_t i = 0; i < run.rows; ++i) {
      rows[run.first_row + i] = {state.layers(),
                                 state.carry(),
                                 static_cast<int32_t>(run.position + i),
                                 static_cast<int32_t>(run.first_row),
                                 static_cast<int32_t>(run.rows),
                                 0};
    }
  }
  if (count > 0) {
    check(cudaMemcpyAsync(table_.as<DeviceRow>(), rows, static_cast<size_t>(count) * sizeof(DeviceRow),
                          cudaMemcpyHostToDevice, gpu_->stream()),
          "copying a step's rows");
    slot.copied->record(*gpu_);
  }
  covered_ = count;
  for (const Run& run : runs) {
    if (run.rows != 0) known_.push_back({run, cuda_state(run).layers()});
  }
}

}  // namespace dsv4::cuda
