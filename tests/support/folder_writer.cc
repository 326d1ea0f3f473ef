#include "tests/support/folder_writer.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

#include <fmt/format.h>

#include "lib/base/system_path.h"
#include "lib/checkpoint/tensor_table.h"

using namespace dsv4;

namespace {

const char* file_dtype(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "F32";
    case DType::kBF16: return "BF16";
    case DType::kF8E4M3: return "F8_E4M3";
    case DType::kF8E8M0: return "F8_E8M0";
    case DType::kI32: return "I32";
    case DType::kI64: return "I64";
    case DType::kU8: return "U8";
    default: return "I8";  // FP4, two a byte, and plain bytes
  }
}

int element_bytes(const std::string& dtype) {
  if (dtype == "I64" || dtype == "F64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  return dtype == "BF16" || dtype == "F16" || dtype == "I16" ? 2 : 1;
}

std::string header_of(const std::vector<WrittenTensor>& tensors, uint64_t first_gap) {
  std::string text = R"({"__metadata__":{"format":"pt"})";
  text.reserve(tensors.size() * 128);
  uint64_t at = first_gap;
  for (const WrittenTensor& t : tensors) {
    fmt::format_to(std::back_inserter(text), R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", t.name,
                   t.dtype, fmt::join(t.shape, ","), at, at + t.bytes);
    at += t.bytes;
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void write_length(std::ofstream& out, uint64_t length) {
  for (int i = 0; i < 8; ++i) out.put(static_cast<char>(length >> (8 * i)));
}

void add_tensor(std::vector<WrittenTensor>& tensors, const TableRow& row, const Config& c, int64_t layer,
                int64_t expert, Tensor t) {
  WrittenTensor w;
  w.name = tensor_name(row, c, layer, expert, false);
  w.dtype = file_dtype(t.dtype);
  const int64_t cols = t.dtype == DType::kFP4 ? t.cols / 2 : t.cols;
  if (row.rank == 2) w.shape.push_back(t.rows);
  w.shape.push_back(cols);
  w.bytes = data_bytes(t.dtype, t.rows, t.cols);
  w.data = t.data;
  tensors.push_back(w);
  if (!has_scale(t.dtype)) return;
  WrittenTensor s;
  s.name = tensor_name(row, c, layer, expert, true);
  s.dtype = "F8_E8M0";
  s.shape = {scale_rows(t.dtype, t.rows), scale_cols(t.dtype, t.cols)};
  s.bytes = scale_bytes(t.dtype, t.rows, t.cols);
  s.data = t.scale;
  tensors.push_back(s);
}

const char* scoring_name(ScoringFunc scoring) {
  switch (scoring) {
    case ScoringFunc::kSqrtSoftplus: return R"("sqrtsoftplus")";
    case ScoringFunc::kSigmoid: return R"("sigmoid")";
    case ScoringFunc::kSoftmax: return R"("softmax")";
  }
  return "";
}

// A new file, not the old one emptied: some file systems wait for the disk when a file is emptied and written again.
std::ofstream new_file(const std::string& path) {
  const std::filesystem::path file(dsv4::system_path(path));
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  return std::ofstream(file, std::ios::binary | std::ios::trunc);
}

}  // namespace

TempFolder::TempFolder() {
  static std::atomic<int> counter{0};
  const unsigned random = std::random_device{}();
  const auto path = std::filesystem::temp_directory_path() / fmt::format("dsv4-test-{:08x}-{}", random, counter++);
  std::filesystem::create_directories(path);
  path_ = path.generic_string();
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_text(const std::string& path, std::string_view text) {
  std::ofstream out = new_file(path);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

std::string read_text(const std::string& path) {
  std::ifstream in(std::filesystem::path(dsv4::system_path(path)), std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

ConfigText::ConfigText(const Config& c) {
  const auto number = [&](const char* key, auto value) { items_.emplace_back(key, fmt::format("{}", value)); };
  items_.emplace_back("architectures", R"(["DeepseekV4ForCausalLM"])");
  items_.emplace_back("model_type", R"("deepseek_v4")");
  number("vocab_size", c.vocab);
  number("hidden_size", c.hidden);
  number("num_hidden_layers", c.layers);
  number("num_attention_heads", c.heads);
  number("head_dim", c.head_dim);
  number("qk_rope_head_dim", c.rope_dim);
  number("q_lora_rank", c.q_rank);
  number("o_lora_rank", c.o_rank);
  number("o_groups", c.o_groups);
  number("sliding_window", c.window);
  items_.emplace_back("compress_ratios", fmt::format("[{}]", fmt::join(c.ratios, ",")));
  number("rope_theta", c.rope_theta);
  number("compress_rope_theta", c.compress_rope_theta);
  items_.emplace_back("rope_scaling",
                      c.yarn.on ? fmt::format(R"({{"type":"yarn","factor":{},"original_max_position_embeddings":{},)"
                                              R"("beta_fast":{},"beta_slow":{}}})",
                                              c.yarn.factor, c.yarn.original, c.yarn.beta_fast, c.yarn.beta_slow)
                                : std::string("null"));
  number("index_n_heads", c.index_heads);
  number("index_head_dim", c.index_dim);
  number("index_topk", c.index_topk);
  number("n_routed_experts", c.experts);
  number("n_shared_experts", c.shared_width / c.expert_width);
  number("num_experts_per_tok", c.experts_per_token);
  number("moe_intermediate_size", c.expert_width);
  number("num_hash_layers", c.hash_layers);
  items_.emplace_back("scoring_func", scoring_name(c.scoring));
  items_.emplace_back("norm_topk_prob", c.normalise_topk ? "true" : "false");
  number("routed_scaling_factor", c.routed_scale);
  number("swiglu_limit", c.swiglu_limit);
  number("hc_mult", c.streams);
  number("hc_sinkhorn_iters", c.sinkhorn);
  number("hc_eps", c.hc_eps);
  number("rms_norm_eps", c.norm_eps);
  number("num_nextn_predict_layers", c.mtp_layers);
  number("max_position_embeddings", c.max_positions);
  number("bos_token_id", c.bos);
  number("eos_token_id", c.eos);
  items_.emplace_back("expert_dtype", c.expert_dtype == DType::kFP4      ? R"("fp4")"
                                      : c.expert_dtype == DType::kF8E4M3 ? R"("fp8")"
                                                                         : R"("bf16")");
  items_.emplace_back("quantization_config", R"({"scale_fmt":"ue8m0","weight_block_size":[128,128]})");
}

ConfigText& ConfigText::set(const std::string& key, const std::string& json) {
  for (auto& item : items_) {
    if (item.first == key) {
      item.second = json;
      return *this;
    }
  }
  items_.emplace_back(key, json);
  return *this;
}

ConfigText& ConfigText::erase(const std::string& key) {
  items_.erase(std::remove_if(items_.begin(), items_.end(), [&](const auto& i) { return i.first == key; }),
               items_.end());
  return *this;
}

std::string ConfigText::text() const {
  std::string text = "{\n";
  for (size_t i = 0; i < items_.size(); ++i) {
    text += fmt::format("  \"{}\": {}{}\n", items_[i].first, items_[i].second, i + 1 < items_.size() ? "," : "");
  }
  return text + "}\n";
}

void write_safetensors(const std::string& path, const std::vector<WrittenTensor>& tensors, uint64_t first_gap) {
  const std::string header = header_of(tensors, first_gap);
  uint64_t at = 8 + header.size() + first_gap;
  std::ofstream out = new_file(path);
  write_length(out, header.size());
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const WrittenTensor& t : tensors) {
    if (t.data != nullptr) {
      out.seekp(static_cast<std::streamoff>(at));
      out.write(reinterpret_cast<const char*>(t.data), static_cast<std::streamsize>(t.bytes));
    }
    at += t.bytes;
  }
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
  out.close();
  std::filesystem::resize_file(dsv4::system_path(path), at);  // what was not written is a hole
}

void write_raw_safetensors(const std::string& path, std::string_view header, uint64_t data_bytes) {
  std::ofstream out = new_file(path);
  write_length(out, header.size());
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
  out.close();
  std::filesystem::resize_file(dsv4::system_path(path), 8 + header.size() + data_bytes);
}

FolderWriter::FolderWriter(const Config& c) : config(c) {
  for_each_tensor(c, [&](const TableRow& row, int64_t layer, int64_t expert) {
    Tensor t;
    t.dtype = published_dtype(row, c);
    t.rows = row.rows(c, layer);
    t.cols = row.cols(c, layer);
    add_tensor(tensors, row, c, layer, expert, t);
  });
}

FolderWriter::FolderWriter(const Checkpoint& checkpoint) : config(checkpoint.config()) {
  const Config& c = checkpoint.config();
  for_each_tensor(c, [&](const TableRow& row, int64_t layer, int64_t expert) {
    add_tensor(tensors, row, c, layer, expert, checkpoint.get(row.role, layer, expert));
  });
}

WrittenTensor& FolderWriter::tensor(const std::string& name) {
  for (WrittenTensor& t : tensors) {
    if (t.name == name) return t;
  }
  throw std::out_of_range("no tensor " + name);
}

void FolderWriter::remove(const std::string& name) {
  tensors.erase(tensors.begin() + (&tensor(name) - tensors.data()));
}

std::vector<uint8_t>& FolderWriter::own_bytes(const std::string& name) {
  WrittenTensor& t = tensor(name);
  std::vector<uint8_t>& bytes = own_[name];
  bytes.resize(t.bytes);
  t.data = bytes.data();
  return bytes;
}

std::string FolderWriter::shard_name(int shard, int shards) {
  return shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

void FolderWriter::write(const std::string& folder) const {
  write_text(folder + "/config.json", config.text());
  uint64_t total = 0;
  for (const WrittenTensor& t : tensors) total += t.bytes;
  std::string map;
  size_t next = 0;
  uint64_t done = 0;
  for (int shard = 0; shard < shards; ++shard) {
    const std::string name = shard_name(shard, shards);
    std::vector<WrittenTensor> part;
    const uint64_t until = total / static_cast<uint64_t>(shards) * static_cast<uint64_t>(shard + 1);
    while (next < tensors.size() && (done < until || shard + 1 == shards)) {
      done += tensors[next].bytes;
      fmt::format_to(std::back_inserter(map), "{}    \"{}\": \"{}\"", map.empty() ? "" : ",\n", tensors[next].name,
                     name);
      part.push_back(tensors[next++]);
    }
    // As the publisher's tools do: wide elements first, so that every tensor is aligned.
    std::stable_sort(part.begin(), part.end(), [](const WrittenTensor& a, const WrittenTensor& b) {
      return element_bytes(a.dtype) > element_bytes(b.dtype);
    });
    write_safetensors(folder + "/" + name, part);
  }
  if (shards == 1) return;
  for (const auto& [tensor_name, shard] : index_extra) map += fmt::format(",\n    \"{}\": \"{}\"", tensor_name, shard);
  write_text(
      folder + "/model.safetensors.index.json",
      fmt::format("{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{\n{}\n  }}\n}}\n", total, map));
}
