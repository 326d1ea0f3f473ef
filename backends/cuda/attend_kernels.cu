// Attention of a token over its window, its entries and a sink, with one key/value head for all query heads:
//   s = q·k / sqrt(d);  o = Σ exp(s)·k / (Σ exp(s) + exp(sink)) -> BF16, last dims rotated back by the token's own
//   position -> BF16
//
// A block takes a token, 16 or 64 of its heads, and a part of its keys; the packed rows of the next tile are fetched
// while the present one is worked on. How many parts there are follows from shapes; a part without keys ends at once.
// With one part the block writes the output itself, else a second kernel joins the parts.
#include <algorithm>
#include <cmath>

#include "backends/cuda/attention_kernels.h"
#include "backends/cuda/attention_tile.cuh"

namespace dsv4::cuda {
namespace {

struct AttendArgs {
  DeviceStep step;
  int layer;
  const bf16* q;
  int64_t q_stride;
  bf16* o;
  int64_t o_stride;
  const int32_t* top;
  int64_t top_stride;
  int top_cols;
  const float* rope;
  int64_t rope_stride;
  int pairs;
  Vector sink;
  int heads;
  int head_dim;
  int window;
  int ratio;
  float scale;
  int parts;
  float* partial;  // [rows, parts, heads, head_dim]
  float* sums;     // [rows, parts, heads, 2]: highest logit, sum of weights
};

DSV4_DEVICE KeyList keys_of(const AttendArgs& a, const DeviceRow& at, const DeviceLayer& layer, int row) {
  KeyList list;
  list.window_rows = layer.window;
  list.entry_rows = layer.compressed;
  list.top = a.ratio == 4 ? a.top + row * a.top_stride : nullptr;
  list.window = min(at.position + 1, a.window);
  list.first = at.position + 1 - list.window;
  list.ring = layer.ring;
  list.entries = layer.entries;
  list.stride = layer.kv_stride;
  int entries = 0;
  if (a.ratio == 4) {
    entries = a.top_cols;
  } else if (a.ratio != 0) {
    entries = min((at.position + 1) / a.ratio, layer.entries);
  }
  list.count = list.window + entries;
  return list;
}

// The tiles of one of `parts` parts: [begin, end).
struct TileRange {
  int begin, end;
  DSV4_DEVICE TileRange(const KeyList& list, int part, int parts) {
    const int tiles = (list.count + kTileKeys - 1) / kTileKeys;
    begin = part * tiles / parts;
    end = (part + 1) * tiles / parts;
  }
};

// Two neighbouring columns of a head's finished output.
DSV4_DEVICE void write_output(const AttendArgs& a, int row, int head, int column, float even, float odd) {
  even = rounded(even);
  odd = rounded(odd);
  const int pair = (column - (a.head_dim - 2 * a.pairs)) / 2;
  if (column >= a.head_dim - 2 * a.pairs) {
    const float* table = a.rope + row * a.rope_stride;
    turn(even, odd, table[pair], -table[a.pairs + pair]);
  }
  write_as(a.o + row * a.o_stride + static_cast<int64_t>(head) * a.head_dim + column, pack_bf16(even, odd));
}

template <class Shape>
DSV4_DEVICE void load_tile_queries(const AttendArgs& a, const TileMemory<Shape>& memory, int row, int first_head) {
  constexpr int kUnits = Shape::kDim / 8;
  const bf16* q = a.q + row * a.q_stride;
  for (int i = thread(); i < Shape::kHeads * kUnits; i += kAttendThreads) {
    const int head = i / kUnits, column = i % kUnits * 8;
    const bool valid = first_head + head < a.heads && column < a.head_dim;
    copy_async16(memory.queries, head * Shape::kRow + column,
                 valid ? q + static_cast<int64_t>(first_head + head) * a.head_dim + column : q, valid);
  }
  copy_async_commit();
  const int rest = (Shape::kDim - a.head_dim) / 8;  // columns of the keys that unpacking leaves out
  const Shared<uint4> keys = memory.keys.template as<uint4>();
  for (int i = thread(); i < kTileKeys * rest; i += kAttendThreads) {
    keys[i / rest * (Shape::kRow / 8) + a.head_dim / 8 + i % rest] = uint4{0, 0, 0, 0};
  }
}

// The block's outputs: finished, or as a part. m and l are those of the heads that the warp made the weights of.
template <class Shape>
DSV4_DEVICE void store_outputs(const AttendArgs& a, const TileMemory<Shape>& memory, int row, int first_head,
                               const float (&o)[Shape::kColumns / 8][4], const float (&m)[Shape::kOwnHeads],
                               const float (&l)[Shape::kOwnHeads], int head_tile, int group) {
  const int64_t part = (static_cast<int64_t>(row) * a.parts + blockIdx.z) * a.heads;
#pragma unroll
  for (int i = 0; i < Shape::kOwnHeads; ++i) {
    const int own = warp() * Shape::kOwnHeads + i, head = first_head + own;
    if (lane() != 0 || head >= a.heads) continue;
    if (a.parts == 1) {
      memory.rescale[own] = 1.0f / (l[i] + weight_of(element(a.sink, head), m[i]));
    } else {
      a.sums[2 * (part + head)] = m[i];
      a.sums[2 * (part + head) + 1] = l[i];
    }
  }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int own = 16 * head_tile + 8 * half + lane() / 4, head = first_head + own;
    if (head >= a.heads) continue;
    const float factor = a.parts == 1 ? static_cast<float>(memory.rescale[own]) : 1.0f;
#pragma unroll
    for (int n = 0; n < Shape::kColumns / 8; ++n) {
      const int column = group * Shape::kColumns + 8 * n + lane() % 4 * 2;
      if (column >= a.head_dim) continue;
      const float even = o[n][2 * half] * factor, odd = o[n][2 * half + 1] * factor;
      if (a.parts == 1) {
        write_output(a, row, head, column, even, odd);
      } else {
        write_as(a.partial + (part + head) * a.head_dim + column, float2{even, odd});
      }
    }
  }
}

// Blocks: [rows, heads, parts].
template <int kDim, int kHeadTiles>
DSV4_KERNEL(kAttendThreads)
attend_kernel(AttendArgs a) {
  using Shape = TileShape<kDim, kHeadTiles>;
  SharedMemory shared;
  const TileMemory<Shape> memory(shared);
  const auto row = static_cast<int>(blockIdx.x);
  const int first_head = static_cast<int>(blockIdx.y) * Shape::kHeads;
  const DeviceRow at = a.step.rows[row];
  if (at.layers == nullptr) return;
  const DeviceLayer& layer = at.layers[a.layer];
  const KeyList list = keys_of(a, at, layer, row);
  const TileRange range(list, static_cast<int>(blockIdx.z), a.parts);
  if (range.begin == range.end) return;

  const int head_tile = warp() % kHeadTiles, group = warp() / kHeadTiles, nope = layer.nope, rope = layer.rope;
  load_tile_queries(a, memory, row, first_head);
  PackedTile<Shape> next;
  next.fetch(list, range.begin, nope, rope);
  float o[Shape::kColumns / 8][4] = {};
  float m[Shape::kOwnHeads], l[Shape::kOwnHeads];
#pragma unroll
  for (int i = 0; i < Shape::kOwnHeads; ++i) {
    const int head = first_head + warp() * Shape::kOwnHeads + i;
    m[i] = head < a.heads ? element(a.sink, head) : 0.0f;  // the sink is one of the logits
    l[i] = 0.0f;
  }
  copy_async_wait<0>();
  for (int tile = range.begin; tile < range.end; ++tile) {
    next.unpack(memory, nope, rope);
    __syncthreads();
    if (tile + 1 < range.end) next.fetch(list, tile + 1, nope, rope);
    tile_scores(memory, head_tile, group);
    __syncthreads();
    tile_weights(memory, a.scale, m, l);
    __syncthreads();
    tile_outputs<Shape>(o, memory, head_tile, group);
    __syncthreads();
  }
  store_outputs(a, memory, row, first_head, o, m, l, head_tile, group);
}

// Joins the parts of one head of one token. Blocks: [rows, heads].
constexpr int kJoinThreads = 128;

DSV4_KERNEL(kJoinThreads) join_kernel(AttendArgs a) {
  SharedMemory shared;
  Shared<float> weights = shared.take<float>(a.parts);
  const auto row = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const DeviceRow at = a.step.rows[row];
  if (at.layers == nullptr) return;
  const KeyList list = keys_of(a, at, at.layers[a.layer], row);
  const auto place = [&](int part) { return (static_cast<int64_t>(row) * a.parts + part) * a.heads + head; };
  const auto has_keys = [&](int part) {
    const TileRange range(list, part, a.parts);
    return range.begin < range.end;
  };

  const float sink = element(a.sink, head);
  float m = sink, sum = 0.0f;
  for (int part = 0; part < a.parts; ++part) {
    if (has_keys(part)) m = fmaxf(m, a.sums[2 * place(part)]);
  }
  for (int part = 0; part < a.parts; ++part) {
    if (has_keys(part)) sum += a.sums[2 * place(part) + 1] * weight_of(a.sums[2 * place(part)], m);
  }
  sum += weight_of(sink, m);
  for (int part = thread(); part < a.parts; part += kJoinThreads) {
    weights[part] = has_keys(part) ? weight_of(a.sums[2 * place(part)], m) / sum : 0.0f;
  }
  __syncthreads();
  for (int column = 2 * thread(); column < a.head_dim; column += 2 * kJoinThreads) {
    float even = 0.0f, odd = 0.0f;
    for (int part = 0; part < a.parts; ++part) {
      if (!has_keys(part)) continue;
      const float weight = weights[part];
      const auto o = read_as<float2>(a.partial + place(part) * a.head_dim + column);
      even += weight * o.x;
      odd += weight * o.y;
    }
    write_output(a, row, head, column, even, odd);
  }
}

template <int kDim, int kHeadTiles>
void launch_tiles(const Gpu& gpu, const AttendArgs& a, int64_t rows) {
  using Shape = TileShape<kDim, kHeadTiles>;
  launch(attend_kernel<kDim, kHeadTiles>, Grid{rows, (a.heads + Shape::kHeads - 1) / Shape::kHeads, a.parts},
         kAttendThreads, Shape::bytes(), gpu.stream(), a);
}

// Parts of the keys such that the blocks of few rows fill the device.
int parts_of(const Gpu& gpu, const AttendArgs& a, int64_t rows) {
  const int64_t blocks = rows * ((a.heads + 15) / 16);
  const int64_t tiles = (a.window + a.top_cols + kTileKeys - 1) / kTileKeys;
  const int64_t most = a.ratio == 0 || a.ratio == 4 ? std::min(tiles, kAttendSplits) : kAttendSplits;
  return static_cast<int>(std::clamp<int64_t>(attend_blocks(gpu) / blocks, 1, std::max<int64_t>(most, 1)));
}

}  // namespace

void launch_attend(const Gpu& gpu, const AttentionScratch& scratch, const DeviceStep& step, int layer, const Mat& o,
                   const Mat& q, const Mat& top, const Mat& rope, const Attention& options) {
  if (q.rows == 0) return;
  AttendArgs a;
  a.step = step;
  a.layer = layer;
  a.q = static_cast<const bf16*>(q.data);
  a.q_stride = q.stride;
  a.o = static_cast<bf16*>(o.data);
  a.o_stride = o.stride;
  a.top = static_cast<const int32_t*>(top.data);
  a.top_stride = top.stride;
  a.top_cols = options.ratio == 4 ? static_cast<int>(top.cols) : 0;
  a.rope = static_cast<const float*>(rope.data);
  a.rope_stride = rope.stride;
  a.pairs = static_cast<int>(rope.cols / 2);
  a.sink = vector_of(options.sink);
  a.heads = static_cast<int>(options.heads);
  a.head_dim = static_cast<int>(options.head_dim);
  a.window = static_cast<int>(options.window);
  a.ratio = options.ratio;
  a.scale = 1.0f / std::sqrt(static_cast<float>(options.head_dim));
  a.partial = scratch.partial();
  a.sums = scratch.sums();
  // Many rows: 64 heads share a row's unpacked keys, a block is alone on its SM, and its keys are not split.
  const bool many = a.head_dim > 256 && a.heads > 32 && q.rows * ((a.heads + 63) / 64) >= gpu.processors();
  a.parts = many ? 1 : parts_of(gpu, a, q.rows);
  if (many) {
    launch_tiles<512, 4>(gpu, a, q.rows);
  } else if (a.head_dim > 256) {
    launch_tiles<512, 1>(gpu, a, q.rows);
  } else if (a.head_dim > 128) {
    launch_tiles<256, 1>(gpu, a, q.rows);
  } else {
    launch_tiles<128, 1>(gpu, a, q.rows);
  }
  if (a.parts > 1) {
    launch(join_kernel, Grid{q.rows, a.heads}, kJoinThreads, shared_total<float>(a.parts), gpu.stream(), a);
  }
}

}  // namespace dsv4::cuda
