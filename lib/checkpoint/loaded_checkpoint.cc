// Look-up, value checks and fingerprint of an opened checkpoint. See loaded_checkpoint.h.
#include "lib/checkpoint/loaded_checkpoint.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lib/base/error.h"

namespace dsv4 {
namespace {

constexpr Tensor kNone;

// 64 bits at a time; the multiplier and the final mix are those of a common 64-bit finaliser.
class Hash {
 public:
  void add(uint64_t word) {
    state_ = (state_ ^ word) * 0x9e3779b97f4a7c15ull;
    state_ ^= state_ >> 32;
  }
  void add(int64_t word) { add(static_cast<uint64_t>(word)); }
  void add(double value) { add(std::bit_cast<uint64_t>(value)); }
  uint64_t value() const {
    uint64_t h = state_;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdull;
    return h ^ (h >> 33);
  }

 private:
  uint64_t state_ = 0x6473763400000001ull;  // "dsv4", version of what is hashed
};

void add_config(Hash& hash, const Config& c) {
  for (int64_t v : {c.vocab,        c.hidden,       c.layers,      c.heads,    c.head_dim,
                    c.rope_dim,     c.q_rank,       c.o_rank,      c.o_groups, c.window,
                    c.index_heads,  c.index_dim,    c.index_topk,  c.experts,  c.experts_per_token,
                    c.expert_width, c.shared_width, c.hash_layers, c.streams,  c.mtp_layers,
                    c.max_positions}) {
    hash.add(v);
  }
  for (int ratio : c.ratios) hash.add(int64_t{ratio});
  for (double v : {c.rope_theta, c.compress_rope_theta, c.yarn.factor, c.yarn.original, c.yarn.beta_fast,
                   c.yarn.beta_slow, double{c.routed_scale}, double{c.swiglu_limit}, double{c.hc_eps},
                   double{c.norm_eps}}) {
    hash.add(v);
  }
  for (int64_t v : {int64_t{c.yarn.on}, static_cast<int64_t>(c.scoring), int64_t{c.normalise_topk}, int64_t{c.sinkhorn},
                    int64_t{c.bos}, int64_t{c.eos}}) {
    hash.add(v);
  }
}

// Tensors of which a training moves every byte, and few enough to touch one page of each.
bool sampled(TensorRole role) {
  return role == TensorRole::kNorm || role == TensorRole::kWqA || role == TensorRole::kWkv ||
         role == TensorRole::kGate || role == TensorRole::kHead;
}

constexpr uint64_t kSample = 64;
const uint8_t* sample_of(const Tensor& t) {
  const uint64_t size = data_bytes(t.dtype, t.rows, t.cols);
  return t.data + (size - std::min(size, kSample)) / 2;
}

void add_sample(Hash& hash, const Tensor& t) {
  const uint64_t count = std::min(data_bytes(t.dtype, t.rows, t.cols), kSample);
  const uint8_t* from = sample_of(t);
  for (uint64_t i = 0; i + 8 <= count; i += 8) {
    uint64_t word = 0;
    for (uint64_t b = 8; b-- > 0;) word = word << 8 | from[i + b];
    hash.add(word);
  }
}

// The first entry outside [0, experts); -1 if there is none.
template <class T>
int64_t first_outside(const T* entries, int64_t count, int64_t experts) {
  for (int64_t i = 0; i < count; ++i) {
    if (entries[i] < 0 || entries[i] >= experts) return i;
  }
  return -1;
}

}  // namespace

const Tensor& LoadedCheckpoint::get(TensorRole role, int64_t layer, int64_t expert) const {
  const Tensor* t = tensors_.find(role, layer, expert);
  return t == nullptr ? kNone : *t;
}

void LoadedCheckpoint::check_values(TensorRole role, int64_t layer, int64_t expert) const {
  const Tensor& t = get(role, layer, expert);
  if (t.data == nullptr) return;
  const TableRow& row = table_row(role);
  if (t.scale != nullptr) {
    const void* bad = std::memchr(t.scale, 255, scale_bytes(t.dtype, t.rows, t.cols));
    if (bad != nullptr) {
      const auto at = static_cast<int64_t>(static_cast<const uint8_t*>(bad) - t.scale);
      const int64_t width = scale_cols(t.dtype, t.cols);
      fail(Status::kCorrupt, "{}: tensor {}: a scale of at most 254 expected, 255 (NaN) found at [{}, {}]", folder_,
           tensor_name(row, config_, layer, expert, true), at / width, at % width);
    }
  }
  if (row.format != Format::kHash) return;
  const int64_t count = t.rows * t.cols;
  const bool wide = t.dtype == DType::kI64;
  const auto* wides = reinterpret_cast<const int64_t*>(t.data);
  const auto* narrows = reinterpret_cast<const int32_t*>(t.data);
  const int64_t at =
      wide ? first_outside(wides, count, config_.experts) : first_outside(narrows, count, config_.experts);
  if (at >= 0) {
    fail(Status::kCorrupt, "{}: tensor {}: an expert from 0 to {} expected, {} found at [{}, {}]", folder_,
         tensor_name(row, config_, layer, expert, false), config_.experts - 1, wide ? wides[at] : int64_t{narrows[at]},
         at / t.cols, at % t.cols);
  }
}

void LoadedCheckpoint::prefetch(const uint8_t* data, uint64_t bytes) const {
  for (const SafetensorsFile& file : shards_) {
    const uint8_t* begin = file.map().data();
    if (data >= begin && data < begin + file.size())
      return file.map().prefetch(static_cast<size_t>(data - begin), bytes);
  }
}

void LoadedCheckpoint::finish(bool verify) {
  uint64_t expert_scales = 0;
  bytes_ = 0;
  for_each_tensor(config_, [&](const TableRow& row, int64_t layer, int64_t expert) {
    const Tensor& t = get(row.role, layer, expert);
    bytes_ += t.bytes;
    if (is_expert(row.role)) expert_scales += scale_bytes(t.dtype, t.rows, t.cols);
  });
  const bool experts = verify || expert_scales <= kScanLimit;
  for (const SafetensorsFile& file : shards_) file.map().advise(FileMap::Access::kRandom);
  for_each_tensor(config_, [&](const TableRow& row, int64_t layer, int64_t expert) {
    if (is_expert(row.role) && !experts) return;
    const Tensor& t = get(row.role, layer, expert);
    if (t.scale != nullptr) prefetch(t.scale, scale_bytes(t.dtype, t.rows, t.cols));
    if (row.format == Format::kHash) prefetch(t.data, t.bytes);
    if (sampled(row.role)) prefetch(sample_of(t), kSample);
  });
  for_each_tensor(config_, [&](const TableRow& row, int64_t layer, int64_t expert) {
    if (experts || !is_expert(row.role)) check_values(row.role, layer, expert);
  });
  add_to_fingerprint();
  for (const SafetensorsFile& file : shards_) file.map().advise(FileMap::Access::kNormal);
}

void LoadedCheckpoint::add_to_fingerprint() {
  Hash hash;
  add_config(hash, config_);
  for_each_tensor(config_, [&](const TableRow& row, int64_t layer, int64_t expert) {
    const Tensor& t = get(row.role, layer, expert);
    hash.add(static_cast<uint64_t>(row.role) << 8 | static_cast<uint64_t>(t.dtype));
    hash.add(layer << 20 | expert);
    hash.add(t.rows << 32 | t.cols);
    if (sampled(row.role)) add_sample(hash, t);
  });
  fingerprint_ = hash.value();
}

}  // namespace dsv4
