// Weights: every tensor of the model, prepared by a backend and put where the forward pass names it. With each group
// go the options of the verb that uses it, so that forward.cc is free of configuration.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/checkpoint/checkpoint.h"

namespace dsv4 {

struct CompressorWeights {
  Weight wkv, wgate;  // [width or 2 * width, hidden]
  Compressor options;
};

struct Layer {
  int ratio = 0;
  HyperConnection hc_attn, hc_ffn;

  Weight wq_a, q_norm, wq_b;  // [q_rank, hidden], [q_rank], [heads * head_dim, q_rank]
  Query query;
  Weight wkv;  // [head_dim, hidden]
  Append append;
  CompressorWeights compressor;  // ratio 4 and 128
  Weight index_wq_b;             // [index_heads * index_dim, q_rank]: ratio 4, as all of the indexer
  Weight index_weights;          // [index_heads, hidden]
  Query index_query;
  CompressorWeights index_compressor;
  Indexer indexer;
  Attention attention;
  Weight wo_a, wo_b;  // [groups * o_rank, heads * head_dim / groups], [hidden, groups * o_rank]

  Gate gate;
  std::vector<Expert> routed;
  Experts experts;
};

struct DraftHead {
  Weight e_proj, h_proj, e_norm, h_norm;
  Layer block;
  HyperConnection head;
};

struct Weights {
  Weight embedding, head;
  HyperConnection hc_head;
  std::vector<Layer> layers;
  std::unique_ptr<DraftHead> draft;
  Mat frequencies[2];  // F32 [1, rope_dim / 2]: of layers without, and with, a compressor
  std::unique_ptr<Memory> frequency_memory;
};

// `done` of `total` bytes are with the backend; false: give up (Error kCancelled).
using WeightProgress = std::function<bool(uint64_t done, uint64_t total)>;

std::unique_ptr<Weights> load_weights(const Checkpoint& checkpoint, Backend& backend, const WeightProgress& progress);

}  // namespace dsv4
