// The shapes of the published models (spec: model.md §1), for synthetic models and size estimates.
#include "lib/base/error.h"
#include "lib/checkpoint/config.h"

namespace dsv4 {
namespace {

// What Flash and Pro share.
Config common() {
  Config c;
  c.vocab = 129280;
  c.head_dim = 512;
  c.rope_dim = 64;
  c.o_rank = 1024;
  c.window = 128;
  c.yarn = {true, 16, 65536, 32, 1};
  c.index_heads = 64;
  c.index_dim = 128;
  c.experts_per_token = 6;
  c.hash_layers = 3;
  c.swiglu_limit = 10;
  c.mtp_layers = 1;
  c.max_positions = 1 << 20;
  return c;
}

// Two layers of their own kind, then 4, 128, 4, … and the MTP head's 0.
std::vector<int> alternating(int first, int64_t layers) {
  std::vector<int> ratios = {first, first};
  while (static_cast<int64_t>(ratios.size()) < layers) ratios.push_back(ratios.size() % 2 == 0 ? 4 : 128);
  ratios.push_back(0);
  return ratios;
}

Config flash() {
  Config c = common();
  c.hidden = 4096;
  c.layers = 43;
  c.heads = 64;
  c.q_rank = 1024;
  c.o_groups = 8;
  c.index_topk = 512;
  c.experts = 256;
  c.expert_width = c.shared_width = 2048;
  c.routed_scale = 1.5f;
  c.ratios = alternating(0, c.layers);
  return c;
}

Config pro() {
  Config c = common();
  c.hidden = 7168;
  c.layers = 61;
  c.heads = 128;
  c.q_rank = 1536;
  c.o_groups = 16;
  c.index_topk = 1024;
  c.experts = 384;
  c.expert_width = c.shared_width = 3072;
  c.routed_scale = 2.5f;
  c.ratios = alternating(128, c.layers);
  return c;
}

}  // namespace

Config published_config(const std::string& shape) {
  if (shape == "flash") return flash();
  if (shape == "pro") return pro();
  fail(Status::kInvalidArgument, "shape: \"flash\" or \"pro\" expected, \"{}\" found", shape);
}

Config with_layers(const Config& config, int64_t layers) {
  if (layers < 1 || layers > 1024) {
    fail(Status::kInvalidArgument, "layers: a number from 1 to 1024 expected, {} found", layers);
  }
  Config c = config;
  // The first two layers and the first hash layers are special; a shape of two layers or less has no middle.
  const int64_t first = config.layers > 2 ? 2 : 0;
  c.ratios.clear();
  for (int64_t i = 0; i < layers; ++i) c.ratios.push_back(config.ratio(first + i % (config.layers - first)));
  c.layers = layers;
  c.mtp_layers = 0;
  c.hash_layers = 0;
  return c;
}

}  // namespace dsv4
