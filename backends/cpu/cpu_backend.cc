// Memory, weights, states and scratch of the cpu backend. Weights stay where the checkpoint has them.
#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "backends/cpu/cpu_isa.h"
#include "backends/cpu/cpu_verbs.h"
#include "lib/base/error.h"

namespace dsv4 {

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

namespace cpu {
namespace {

constexpr int64_t kAlign = 64;

class HostMemory final : public Memory {
 public:
  explicit HostMemory(size_t bytes) : size_(bytes) { block_.grow(static_cast<int64_t>(bytes)); }
  void* data() override { return block_.as<void>(); }
  size_t size() const override { return size_; }

 private:
  Block block_;
  size_t size_;
};

size_t row_bytes(const Mat& m) { return static_cast<size_t>(m.cols * dtype_bits(m.dtype) / 8); }

int64_t padded(int64_t n) { return (n + kPad - 1) / kPad * kPad; }

}  // namespace

void Block::grow(int64_t bytes) {
  if (bytes <= bytes_ && block_ != nullptr) return;
  // calloc: zero, and a large block is not touched before it is used.
  void* block = std::calloc(1, static_cast<size_t>(bytes + kAlign));
  if (block == nullptr) fail(Status::kOutOfMemoryHost, "cpu backend: cannot allocate {} bytes", bytes);
  std::free(block_);
  block_ = block;
  data_ = static_cast<uint8_t*>(block) +
          (kAlign - static_cast<int64_t>(reinterpret_cast<uintptr_t>(block) % kAlign)) % kAlign;
  bytes_ = bytes;
}

CpuBackend::CpuBackend(const CpuOptions& options)
    : k_(choose_kernels(options.isa)), pool_(options.threads > 0 ? options.threads : usable_cores()) {
  threads_.resize(static_cast<size_t>(pool_.size()));
  for (int t = 0; t < pool_.size(); ++t) threads_[static_cast<size_t>(t)].thread = t;
  // Workers inherit the mode of the thread that started them; the caller's is set by every verb.
  pool_.run([](int thread) {
    if (thread != 0) FloatMode::set_default();
  });
  if (std::string_view(k_.isa) == scalar_kernels().isa) return;  // the plain level is plain throughout
  if (k_.dot_blocked != nullptr) {  // faster than oneDNN from the first rows on
    row_chunk_ = kBlockedRows;
    sums_stride_ = kBlockedUnit;
    return;
  }
  onednn_ = std::make_unique<OnednnMatmul>(pool_.size(), k_.bf16_tiles);
  if (!onednn_->ready()) onednn_.reset();
}

std::string CpuBackend::description() const {
  return fmt::format("cpu: {}, {} thread{}{}", k_.isa, pool_.size(), pool_.size() == 1 ? "" : "s",
                     onednn_ == nullptr ? "" : ", oneDNN " + cpu_onednn_version());
}

std::unique_ptr<Memory> CpuBackend::allocate(size_t bytes) { return std::make_unique<HostMemory>(bytes); }

Weight CpuBackend::prepare(const HostTensor& tensor) {
  Weight w;
  w.data = tensor.data;
  w.scale = tensor.scale;
  w.dtype = tensor.dtype;
  w.rows = tensor.rows;
  w.cols = tensor.cols;
  if (w.dtype == DType::kF8E4M3) w.scale_cols = (w.cols + 127) / 128;
  if (w.dtype == DType::kFP4) {
    if (w.cols % 32 != 0) fail(Status::kUnsupported, "FP4 weight of {} columns: a multiple of 32 expected", w.cols);
    w.scale_cols = w.cols / 32;
  }
  return w;
}

std::unique_ptr<SequenceState> CpuBackend::make_state(const StateShape& shape) {
  auto state = std::make_unique<HostState>(shape);
  for (const LayerShape& layer : shape.layers) {
    if (layer.index_dim != 0) entries_ = std::max(entries_, shape.context / layer.ratio);
  }
  for (ThreadScratch& t : threads_) t.scores.grow(entries_ * 8);
  return state;
}

void CpuBackend::reserve(const Limits& limits) {
  limits_.widen(limits);
  const Limits& l = limits_;
  if (l.streams > kMaxStreams) fail(Status::kUnsupported, "{} residual streams: at most {}", l.streams, kMaxStreams);
  const int64_t widest = padded(std::max({l.inner, l.heads * l.head_dim, l.streams * l.hidden, l.hidden}));
  for (int form = 0; form < kXForms; ++form) {
    packed_[form].grow(l.rows * (widest + std::max<int64_t>(l.heads, 1) * 2 * kPad) * (form == kXF32 ? 4 : k_.x_bytes));
    if (onednn_ != nullptr && form != kXF32) blocked_[form].grow(packed_[form].bytes());
    if (k_.dot_blocked != nullptr && form != kXF32 && l.rows > 0) {
      blocked_[form].grow(packed_[form].bytes() / l.rows * (l.rows + kBlockRows));
    }
    pointers_[form].grow(l.rows * std::max<int64_t>(l.heads, 1) * static_cast<int64_t>(sizeof(void*)));
  }
  mixes_.grow(l.rows * std::max(l.streams * (l.streams + 2), l.experts) * 4);

  const int64_t picks = l.rows * (l.experts_per_token + 1);
  hidden_stride_ = padded(std::max(l.expert_width, l.inner)) + kPad;  // as packed_bytes()
  groups_.grow((l.experts + 1) * static_cast<int64_t>(sizeof(Group)));
  pick_row_.grow(picks * 4);
  pick_weight_.grow(picks * 4);
  pick_of_.grow(picks * 4);
  for (Block& p : pick_x_) p.grow(picks * static_cast<int64_t>(sizeof(void*)));
  pick_h_.grow(picks * static_cast<int64_t>(sizeof(void*)));
  hidden_.grow(picks * hidden_stride_ * 2);
  hidden_packed_.grow(picks * hidden_stride_ * 4);
  if (onednn_ != nullptr) pick_blocked_.grow(picks * std::max(hidden_stride_, padded(l.hidden)) * k_.x_bytes);
  if (k_.dot_blocked != nullptr) {
    pick_blocked_.grow((picks + (l.experts + 1) * kBlockRows) * std::max(hidden_stride_, padded(l.hidden)) * 2);
  }
  outputs_.grow(picks * l.hidden * 2);

  const int64_t head = padded_head(std::max(l.head_dim, l.index_dim));
  const int64_t index_heads = (l.index_heads + 15) / 16 * 16;
  entries_ = std::max(entries_, l.context / 4);
  for (ThreadScratch& t : threads_) {
    t.tile.grow(std::max(kTileRows * kTileCols * 4, k_.dot_blocked != nullptr ? kBlockedScratch : 0));
    for (Block& s : t.sums) s.grow(row_chunk_ * sums_stride_ * 4);
    if (onednn_ != nullptr) t.turned.grow(kTileRows * kRowChunk * 4);
    t.row.grow(4 * head * 4);
    t.query.grow(std::max(kHeadBlock * head, (l.index_dim + 1) * index_heads) * 4);
    t.output.grow(kHeadBlock * head * 4);
    t.keys.grow(kKeyTile * head * 4);
    t.scores.grow(std::max(kHeadBlock * (kKeyTile + 3), entries_ * 2) * 4);
  }
}

void CpuBackend::check(int64_t needed, const Block& block, const char* what) const {
  if (needed > block.bytes()) {
    fail(Status::kInternal, "cpu backend: {}: {} bytes reserved, {} needed", what, block.bytes(), needed);
  }
}

void CpuBackend::upload(Mat to, const void* from) {
  const size_t bytes = row_bytes(to);
  for (int64_t r = 0; r < to.rows; ++r) {
    std::memcpy(to.slice(r, 1).data, static_cast<const uint8_t*>(from) + bytes * static_cast<size_t>(r), bytes);
  }
}

void CpuBackend::download(void* to, Mat from) {
  const size_t bytes = row_bytes(from);
  for (int64_t r = 0; r < from.rows; ++r) {
    std::memcpy(static_cast<uint8_t*>(to) + bytes * static_cast<size_t>(r), from.slice(r, 1).data, bytes);
  }
}

void CpuBackend::commit(std::span<const Run> runs) {
  for (const Run& run : runs) host_state(run).commit();
}

}  // namespace cpu
}  // namespace dsv4
