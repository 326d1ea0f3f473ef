// The mixture of experts on the device. A pick is one (row, expert) pair; the shared expert has one for every row.
//   group    picks sorted by expert (stable), cut into items: up to `chunk` picks of one expert
//   hidden   h = silu(min(w1·x, limit)) · clamp(w3·x, ±limit) · weight -> BF16, per item and tile of h's columns
//   quantise h, in place, for quantised w2
//   output   w2·h -> BF16, per item and tile of columns
//   sum      y = Σ over a row's picks in the order of its route + shared -> BF16
// What a route names is known to the device only, so grids are the largest that the shapes allow, and blocks without an
// item leave at once.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "backends/cuda/gpu.h"
#include "backends/cuda/product_kernels.h"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

struct ExpertView {
  WeightView w1, w2, w3;

  bool operator==(const ExpertView&) const = default;
};

// The experts of one layer, the shared one last; on the device too, where kernels choose among them.
struct ExpertTable {
  std::vector<ExpertView> views;
  DeviceBuffer device;       // ExpertView [experts + 1]
  int32_t width = 0;         // the widest expert's
  bool plain = false;        // some weight is only for the plain kernels
  bool quantised_x = false;  // some w1 or w3 is quantised
  bool quantised_h = false;  // some w2 is quantised
};

// Up to `chunk` picks of one expert.
struct ExpertItem {
  int32_t expert;
  int32_t first;
  int32_t count;
  int32_t unused;
};

struct ExpertScratch {
  DeviceBuffer items;        // ExpertItem [most items]
  DeviceBuffer item_count;   // I32 [1]
  DeviceBuffer pick_row;     // I32 [picks], picks by expert, the shared expert's last
  DeviceBuffer pick_expert;  // I32 [picks]
  DeviceBuffer pick_weight;  // F32 [picks]
  DeviceBuffer pick_of;      // I32 [rows, k]: where each pick of a route went
  DeviceBuffer quantised;    // BF16 [rows, quantised_stride(hidden)], paired
  DeviceBuffer hidden;       // BF16 [picks, quantised_stride(width)]: h, then h quantised, paired
  DeviceBuffer outputs;      // BF16 [picks, hidden up to a multiple of 8]
  std::unordered_map<const Expert*, ExpertTable> tables;  // by layer

  void reserve(const Gpu& gpu, const Limits& limits);
  // The layer's table, made when it is met for the first time: never while a graph is captured.
  const ExpertTable& table_for(const Gpu& gpu, const Experts& experts);
};

// What all kernels of a call share.
struct ExpertStep {
  const ExpertView* views = nullptr;  // [experts + 1]
  ExpertItem* items = nullptr;
  int32_t* item_count = nullptr;
  int32_t* pick_row = nullptr;
  int32_t* pick_expert = nullptr;
  float* pick_weight = nullptr;
  int32_t* pick_of = nullptr;
  bf16* quantised = nullptr;
  bf16* hidden = nullptr;
  bf16* outputs = nullptr;
  int64_t quantised_stride = 0;
  int64_t hidden_stride = 0;
  int64_t output_stride = 0;
  const int32_t* route_experts = nullptr;  // [rows, k]
  const float* route_weights = nullptr;    // [rows, k]
  int64_t route_experts_stride = 0;
  int64_t route_weights_stride = 0;
  const bf16* x = nullptr;  // [rows, cols]
  bf16* y = nullptr;        // [rows, cols]
  int64_t x_stride = 0;
  int64_t y_stride = 0;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t k = 0;
  int32_t experts = 0;
  int32_t chunk = 0;
  float limit = 0.0f;
  bool x_aligned = false;
};

// Queues all of it. The pointers into the scratch are set here.
void run_experts(const Gpu& gpu, ExpertScratch& scratch, const ExpertTable& table, ExpertStep step);

constexpr int64_t kMostExperts = 1023;  // routed: one thread of the grouping block each

}  // namespace dsv4::cuda
