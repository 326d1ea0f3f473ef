// The one table of tensors: role -> name, shape as a function of the config, accepted formats, condition. Everything
// that knows a tensor walks it: opening, validation, the size estimate, synthetic models, the tests' folder writer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/checkpoint/checkpoint.h"
#include "lib/checkpoint/config.h"

namespace dsv4 {

enum class Place : uint8_t { kModel, kModelAndMtp, kBlock, kMtp };
enum class When : uint8_t { kAlways, kCompressed, kCsa, kLearned, kHash };
enum class Format : uint8_t {
  kDense,    // E4M3 with a scale per 128 x 128 tile, or plain BF16, F32
  kPlainA,   // the same; used without activation quantisation, so its columns need not be whole blocks (wo_a)
  kExpert,   // FP4 with a scale per 32 columns, or what kDense may be
  kFloat,    // BF16 or F32
  kF32,
  kHash,     // I64 or I32
};

struct TableRow {
  TensorRole role;
  Place place;
  When when;
  Format format;
  const char* stem;    // name inside its block, without suffix: "attn.wq_a"; experts: "ffn.experts.*.w1"
  const char* suffix;  // ".weight" or ""
  int rank;            // 1: [cols], 2: [rows, cols]
  int64_t (*rows)(const Config&, int64_t layer);
  int64_t (*cols)(const Config&, int64_t layer);
};

std::span<const TableRow> tensor_table();  // by role
const TableRow& table_row(TensorRole role);
inline bool is_expert(TensorRole role) { return role >= TensorRole::kExpertW1 && role <= TensorRole::kExpertW3; }

// Whether a config calls for this tensor. layer -1 is the model itself; MTP head i is layer config.layers + i.
bool applies(const TableRow& row, const Config& config, int64_t layer);

// visit(row, layer, expert) for every tensor that a config calls for, in one fixed order. Expert is 0 outside experts.
template <class Visit>
void for_each_tensor(const Config& config, Visit&& visit) {
  for (int64_t layer = -1; layer < config.blocks(); ++layer) {
    for (const TableRow& row : tensor_table()) {
      if (!applies(row, config, layer)) continue;
      const int64_t count = is_expert(row.role) ? config.experts : 1;
      for (int64_t expert = 0; expert < count; ++expert) visit(row, layer, expert);
    }
  }
}

// Name as published: "layers.3.ffn.experts.7.w1.weight", or ".scale".
std::string tensor_name(const TableRow& row, const Config& config, int64_t layer, int64_t expert, bool scale);

enum class NameKind {
  kTensor,   // of the table, and this config calls for it
  kDraft,    // under mtp.*, not used: a DSpark drafter, further MTP stages, copies of embed and head
  kUnknown,
};
struct ParsedName {
  NameKind kind = NameKind::kUnknown;
  TensorRole role = TensorRole::kCount;
  int64_t layer = 0;
  int64_t expert = 0;
  bool scale = false;
};
// The way back, aliases included.
ParsedName parse_tensor_name(std::string_view name, const Config& config);

// The format of the published checkpoints; experts as config.expert_dtype says.
DType published_dtype(const TableRow& row, const Config& config);
bool accepts(const TableRow& row, DType dtype);
std::string accepted_formats(const TableRow& row);  // "F8_E4M3, BF16 or F32", for messages
inline bool has_scale(DType dtype) { return dtype == DType::kF8E4M3 || dtype == DType::kFP4; }
int64_t scale_rows(DType dtype, int64_t rows);
int64_t scale_cols(DType dtype, int64_t cols);
uint64_t data_bytes(DType dtype, int64_t rows, int64_t cols);
uint64_t scale_bytes(DType dtype, int64_t rows, int64_t cols);  // 0 without a scale

// One T for every tensor there can be: an array, looked up by arithmetic.
template <class T>
class TensorSlots {
 public:
  TensorSlots() = default;
  explicit TensorSlots(const Config& config)
      : blocks_(config.blocks()),
        experts_(config.experts),
        plain_(static_cast<size_t>((blocks_ + 1) * kRoles)),
        expert_(static_cast<size_t>(blocks_ * experts_ * 3)) {}

  // nullptr: no such layer or expert.
  T* find(TensorRole role, int64_t layer, int64_t expert) {
    if (layer < -1 || layer >= blocks_ || role >= TensorRole::kCount) return nullptr;
    if (!is_expert(role)) return &plain_[static_cast<size_t>((layer + 1) * kRoles + static_cast<int64_t>(role))];
    if (layer < 0 || expert < 0 || expert >= experts_) return nullptr;
    const int64_t which = static_cast<int64_t>(role) - static_cast<int64_t>(TensorRole::kExpertW1);
    return &expert_[static_cast<size_t>((layer * experts_ + expert) * 3 + which)];
  }
  const T* find(TensorRole role, int64_t layer, int64_t expert) const {
    return const_cast<TensorSlots*>(this)->find(role, layer, expert);
  }

 private:
  static constexpr int64_t kRoles = static_cast<int64_t>(TensorRole::kCount);
  int64_t blocks_ = 0;
  int64_t experts_ = 0;
  std::vector<T> plain_;
  std::vector<T> expert_;
};

}  // namespace dsv4
