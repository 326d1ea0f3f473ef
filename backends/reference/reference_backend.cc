// Memory, weights, states and scratch of the reference backend. Weights stay where the checkpoint has them.
#include "backends/reference/reference_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backends/reference/reference_verbs.h"
#include "lib/base/error.h"

namespace dsv4 {

std::unique_ptr<Backend> make_reference_backend() { return std::make_unique<reference::ReferenceBackend>(); }

namespace reference {
namespace {

constexpr size_t kAlign = 64;

class HostMemory final : public Memory {
 public:
  explicit HostMemory(size_t bytes) : size_(bytes) {
    block_ = std::calloc(1, bytes + kAlign);
    if (block_ == nullptr) fail(Status::kOutOfMemoryHost, "reference backend: cannot allocate {} bytes", bytes);
    data_ = static_cast<uint8_t*>(block_) + (kAlign - reinterpret_cast<uintptr_t>(block_) % kAlign) % kAlign;
  }
  ~HostMemory() override { std::free(block_); }
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  void* data() override { return data_; }
  size_t size() const override { return size_; }

 private:
  void* block_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

size_t row_bytes(const Mat& m, int64_t elements) { return static_cast<size_t>(elements * dtype_bits(m.dtype) / 8); }

template <class T>
void grow(std::vector<T>& v, int64_t size) {
  if (static_cast<int64_t>(v.size()) < size) v.resize(static_cast<size_t>(size));
}

}  // namespace

std::unique_ptr<Memory> ReferenceBackend::allocate(size_t bytes) { return std::make_unique<HostMemory>(bytes); }

Weight ReferenceBackend::prepare(const HostTensor& tensor) {
  Weight w;
  w.data = tensor.data;
  w.scale = tensor.scale;
  w.dtype = tensor.dtype;
  w.rows = tensor.rows;
  w.cols = tensor.cols;
  if (w.dtype == DType::kF8E4M3) w.scale_cols = (w.cols + 127) / 128;
  if (w.dtype == DType::kFP4) w.scale_cols = (w.cols + 31) / 32;
  return w;
}

std::unique_ptr<SequenceState> ReferenceBackend::make_state(const StateShape& shape) {
  auto state = std::make_unique<HostState>(shape);
  for (const LayerShape& layer : shape.layers) {
    const int64_t entries = layer.ratio != 0 ? shape.context / layer.ratio : 0;
    state_entries_ = std::max(state_entries_, entries);
    state_keys_ = std::max(state_keys_, shape.window + (layer.index_dim == 0 ? entries : 0));
  }
  size_scratch();
  return state;
}

size_t ReferenceBackend::state_bytes(const StateShape& shape) const { return HostState::bytes_for(shape); }

void ReferenceBackend::reserve(const Limits& limits) {
  limits_.widen(limits);
  size_scratch();
}

void ReferenceBackend::size_scratch() {
  const Limits& l = limits_;
  const int64_t widest = std::max({l.inner, l.outer, l.vocab, l.streams * l.hidden, l.heads * l.head_dim,
                                   l.index_heads * l.index_dim, l.head_dim, l.index_dim});
  const int64_t keys = state_keys_ + l.index_topk;
  grow(scratch_.row, widest);
  grow(scratch_.weight, widest);
  grow(scratch_.mixes, 2 * l.streams + l.streams * l.streams);
  grow(scratch_.input, l.rows * std::max(l.inner, l.hidden));
  const int64_t picks = l.rows * std::max<int64_t>(l.experts_per_token, 1);  // a hash table may name an expert twice
  grow(scratch_.hidden, std::max(l.rows * l.inner, picks * l.expert_width));
  grow(scratch_.sum, l.rows * l.hidden);
  grow(scratch_.keys, keys * l.head_dim);
  grow(scratch_.scores, std::max({keys, state_entries_, l.experts, picks}));
  grow(scratch_.order, std::max({state_entries_, l.experts, picks}));
  grow(scratch_.value, l.head_dim);
  grow(scratch_.pooled, std::max(l.head_dim, l.index_dim));
  grow(scratch_.biased, l.experts);
}

void ReferenceBackend::upload(Mat to, const void* from) {
  const size_t bytes = row_bytes(to, to.cols);
  for (int64_t r = 0; r < to.rows; ++r) {
    std::memcpy(to.slice(r, 1).data, static_cast<const uint8_t*>(from) + bytes * static_cast<size_t>(r), bytes);
  }
}

void ReferenceBackend::download(void* to, Mat from) {
  const size_t bytes = row_bytes(from, from.cols);
  for (int64_t r = 0; r < from.rows; ++r) {
    std::memcpy(static_cast<uint8_t*>(to) + bytes * static_cast<size_t>(r), from.slice(r, 1).data, bytes);
  }
}

void ReferenceBackend::commit(std::span<const Run> runs) {
  for (const Run& run : runs) host_state(run).commit();
}

}  // namespace reference
}  // namespace dsv4
