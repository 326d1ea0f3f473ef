// The table itself (spec: model.md §1), its conditions, names and aliases. See tensor_table.h.
#include "lib/checkpoint/tensor_table.h"

#include <array>

#include <fmt/format.h>

#include "lib/checkpoint/json_reader.h"

namespace dsv4 {
namespace {

using C = const Config&;

// Dimensions, by the names of Config.
int64_t one(C, int64_t) { return 1; }
int64_t three(C, int64_t) { return 3; }
int64_t vocab(C c, int64_t) { return c.vocab; }
int64_t hidden(C c, int64_t) { return c.hidden; }
int64_t wide(C c, int64_t) { return c.streams * c.hidden; }
int64_t streams(C c, int64_t) { return c.streams; }
int64_t mixes(C c, int64_t) { return 2 * c.streams + c.streams * c.streams; }
int64_t heads(C c, int64_t) { return c.heads; }
int64_t head_dim(C c, int64_t) { return c.head_dim; }
int64_t q_rank(C c, int64_t) { return c.q_rank; }
int64_t q_width(C c, int64_t) { return c.heads * c.head_dim; }
int64_t group_width(C c, int64_t) { return c.heads / c.o_groups * c.head_dim; }
int64_t o_width(C c, int64_t) { return c.o_groups * c.o_rank; }
int64_t ratio(C c, int64_t l) { return c.ratio(l); }
// CSA's groups overlap: twice the channels (spec: §3, compressor).
int64_t pool_width(C c, int64_t l) { return c.ratio(l) == 4 ? 2 * c.head_dim : c.head_dim; }
int64_t index_pool_width(C c, int64_t) { return 2 * c.index_dim; }
int64_t index_dim(C c, int64_t) { return c.index_dim; }
int64_t index_heads(C c, int64_t) { return c.index_heads; }
int64_t index_width(C c, int64_t) { return c.index_heads * c.index_dim; }
int64_t experts(C c, int64_t) { return c.experts; }
int64_t per_token(C c, int64_t) { return c.experts_per_token; }
int64_t width(C c, int64_t) { return c.expert_width; }
int64_t shared_width(C c, int64_t) { return c.shared_width; }

constexpr auto kModel = Place::kModel;
constexpr auto kBoth = Place::kModelAndMtp;
constexpr auto kBlock = Place::kBlock;
constexpr auto kMtp = Place::kMtp;
constexpr auto kAlways = When::kAlways;
constexpr const char* kW = ".weight";

using R = TensorRole;
constexpr TableRow kTable[] = {
    {R::kEmbed, kModel, kAlways, Format::kFloat, "embed", kW, 2, vocab, hidden},
    {R::kHead, kModel, kAlways, Format::kFloat, "head", kW, 2, vocab, hidden},
    {R::kNorm, kBoth, kAlways, Format::kFloat, "norm", kW, 1, one, hidden},
    {R::kHcHeadFn, kBoth, kAlways, Format::kF32, "hc_head_fn", "", 2, streams, wide},
    {R::kHcHeadBase, kBoth, kAlways, Format::kF32, "hc_head_base", "", 1, one, streams},
    {R::kHcHeadScale, kBoth, kAlways, Format::kF32, "hc_head_scale", "", 1, one, one},
    {R::kHcAttnFn, kBlock, kAlways, Format::kF32, "hc_attn_fn", "", 2, mixes, wide},
    {R::kHcAttnBase, kBlock, kAlways, Format::kF32, "hc_attn_base", "", 1, one, mixes},
    {R::kHcAttnScale, kBlock, kAlways, Format::kF32, "hc_attn_scale", "", 1, one, three},
    {R::kHcFfnFn, kBlock, kAlways, Format::kF32, "hc_ffn_fn", "", 2, mixes, wide},
    {R::kHcFfnBase, kBlock, kAlways, Format::kF32, "hc_ffn_base", "", 1, one, mixes},
    {R::kHcFfnScale, kBlock, kAlways, Format::kF32, "hc_ffn_scale", "", 1, one, three},
    {R::kAttnNorm, kBlock, kAlways, Format::kFloat, "attn_norm", kW, 1, one, hidden},
    {R::kFfnNorm, kBlock, kAlways, Format::kFloat, "ffn_norm", kW, 1, one, hidden},
    {R::kSink, kBlock, kAlways, Format::kF32, "attn.attn_sink", "", 1, one, heads},
    {R::kWqA, kBlock, kAlways, Format::kDense, "attn.wq_a", kW, 2, q_rank, hidden},
    {R::kQNorm, kBlock, kAlways, Format::kFloat, "attn.q_norm", kW, 1, one, q_rank},
    {R::kWqB, kBlock, kAlways, Format::kDense, "attn.wq_b", kW, 2, q_width, q_rank},
    {R::kWkv, kBlock, kAlways, Format::kDense, "attn.wkv", kW, 2, head_dim, hidden},
    {R::kKvNorm, kBlock, kAlways, Format::kFloat, "attn.kv_norm", kW, 1, one, head_dim},
    {R::kWoA, kBlock, kAlways, Format::kPlainA, "attn.wo_a", kW, 2, o_width, group_width},
    {R::kWoB, kBlock, kAlways, Format::kDense, "attn.wo_b", kW, 2, hidden, o_width},
    {R::kCompressWkv, kBlock, When::kCompressed, Format::kFloat, "attn.compressor.wkv", kW, 2, pool_width, hidden},
    {R::kCompressWgate, kBlock, When::kCompressed, Format::kFloat, "attn.compressor.wgate", kW, 2, pool_width, hidden},
    {R::kCompressApe, kBlock, When::kCompressed, Format::kF32, "attn.compressor.ape", "", 2, ratio, pool_width},
    {R::kCompressNorm, kBlock, When::kCompressed, Format::kFloat, "attn.compressor.norm", kW, 1, one, head_dim},
    {R::kIndexWqB, kBlock, When::kCsa, Format::kDense, "attn.indexer.wq_b", kW, 2, index_width, q_rank},
    {R::kIndexWeights, kBlock, When::kCsa, Format::kFloat, "attn.indexer.weights_proj", kW, 2, index_heads, hidden},
    {R::kIndexWkv, kBlock, When::kCsa, Format::kFloat, "attn.indexer.compressor.wkv", kW, 2, index_pool_width, hidden},
    {R::kIndexWgate, kBlock, When::kCsa, Format::kFloat, "attn.indexer.compressor.wgate", kW, 2, index_pool_width,
     hidden},
    {R::kIndexApe, kBlock, When::kCsa, Format::kF32, "attn.indexer.compressor.ape", "", 2, ratio, index_pool_width},
    {R::kIndexNorm, kBlock, When::kCsa, Format::kFloat, "attn.indexer.compressor.norm", kW, 1, one, index_dim},
    {R::kGate, kBlock, kAlways, Format::kFloat, "ffn.gate", kW, 2, experts, hidden},
    {R::kGateBias, kBlock, When::kLearned, Format::kF32, "ffn.gate.bias", "", 1, one, experts},
    {R::kGateHash, kBlock, When::kHash, Format::kHash, "ffn.gate.tid2eid", "", 2, vocab, per_token},
    {R::kExpertW1, kBlock, kAlways, Format::kExpert, "ffn.experts.*.w1", kW, 2, width, hidden},
    {R::kExpertW2, kBlock, kAlways, Format::kExpert, "ffn.experts.*.w2", kW, 2, hidden, width},
    {R::kExpertW3, kBlock, kAlways, Format::kExpert, "ffn.experts.*.w3", kW, 2, width, hidden},
    {R::kSharedW1, kBlock, kAlways, Format::kDense, "ffn.shared_experts.w1", kW, 2, shared_width, hidden},
    {R::kSharedW2, kBlock, kAlways, Format::kDense, "ffn.shared_experts.w2", kW, 2, hidden, shared_width},
    {R::kSharedW3, kBlock, kAlways, Format::kDense, "ffn.shared_experts.w3", kW, 2, shared_width, hidden},
    {R::kMtpEProj, kMtp, kAlways, Format::kDense, "e_proj", kW, 2, hidden, hidden},
    {R::kMtpHProj, kMtp, kAlways, Format::kDense, "h_proj", kW, 2, hidden, hidden},
    {R::kMtpENorm, kMtp, kAlways, Format::kFloat, "enorm", kW, 1, one, hidden},
    {R::kMtpHNorm, kMtp, kAlways, Format::kFloat, "hnorm", kW, 1, one, hidden},
};

constexpr bool in_role_order() {
  for (size_t i = 0; i < std::size(kTable); ++i) {
    if (static_cast<size_t>(kTable[i].role) != i) return false;
  }
  return std::size(kTable) == static_cast<size_t>(TensorRole::kCount);
}
static_assert(in_role_order(), "table_row() looks a role up by its number");

// How re-uploads spell things. Prefixes are taken off or replaced once each, in this order; then the last part.
struct Alias {
  std::string_view alias, name;
};
constexpr Alias kBlockAliases[] = {{"self_attn.", "attn."}, {"mlp.", "ffn."}};
constexpr Alias kEndAliases[] = {
    {".weight_scale_inv", ".scale"},
    {"gate.e_score_correction_bias", "gate.bias"},
    {"embed_tokens.weight", "embed.weight"},
    {"lm_head.weight", "head.weight"},
};

bool take(std::string_view& s, std::string_view prefix) {
  if (s.substr(0, prefix.size()) != prefix) return false;
  s.remove_prefix(prefix.size());
  return true;
}
bool take_end(std::string_view& s, std::string_view suffix) {
  if (s.size() < suffix.size() || s.substr(s.size() - suffix.size()) != suffix) return false;
  s.remove_suffix(suffix.size());
  return true;
}
// "12." as written by the publisher: no sign, no leading zero, few digits.
bool take_number(std::string_view& s, int64_t& value) {
  size_t n = 0;
  while (n < s.size() && s[n] >= '0' && s[n] <= '9') ++n;
  if (n == 0 || n > 6 || n == s.size() || s[n] != '.' || (n > 1 && s[0] == '0')) return false;
  value = 0;
  for (size_t i = 0; i < n; ++i) value = value * 10 + (s[i] - '0');
  s.remove_prefix(n + 1);
  return true;
}

// The stem of `rest` (a name inside its block) without suffix; false: neither a weight, a scale nor a bare name.
struct Stem {
  std::string text;
  bool weight = false;
  bool scale = false;
};
Stem split_stem(std::string_view rest) {
  Stem stem;
  for (const Alias& a : kBlockAliases) {
    if (take(rest, a.alias)) {
      stem.text = a.name;
      break;
    }
  }
  stem.text += rest;
  for (const Alias& a : kEndAliases) {
    std::string_view view = stem.text;
    if (!take_end(view, a.alias)) continue;
    // The alias is a whole part of the name, not the end of a longer word.
    if (a.alias.front() != '.' && !view.empty() && view.back() != '.') continue;
    stem.text.resize(view.size());
    stem.text += a.name;
    break;
  }
  std::string_view view = stem.text;
  stem.weight = take_end(view, kW);
  stem.scale = !stem.weight && take_end(view, ".scale");
  stem.text.resize(view.size());
  return stem;
}

const TableRow* row_of(std::string_view stem, bool expert) {
  for (const TableRow& row : kTable) {
    if (is_expert(row.role) == expert && stem == row.stem) return &row;
  }
  return nullptr;
}

}  // namespace

std::span<const TableRow> tensor_table() { return kTable; }
const TableRow& table_row(TensorRole role) { return kTable[static_cast<size_t>(role)]; }

bool applies(const TableRow& row, const Config& config, int64_t layer) {
  if (layer < -1 || layer >= config.blocks()) return false;
  switch (row.place) {
    case Place::kModel: return layer == -1;
    case Place::kModelAndMtp: return layer == -1 || config.is_mtp(layer);
    case Place::kMtp: return layer >= 0 && config.is_mtp(layer);
    case Place::kBlock: break;
  }
  if (layer < 0) return false;
  switch (row.when) {
    case When::kAlways: return true;
    case When::kCompressed: return config.ratio(layer) != 0;
    case When::kCsa: return config.ratio(layer) == 4;
    case When::kLearned: return !config.is_hash(layer);
    case When::kHash: return config.is_hash(layer);
  }
  return false;
}

std::string tensor_name(const TableRow& row, const Config& config, int64_t layer, int64_t expert, bool scale) {
  std::string name;
  if (layer >= 0) {
    name = config.is_mtp(layer) ? fmt::format("mtp.{}.", layer - config.layers) : fmt::format("layers.{}.", layer);
  }
  std::string_view stem = row.stem;
  const size_t star = stem.find('*');
  if (star == std::string_view::npos) {
    name += stem;
  } else {
    name += fmt::format("{}{}{}", stem.substr(0, star), expert, stem.substr(star + 1));
  }
  return name + (scale ? ".scale" : row.suffix);
}

ParsedName parse_tensor_name(std::string_view name, const Config& config) {
  ParsedName parsed;
  take(name, "model.");
  parsed.layer = -1;
  if (take(name, "layers.")) {
    if (!take_number(name, parsed.layer) || parsed.layer >= config.layers) return parsed;
  } else if (take(name, "mtp.")) {
    int64_t stage = 0;
    parsed.kind = NameKind::kDraft;
    if (!take_number(name, stage) || stage >= config.mtp_layers) return parsed;
    parsed.layer = config.layers + stage;
  }
  Stem stem = split_stem(name);
  std::string_view inner = stem.text;
  const bool expert = take(inner, "ffn.experts.");
  if (expert) {
    if (!take_number(inner, parsed.expert) || parsed.expert >= config.experts) {
      parsed.kind = NameKind::kUnknown;
      return parsed;
    }
    stem.text = fmt::format("ffn.experts.*.{}", inner);
  }
  const TableRow* row = row_of(stem.text, expert);
  if (row != nullptr && parsed.layer >= 0 && (row->role == TensorRole::kEmbed || row->role == TensorRole::kHead))
    return parsed;
  parsed.kind = NameKind::kUnknown;
  const bool suffixed = row != nullptr && row->suffix[0] != '\0';
  if (row == nullptr || (suffixed ? !stem.weight && !stem.scale : stem.weight || stem.scale)) return parsed;
  if (stem.scale && row->format == Format::kFloat) return parsed;
  if (!applies(*row, config, parsed.layer)) return parsed;
  parsed.kind = NameKind::kTensor;
  parsed.role = row->role;
  parsed.scale = stem.scale;
  return parsed;
}

DType published_dtype(const TableRow& row, const Config& config) {
  switch (row.format) {
    case Format::kDense:
    case Format::kPlainA: return DType::kF8E4M3;
    case Format::kExpert: return config.expert_dtype;
    case Format::kFloat: return DType::kBF16;
    case Format::kF32: return DType::kF32;
    case Format::kHash: return DType::kI64;
  }
  return DType::kF32;
}

bool accepts(const TableRow& row, DType dtype) {
  switch (row.format) {
    case Format::kDense:
    case Format::kPlainA: return dtype == DType::kF8E4M3 || dtype == DType::kBF16 || dtype == DType::kF32;
    case Format::kExpert:
      return dtype == DType::kFP4 || dtype == DType::kF8E4M3 || dtype == DType::kBF16 || dtype == DType::kF32;
    case Format::kFloat: return dtype == DType::kBF16 || dtype == DType::kF32;
    case Format::kF32: return dtype == DType::kF32;
    case Format::kHash: return dtype == DType::kI64 || dtype == DType::kI32;
  }
  return false;
}

std::string accepted_formats(const TableRow& row) {
  switch (row.format) {
    case Format::kDense:
    case Format::kPlainA: return "F8_E4M3, BF16 or F32";
    case Format::kExpert: return "I8 (two FP4 a byte), F8_E4M3, BF16 or F32";
    case Format::kFloat: return "BF16 or F32";
    case Format::kF32: return "F32";
    case Format::kHash: return "I64 or I32";
  }
  return "";
}

int64_t scale_rows(DType dtype, int64_t rows) { return dtype == DType::kFP4 ? rows : (rows + 127) / 128; }
int64_t scale_cols(DType dtype, int64_t cols) { return dtype == DType::kFP4 ? cols / 32 : (cols + 127) / 128; }
uint64_t data_bytes(DType dtype, int64_t rows, int64_t cols) {
  return static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols) * static_cast<uint64_t>(dtype_bits(dtype)) / 8;
}
uint64_t scale_bytes(DType dtype, int64_t rows, int64_t cols) {
  if (!has_scale(dtype)) return 0;
  return static_cast<uint64_t>(scale_rows(dtype, rows)) * static_cast<uint64_t>(scale_cols(dtype, cols));
}

uint64_t expected_weight_bytes(const Config& config) {
  uint64_t total = 0;
  for_each_tensor(config, [&](const TableRow& row, int64_t layer, int64_t) {
    const DType dtype = published_dtype(row, config);
    const int64_t rows = row.rows(config, layer), cols = row.cols(config, layer);
    total += data_bytes(dtype, rows, cols) + scale_bytes(dtype, rows, cols);
  });
  return total;
}

}  // namespace dsv4
