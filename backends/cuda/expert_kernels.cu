// Kernels of the mixture of experts and the choice among them (expert_kernels.h says what happens in which order).
// blockIdx.y is an item, blockIdx.x a tile of its expert's weight rows. Rows of x are gathered by the item's picks;
// h and the outputs lie by pick.
#include "backends/cuda/expert_kernels.h"

#include <algorithm>

#include "backends/cuda/device.cuh"
#include "backends/cuda/expert_group.cuh"
#include "backends/cuda/product_quantise.cuh"
#include "backends/cuda/product_stream.cuh"
#include "backends/cuda/product_tiles.cuh"

namespace dsv4::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

DSV4_DEVICE bool is_quantised(const WeightView& w) { return w.dtype == DType::kF8E4M3 || w.dtype == DType::kFP4; }

// Block 0 groups, the others quantise x.
DSV4_KERNEL(kGroupThreads) group_kernel(ExpertStep s) {
  SharedMemory shared;
  if (blockIdx.x == 0) {
    group_picks(s, shared);
    return;
  }
  const int parts = (s.cols + 255) / 256, at = (static_cast<int>(blockIdx.x) - 1) * kGroupWarps + warp();
  const int row = at / parts;
  if (row >= s.rows) return;
  quantise_part(s.quantised + row * s.quantised_stride, s.x + row * s.x_stride, s.cols, at % parts, s.x_aligned);
}

// Row of x that a pick multiplies with.
DSV4_DEVICE const bf16* input_of(const ExpertStep& s, bool from_quantised, int pick) {
  const int row = s.pick_row[pick];
  return from_quantised ? s.quantised + row * s.quantised_stride : s.x + row * s.x_stride;
}

DSV4_DEVICE float swiglu(float g, float u, float limit, float weight) {
  g = rounded(g);
  u = rounded(u);
  if (limit > 0.0f) {  // a NaN stays one
    g = g > limit ? limit : g;
    u = u > limit ? limit : u < -limit ? -limit : u;
  }
  return g / (1.0f + expf(-g)) * u * weight;
}

// ------------------------------------------------------------------------------------------------- few picks an item

constexpr int kHiddenSlices = 4;  // parts of w1's and of w3's columns, one warp each

template <int kParts>
DSV4_DEVICE void stream_hidden(const ExpertStep& s, const ExpertItem& item, Shared<float> sums) {
  constexpr int kSums = kParts * 8 * 16;
  const ExpertView& view = s.views[item.expert];
  const int first = static_cast<int>(blockIdx.x) * 16, last = view.w1.rows - 1;
  StreamLane<kParts> lanes;
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    lanes.x[p] = input_of(s, is_quantised(view.w1), item.first + min(8 * p + lane() / 4, item.count - 1));
  }
  StreamSums<kParts> own = {};
  stream_tile(own, warp() < kHiddenSlices ? view.w1 : view.w3, lanes, first, last, true, warp() % kHiddenSlices,
              kHiddenSlices);
  put_sums(sums.from(warp() * kSums), own);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < item.count * 16; i += kThreads) {
    const int col = first + i % 16, pick = item.first + i / 16;
    if (col > last) continue;
    float g = 0.0f, u = 0.0f;
    for (int w = 0; w < kHiddenSlices; ++w) g += sums[w * kSums + i];
    for (int w = kHiddenSlices; w < 2 * kHiddenSlices; ++w) u += sums[w * kSums + i];
    s.hidden[pick * s.hidden_stride + col] = narrow(swiglu(g, u, s.limit, s.pick_weight[pick]));
  }
}

template <int kParts>
DSV4_DEVICE void stream_output(const ExpertStep& s, const ExpertItem& item, int slices, Shared<float> sums) {
  constexpr int kSums = kParts * 8 * 16;
  const WeightView& w2 = s.views[item.expert].w2;
  const int block_tiles = kWarps / slices, block_first = static_cast<int>(blockIdx.x) * block_tiles * 16;
  const int first = block_first + warp() / slices * 16, last = w2.rows - 1;
  if (first <= last) {
    StreamLane<kParts> lanes;
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      lanes.x[p] = s.hidden + (item.first + min(8 * p + lane() / 4, item.count - 1)) * s.hidden_stride;
    }
    StreamSums<kParts> own = {};
    stream_tile(own, w2, lanes, first, last, true, warp() % slices, slices);
    put_sums(sums.from(warp() * kSums), own);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < block_tiles * item.count * 16; i += kThreads) {
    const int tile = i / 16 / item.count, pick = i / 16 % item.count, col = block_first + tile * 16 + i % 16;
    if (col > last) continue;
    float sum = 0.0f;
    for (int w = 0; w < slices; ++w) sum += sums[(tile * slices + w) * kSums + pick * 16 + i % 16];
    s.outputs[(item.first + pick) * s.output_stride + col] = narrow(sum);
  }
}

// Items of up to 8 * kMost picks; those with fewer do not pay for the rest.
template <int kMost>
DSV4_KERNEL(kThreads)
stream_hidden_kernel(ExpertStep s) {
  SharedMemory shared;
  Shared<float> sums = shared.take<float>(kWarps * kMost * 8 * 16);
  if (static_cast<int>(blockIdx.y) >= *s.item_count) return;
  const ExpertItem item = s.items[blockIdx.y];
  if (static_cast<int>(blockIdx.x) * 16 >= s.views[item.expert].w1.rows) return;
  if (kMost == 1 || item.count <= 8) {
    stream_hidden<1>(s, item, sums);
  } else if (kMost == 2 || item.count <= 16) {
    stream_hidden<kMost == 1 ? 1 : 2>(s, item, sums);
  } else {
    stream_hidden<kMost>(s, item, sums);
  }
}

template <int kMost>
DSV4_KERNEL(kThreads)
stream_output_kernel(ExpertStep s, int slices) {
  SharedMemory shared;
  Shared<float> sums = shared.take<float>(kWarps * kMost * 8 * 16);
  if (static_cast<int>(blockIdx.y) >= *s.item_count) return;
  const ExpertItem item = s.items[blockIdx.y];
  if (kMost == 1 || item.count <= 8) {
    stream_output<1>(s, item, slices, sums);
  } else if (kMost == 2 || item.count <= 16) {
    stream_output<kMost == 1 ? 1 : 2>(s, item, slices, sums);
  } else {
    stream_output<kMost>(s, item, slices, sums);
  }
}

// ------------------------------------------------------------------------------------------------ many picks an item

// A tile's 128 weight rows are 64 of w1 and the same of w3: of each warp's 32, the first 16 are w1's, so that a thread
// holds both halves of an h.
template <int kRows>
DSV4_KERNEL(kTileThreads)
tile_hidden_kernel(ExpertStep s) {
  SharedMemory shared;
  const TileMemory<kRows> memory(shared);
  if (static_cast<int>(blockIdx.y) >= *s.item_count) return;
  const ExpertItem item = s.items[blockIdx.y];
  const ExpertView& view = s.views[item.expert];
  const int first = static_cast<int>(blockIdx.x) * (kTileWeights / 2), last = view.w1.rows - 1;
  if (first > last) return;
  TileSums<kRows> sums = {};
  tile_product<kRows>(
      sums, memory, view.w1.dtype, true, view.w1.cols,
      [&](int r) -> const WeightView& { return r % 32 < 16 ? view.w1 : view.w3; },
      [&](int r) { return min(first + r / 32 * 16 + r % 16, last); },
      [&](int r) { return input_of(s, is_quantised(view.w1), item.first + min(r, item.count - 1)); });

  const int g = lane() / 4, t = lane() % 4;
#pragma unroll
  for (int i = 0; i < kRows / 32; ++i) {
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      const int r = warp() / 4 * (kRows / 2) + 16 * i + g + d / 2 * 8, pick = item.first + r;
      if (r >= item.count) continue;
      const float weight = s.pick_weight[pick];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int col = first + warp() % 4 * 16 + 8 * j + 2 * t + d % 2;
        if (col > last) continue;
        s.hidden[pick * s.hidden_stride + col] = narrow(swiglu(sums.d[i][j][d], sums.d[i][j + 2][d], s.limit, weight));
      }
    }
  }
}

template <int kRows>
DSV4_KERNEL(kTileThreads)
tile_output_kernel(ExpertStep s) {
  SharedMemory shared;
  const TileMemory<kRows> memory(shared);
  if (static_cast<int>(blockIdx.y) >= *s.item_count) return;
  const ExpertItem item = s.items[blockIdx.y];
  const WeightView& w2 = s.views[item.expert].w2;
  const int first = static_cast<int>(blockIdx.x) * kTileWeights, last = w2.rows - 1;
  TileSums<kRows> sums = {};
  tile_product<kRows>(
      sums, memory, w2.dtype, true, w2.cols, [&](int) -> const WeightView& { return w2; },
      [&](int r) { return min(first + r, last); },
      [&](int r) { return s.hidden + (item.first + min(r, item.count - 1)) * s.hidden_stride; });

  const int g = lane() / 4, t = lane() % 4;
#pragma unroll
  for (int i = 0; i < kRows / 32; ++i) {
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      const int r = warp() / 4 * (kRows / 2) + 16 * i + g + d / 2 * 8;
      if (r >= item.count) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int col = first + warp() % 4 * 32 + 8 * j + 2 * t + d % 2;
        if (col <= last) s.outputs[(item.first + r) * s.output_stride + col] = narrow(sums.d[i][j][d]);
      }
    }
  }
}

// ---------------------------------------------------------------------------------------- every format, every shape

// A warp has one column of the item's h, or of its output.
DSV4_KERNEL(kThreads) plain_hidden_kernel(ExpertStep s) {
  if (static_cast<int>(blockIdx.y) >= *s.item_count) return;
  const ExpertItem item = s.items[blockIdx.y];
  const ExpertView& view = s.views[item.expert];
  const int col = static_cast<int>(blockIdx.x) * kWarps + warp();
  if (col >= view.w1.rows) return;
  const bool paired = is_quantised(view.w1);
  const auto input = [&](int i) { return input_of(s, paired, item.first + i); };
  float g[kPlainRows], u[kPlainRows];
  plain_dots(g, view.w1, col, paired, item.count, input);
  plain_dots(u, view.w3, col, paired, item.count, input);
#pragma unroll
  for (int i = 0; i < kPlainRows; ++i) {
    const int pick = item.first + i;
    if (i >= item.count || lane() != i) continue;
    s.hidden[pick * s.hidden_stride + col] = narrow(swiglu(g[i], u[i], s.limit, s.pick_weight[pick]));
  }
}

DSV4_KERNEL(kThreads) plain_output_kernel(ExpertStep s) {
  if (static_cast<int>(blockIdx.y) >= *s.item_count) return;
  const ExpertItem item = s.items[blockIdx.y];
  const WeightView& w2 = s.views[item.expert].w2;
  const int col = static_cast<int>(blockIdx.x) * kWarps + warp();
  if (col >= w2.rows) return;
  float sums[kPlainRows];
  plain_dots(sums, w2, col, is_quantised(w2), item.count,
             [&](int i) { return s.hidden + (item.first + i) * s.hidden_stride; });
#pragma unroll
  for (int i = 0; i < kPlainRows; ++i) {
    if (i < item.count && lane() == i) s.outputs[(item.first + i) * s.output_stride + col] = narrow(sums[i]);
  }
}

// ------------------------------------------------------------------------------------------------------- between them

// h in place, of the picks whose w2 is quantised.
DSV4_KERNEL(kThreads) quantise_hidden_kernel(ExpertStep s, int parts) {
  const int at = static_cast<int>(blockIdx.x) * kWarps + warp(), pick = at / parts, part = at % parts;
  if (pick >= s.rows * (s.k + 1)) return;
  const WeightView& w2 = s.views[s.pick_expert[pick]].w2;
  if (!is_quantised(w2) || part * 256 >= w2.cols) return;
  bf16* h = s.hidden + pick * s.hidden_stride;
  quantise_part(h, h, w2.cols, part, true);
}

// A thread has eight columns of a row.
DSV4_KERNEL(kThreads) sum_kernel(ExpertStep s, bool aligned) {
  const int groups = (s.cols + 7) / 8, at = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const int row = at / groups, col = at % groups * 8;
  if (row >= s.rows) return;
  float sum[8] = {};
  for (int i = 0; i <= s.k; ++i) {
    const int pick = i < s.k ? s.pick_of[row * s.k + i] : s.rows * s.k + row;
    const uint4 four = *reinterpret_cast<const uint4*>(s.outputs + pick * s.output_stride + col);
    const uint32_t pairs[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int j = 0; j < 8; ++j) sum[j] += j % 2 == 0 ? low_of(pairs[j / 2]) : high_of(pairs[j / 2]);
  }
  bf16* y = s.y + row * s.y_stride + col;
  if (aligned && col + 8 <= s.cols) {
    *reinterpret_cast<uint4*>(y) = uint4{pack_bf16(sum[0], sum[1]), pack_bf16(sum[2], sum[3]),
                                         pack_bf16(sum[4], sum[5]), pack_bf16(sum[6], sum[7])};
    return;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    if (col + j < s.cols) y[j] = narrow(sum[j]);
  }
}

// ------------------------------------------------------------------------------------------------------------- host

enum class ItemKind { kPlain, kStream, kTiles };
struct ItemPlan {
  ItemKind kind;
  int32_t chunk;
};

// By how many picks an expert has on average: what it has indeed is not known here, and need not be.
ItemPlan plan_for(const ExpertTable& table, const ExpertStep& step) {
  const int64_t average = int64_t{step.rows} * step.k / std::max(step.experts, 1);
  if (table.plain || !step.x_aligned) return {ItemKind::kPlain, kPlainRows};
  if (average >= 80) return {ItemKind::kTiles, 128};
  if (average >= 20) return {ItemKind::kTiles, 64};
  return {ItemKind::kStream, step.rows <= 8 ? 8 : step.rows <= 16 ? 16 : 32};
}

int64_t most_items(const ExpertStep& s) {
  const int64_t picks = int64_t{s.rows} * s.k, chunk = s.chunk;
  return std::min(picks, std::min<int64_t>(picks, s.experts) + picks / chunk) + (s.rows + chunk - 1) / chunk;
}

int64_t cut(int64_t n, int64_t parts_of) { return (n + parts_of - 1) / parts_of; }

template <int kMost>
void queue_streams(const Gpu& gpu, const ExpertTable& table, const ExpertStep& s, bool hidden) {
  const int64_t bytes = shared_total<float>(kWarps * kMost * 8 * 16), items = most_items(s);
  if (hidden) {
    launch(&stream_hidden_kernel<kMost>, Grid{cut(table.width, 16), items}, kThreads, bytes, gpu.stream(), s);
    return;
  }
  int slices = 1;  // a warp keeps 512 columns, as many as it loads at once
  while (slices < kWarps && table.width > 512 * slices) slices *= 2;
  launch(&stream_output_kernel<kMost>, Grid{cut(s.cols, 16 * (kWarps / slices)), items}, kThreads, bytes, gpu.stream(),
         s, slices);
}

template <int kRows>
void queue_tiles(const Gpu& gpu, const ExpertTable& table, const ExpertStep& s, bool hidden) {
  if (hidden) {
    launch(&tile_hidden_kernel<kRows>, Grid{cut(table.width, kTileWeights / 2), most_items(s)}, kTileThreads,
           tile_shared_bytes<kRows>(), gpu.stream(), s);
  } else {
    launch(&tile_output_kernel<kRows>, Grid{cut(s.cols, kTileWeights), most_items(s)}, kTileThreads,
           tile_shared_bytes<kRows>(), gpu.stream(), s);
  }
}

void queue_items(const Gpu& gpu, const ExpertTable& table, const ExpertStep& s, ItemKind kind, bool hidden) {
  if (kind == ItemKind::kPlain) {
    auto* kernel = hidden ? &plain_hidden_kernel : &plain_output_kernel;
    launch(kernel, Grid{cut(hidden ? table.width : s.cols, kWarps), most_items(s)}, kThreads, 0, gpu.stream(), s);
  } else if (kind == ItemKind::kTiles) {
    (s.chunk == 64 ? queue_tiles<64> : queue_tiles<128>)(gpu, table, s, hidden);
  } else {
    (s.chunk == 8 ? queue_streams<1> : s.chunk == 16 ? queue_streams<2> : queue_streams<4>)(gpu, table, s, hidden);
  }
}

}  // namespace

void run_experts(const Gpu& gpu, ExpertScratch& scratch, const ExpertTable& table, ExpertStep s) {
  s.views = table.device.as<ExpertView>();
  s.items = scratch.items.as<ExpertItem>();
  s.item_count = scratch.item_count.as<int32_t>();
  s.pick_row = scratch.pick_row.as<int32_t>();
  s.pick_expert = scratch.pick_expert.as<int32_t>();
  s.pick_weight = scratch.pick_weight.as<float>();
  s.pick_of = scratch.pick_of.as<int32_t>();
  s.quantised = scratch.quantised.as<bf16>();
  s.hidden = scratch.hidden.as<bf16>();
  s.outputs = scratch.outputs.as<bf16>();
  s.quantised_stride = quantised_stride(s.cols);
  s.hidden_stride = quantised_stride(table.width);
  s.output_stride = cut(s.cols, 8) * 8;
  const ItemPlan plan = plan_for(table, s);
  s.chunk = plan.chunk;

  const int64_t x_warps = table.quantised_x ? s.rows * cut(s.cols, 256) : 0;
  launch(&group_kernel, Grid{1 + cut(x_warps, kGroupWarps)}, kGroupThreads, group_shared_bytes(s.experts), gpu.stream(),
         s);
  queue_items(gpu, table, s, plan.kind, true);
  if (table.quantised_h) {
    const int64_t parts = cut(table.width, 256), warps = int64_t{s.rows} * (s.k + 1) * parts;
    launch(&quantise_hidden_kernel, Grid{cut(warps, kWarps)}, kThreads, 0, gpu.stream(), s, parts);
  }
  queue_items(gpu, table, s, plan.kind, false);
  const bool aligned = s.y_stride % 8 == 0 && reinterpret_cast<uintptr_t>(s.y) % 16 == 0;
  launch(&sum_kernel, Grid{cut(s.rows * cut(s.cols, 8), kThreads)}, kThreads, 0, gpu.stream(), s, aligned);
}

void ExpertScratch::reserve(const Gpu& gpu, const Limits& limits) {
  const int64_t routed = limits.rows * limits.experts_per_token, picks = routed + limits.rows;
  const auto grow = [&](DeviceBuffer& buffer, int64_t bytes, const char* what) {
    buffer.grow(gpu, static_cast<size_t>(bytes), what);
  };
  grow(items, picks * static_cast<int64_t>(sizeof(ExpertItem)), "work list of the experts");
  grow(item_count, 4, "work list of the experts");
  grow(pick_row, picks * 4, "work list of the experts");
  grow(pick_expert, picks * 4, "work list of the experts");
  grow(pick_weight, picks * 4, "work list of the experts");
  grow(pick_of, routed * 4, "work list of the experts");
  grow(quantised, limits.rows * quantised_stride(limits.hidden) * 2, "quantised inputs of the experts");
  grow(hidden, picks * quantised_stride(limits.expert_width) * 2, "hidden values of the experts");
  grow(outputs, picks * cut(limits.hidden, 8) * 16, "outputs of the experts");
}

}  // namespace dsv4::cuda
