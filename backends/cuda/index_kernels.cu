// The indexer of CSA: scores of all finished entries of a token, and the best of them.
//   score_j = Σ_h w_h · relu(q_h · key_j),  w_h = w · dim^-1/2 · heads^-1/2 in FP32
//   top     = the k best, falling, ties to the lower entry
//
// Scores: queries and keys are E2M1 times powers of two, exact in BF16, so that tensor cores give the products. Keys
// are the rows of A, heads the columns of B: a lane makes its part of A in registers straight out of packed rows, and a
// block goes over any number of keys with the queries of one token in shared memory.
//
// Best: a key of 64 bits holds the score, so arranged that integers order as floats do, and below it the entry,
// inverted. Keys differ, so that "the k largest" has one meaning; a histogram over the range that the k-th must lie in
// is narrowed until it is known, and the winners are sorted. Of long rows blocks find the best of each chunk first.
#include <algorithm>
#include <cmath>

#include "backends/cuda/attention_kernels.h"
#include "backends/cuda/attention_rows.cuh"
#include "backends/cuda/product_widen.cuh"

namespace dsv4::cuda {
namespace {

// ------------------------------------------------------------------------------------------------------------- scores

constexpr int kScoreThreads = 128;

struct ScoreArgs {
  DeviceStep step;
  int layer;
  int first_row;  // of the rows scored now; scores are those of first_row on
  const bf16* q;
  int64_t q_stride;
  const bf16* w;
  int64_t w_stride;
  int heads;
  float factor;
  float* scores;  // [rows, stride]
  int64_t stride;
};

DSV4_DEVICE int finished_entries(const DeviceRow& at, const DeviceLayer& layer) {
  return min((at.position + 1) / layer.ratio, layer.entries);
}

// With t = lane % 4, lane t of a row has dims [t·dim/4, (t+1)·dim/4), eight of them in a word of codes. Which dims meet
// in which step of the product is free, as long as keys and queries agree: word w feeds steps 2w and 2w + 1, in the
// order in which widen_fp4 gives pairs.
template <int kDim>
struct ScoreShape {
  static constexpr int kWords = kDim / 32;
  static constexpr int kSteps = kDim / 16;
  static constexpr int kKeyTiles = kDim <= 128 ? 2 : 1;              // of 16 keys, a warp at a time
  static constexpr int kKeys = kScoreThreads / 32 * kKeyTiles * 16;  // a block at a time
};

// The queries of one token in the order of B's fragments: [heads / 8, steps, lane].
template <int kDim>
DSV4_DEVICE void load_queries(Shared<uint2> fragments, Shared<float> weights, const ScoreArgs& a, int row) {
  using Shape = ScoreShape<kDim>;
  const int tiles = (a.heads + 7) / 8;
  const bf16* q = a.q + row * a.q_stride;
  for (int i = thread(); i < tiles * Shape::kWords * 32; i += threads()) {
    const int l = i % 32, word = i / 32 % Shape::kWords, tile = i / 32 / Shape::kWords;
    const int head = 8 * tile + l / 4;
    uint4 x{0, 0, 0, 0};
    if (head < a.heads) x = read_as<uint4>(q + head * kDim + l % 4 * (kDim / 4) + 8 * word);
    const int to = (tile * Shape::kSteps + 2 * word) * 32 + l;
    fragments[to] = uint2{pick_bytes(x.x, x.z, 0x5410), pick_bytes(x.x, x.z, 0x7632)};
    fragments[to + 32] = uint2{pick_bytes(x.y, x.w, 0x5410), pick_bytes(x.y, x.w, 0x7632)};
  }
  for (int h = thread(); h < 8 * tiles; h += threads()) {
    weights[h] = h < a.heads ? widen(a.w[row * a.w_stride + h]) * a.factor : 0.0f;
  }
  __syncthreads();
}

// A's fragments of 16 keys: rows g and g + 8 of the tile.
template <int kDim>
DSV4_DEVICE void load_keys(uint32_t (&keys)[kDim / 16][4], const DeviceLayer& layer, int first, int finished) {
  const int t = lane() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key = min(first + lane() / 4 + 8 * half, finished - 1);  // what lies behind the last is not used
    const uint8_t* row = layer.index_rows + static_cast<int64_t>(key) * layer.index_stride;
#pragma unroll
    for (int w = 0; w < kDim / 32; ++w) {
      const uint32_t codes = read_as<uint32_t>(row + t * (kDim / 8) + 4 * w);
      const uint32_t scale = row[kDim / 2 + (t * (kDim / 4) + 8 * w) / 32];
      uint32_t pairs[4];
      widen_fp4(pairs, codes, scale_as_pair(scale));
      keys[2 * w][half] = pairs[0];
      keys[2 * w][2 + half] = pairs[1];
      keys[2 * w + 1][half] = pairs[2];
      keys[2 * w + 1][2 + half] = pairs[3];
    }
  }
}

DSV4_DEVICE float relu(float x) { return x < 0.0f ? 0.0f : x; }  // a NaN stays one

// Blocks: [parts of the entries, rows].
template <int kDim>
DSV4_KERNEL(kScoreThreads)
score_kernel(ScoreArgs a) {
  using Shape = ScoreShape<kDim>;
  SharedMemory shared;
  const int tiles = (a.heads + 7) / 8;
  Shared<uint2> queries = shared.take<uint2>(tiles * Shape::kSteps * 32);
  Shared<float> weights = shared.take<float>(8 * tiles);
  const int row = a.first_row + static_cast<int>(blockIdx.y);
  const DeviceRow at = a.step.rows[row];
  if (at.layers == nullptr) return;
  const DeviceLayer& layer = at.layers[a.layer];
  const int finished = finished_entries(at, layer);
  int first = static_cast<int>(blockIdx.x) * Shape::kKeys;
  if (first >= finished) return;
  load_queries<kDim>(queries, weights, a, row);
  float* scores = a.scores + blockIdx.y * a.stride;
  const int g = lane() / 4, t = lane() % 4;
  for (; first < finished; first += static_cast<int>(gridDim.x) * Shape::kKeys) {
    const int own = first + warp() * Shape::kKeyTiles * 16;
    uint32_t keys[Shape::kKeyTiles][Shape::kSteps][4];
    float sums[Shape::kKeyTiles][2] = {};
#pragma unroll
    for (int m = 0; m < Shape::kKeyTiles; ++m) load_keys<kDim>(keys[m], layer, own + 16 * m, finished);
    for (int tile = 0; tile < tiles; ++tile) {
      float d[Shape::kKeyTiles][4] = {};
#pragma unroll
      for (int s = 0; s < Shape::kSteps; ++s) {
        const uint2 q = queries[(tile * Shape::kSteps + s) * 32 + lane()];
        const uint32_t b[2] = {q.x, q.y};
#pragma unroll
        for (int m = 0; m < Shape::kKeyTiles; ++m) mma_bf16(d[m], keys[m][s], b);
      }
      const float even = weights[8 * tile + 2 * t], odd = weights[8 * tile + 2 * t + 1];
#pragma unroll
      for (int m = 0; m < Shape::kKeyTiles; ++m) {
        sums[m][0] += even * relu(d[m][0]) + odd * relu(d[m][1]);
        sums[m][1] += even * relu(d[m][2]) + odd * relu(d[m][3]);
      }
    }
#pragma unroll
    for (int m = 0; m < Shape::kKeyTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = sums[m][half];
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        const int key = own + 16 * m + 8 * half + g;
        if (t == 0 && key < finished) scores[key] = sum;
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------------- the
// best

constexpr int kBins = 2048;

// Larger for better. A NaN counts as -infinity, and -0 as 0.
DSV4_DEVICE uint64_t key_of(float score, int entry) {
  const float x = score != score ? float_of(0xff800000u) : score + 0.0f;
  const uint32_t u = bits_of(x), ordered = (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - static_cast<uint32_t>(entry));
}
DSV4_DEVICE int entry_of(uint64_t key) { return static_cast<int>(0xffffffffu - static_cast<uint32_t>(key)); }

struct ScoreSource {
  const float* scores;
  int first;
  DSV4_DEVICE uint64_t key(int i) const { return key_of(scores[first + i], first + i); }
};
struct KeySource {
  const uint64_t* keys;
  DSV4_DEVICE uint64_t key(int i) const { return keys[i]; }
};

struct Found {
  int bin;    // where the k-th lies
  int above;  // keys in higher bins
  int count;  // keys in this one
};

struct SelectMemory {
  Shared<int> histogram;  // [kBins]
  Shared<int> totals;     // [32]
  Shared<int> bounds;     // [4]: largest score and largest inverted score, as ordered signed integers; winners so far
  Shared<Found> found;    // [1]

  DSV4_DEVICE explicit SelectMemory(SharedMemory& shared)
      : histogram(shared.take<int>(kBins)),
        totals(shared.take<int>(32)),
        bounds(shared.take<int>(4)),
        found(shared.take<Found>(1)) {}
};
constexpr int64_t kSelectBytes =
    shared_total<int>(kBins) + shared_total<int>(32) + shared_total<int>(4) + shared_total<Found>(1);

// The bin in which the `need`-th largest key lies.
template <int kThreads>
DSV4_DEVICE Found find_bin(const SelectMemory& m, int need) {
  constexpr int kOwn = kBins / kThreads, kWarps = kThreads / 32;
  int own[kOwn], sum = 0;
#pragma unroll
  for (int b = 0; b < kOwn; ++b) sum += own[b] = m.histogram[thread() * kOwn + b];
  const int total = sum_of_warp(sum);
  if (lane() == 0) m.totals[warp()] = total;
  __syncthreads();
  int higher = 0;  // keys of higher warps' bins
  if (lane() < kWarps && lane() > warp()) higher = m.totals[lane()];
  higher = sum_of_warp(higher);
  int from_here = sum;  // keys of this lane's bins and those above it in the warp
#pragma unroll
  for (int n = 1; n < 32; n *= 2) {
    const int v = shuffle_down(from_here, n);
    if (lane() + n < 32) from_here += v;
  }
  int above = higher + from_here - sum;
  if (above < need && above + sum >= need) {
    int b = kOwn - 1;
    while (above + own[b] < need) above += own[b--];
    m.found[0] = Found{thread() * kOwn + b, above, own[b]};
  }
  __syncthreads();
  return m.found[0];
}

// The range that all keys lie in.
template <class Source>
DSV4_DEVICE void find_bounds(const Source& source, int n, const SelectMemory& m, uint64_t& low, uint64_t& high) {
  int most = -0x7fffffff - 1, most_inverted = most;
  for (int i = thread(); i < n; i += threads()) {
    const int v = static_cast<int>(static_cast<uint32_t>(source.key(i) >> 32) ^ 0x80000000u);
    most = max(most, v);
    most_inverted = max(most_inverted, ~v);
  }
  most = max_of_warp(most);
  most_inverted = max_of_warp(most_inverted);
  if (lane() == 0) {
    atomic_max(m.bounds, 0, most);
    atomic_max(m.bounds, 1, most_inverted);
  }
  __syncthreads();
  const int largest = m.bounds[0], smallest = ~m.bounds[1];
  low = static_cast<uint64_t>(static_cast<uint32_t>(smallest) ^ 0x80000000u) << 32;
  high = static_cast<uint64_t>(static_cast<uint32_t>(largest) ^ 0x80000000u) << 32 | 0xffffffffu;
}

DSV4_DEVICE int bits_in(uint64_t x) {
  const auto high = static_cast<int>(x >> 32), low = static_cast<int>(x);
  return high != 0 ? 64 - __clz(high) : 32 - __clz(low);
}

// The k-th largest of n keys, k < n.
template <int kThreads, class Source>
DSV4_DEVICE uint64_t kth_largest(const Source& source, int n, int k, const SelectMemory& m) {
  uint64_t low = 0, high = 0;
  find_bounds(source, n, m, low, high);
  for (int need = k;;) {
    const int shift = max(bits_in(high - low) - 11, 0);
    for (int i = thread(); i < kBins; i += threads()) m.histogram[i] = 0;
    __syncthreads();
    for (int i = thread(); i < n; i += threads()) {
      const uint64_t key = source.key(i);
      if (key >= low && key <= high) atomic_add(m.histogram, static_cast<int>((key - low) >> shift), 1);
    }
    __syncthreads();
    const Found found = find_bin<kThreads>(m, need);
    low += static_cast<uint64_t>(found.bin) << shift;
    need -= found.above;
    if (found.count == need || shift == 0) return low;
    high = low + ((uint64_t{1} << shift) - 1);
  }
}

// The min(n, k) largest keys, in no order, to put(place, key).
template <int kThreads, class Source, class Put>
DSV4_DEVICE void gather_best(const Source& source, int n, int k, const SelectMemory& m, Put put) {
  if (thread() == 0) {
    m.bounds[0] = m.bounds[1] = -0x7fffffff - 1;
    m.bounds[2] = 0;
  }
  __syncthreads();
  const uint64_t least = n > k ? kth_largest<kThreads>(source, n, k, m) : 0;
  for (int i = thread(); i < n; i += threads()) {
    const uint64_t key = source.key(i);
    if (key < least) continue;
    const int place = atomic_add(m.bounds, 2, 1);
    if (place < k) put(place, key);
  }
  __syncthreads();
}

// Falling; `size` is a power of two.
DSV4_DEVICE void sort_keys(Shared<uint64_t> keys, int size) {
  for (int run = 2; run <= size; run *= 2) {
    for (int half = run / 2; half > 0; half /= 2) {
      for (int p = thread(); p < size / 2; p += threads()) {
        const int i = 2 * p - (p & (half - 1));
        const uint64_t x = keys[i], y = keys[i + half];
        if ((x < y) != ((i & run) != 0)) {
          keys[i] = y;
          keys[i + half] = x;
        }
      }
      __syncthreads();
    }
  }
}

struct SelectArgs {
  DeviceStep step;
  int layer;
  int first_row;
  const float* scores;  // [rows, stride]
  int64_t stride;
  uint64_t* winners;  // [rows, chunks, kept]
  int chunks;
  int kept;
  int32_t* top;
  int64_t top_stride;
  int k;
  int size;  // k, rounded up to a power of two
};

constexpr int kChunkThreads = 512;

// The best of each chunk of a row's scores. Blocks: [chunks, rows].
DSV4_KERNEL(kChunkThreads) select_chunk_kernel(SelectArgs a) {
  SharedMemory shared;
  const SelectMemory memory(shared);
  const DeviceRow at = a.step.rows[a.first_row + static_cast<int>(blockIdx.y)];
  if (at.layers == nullptr) return;
  const int first = static_cast<int>(blockIdx.x * kSelectChunk);
  const int n = min(finished_entries(at, at.layers[a.layer]) - first, static_cast<int>(kSelectChunk));
  if (n <= 0) return;
  const ScoreSource source{a.scores + blockIdx.y * a.stride, first};
  uint64_t* to = a.winners + (static_cast<int64_t>(blockIdx.y) * a.chunks + blockIdx.x) * a.kept;
  gather_best<kChunkThreads>(source, n, a.kept, memory, [&](int place, uint64_t key) { to[place] = key; });
}

// The best of a row, in order. A block is a row.
template <int kThreads>
DSV4_KERNEL(kThreads)
select_kernel(SelectArgs a) {
  SharedMemory shared;
  const SelectMemory memory(shared);
  Shared<uint64_t> best = shared.take<uint64_t>(a.size);
  const int row = a.first_row + static_cast<int>(blockIdx.x);
  const DeviceRow at = a.step.rows[row];
  if (at.layers == nullptr) return;
  const int finished = finished_entries(at, at.layers[a.layer]);
  for (int i = thread(); i < a.size; i += threads()) best[i] = 0;  // below every key
  const auto put = [&](int place, uint64_t key) { best[place] = key; };
  if (a.chunks == 1) {
    const ScoreSource source{a.scores + blockIdx.x * a.stride, 0};
    gather_best<kThreads>(source, finished, a.k, memory, put);
  } else {
    // All chunks but the last are full, so that their winners follow each other without a gap.
    const int chunk = static_cast<int>(kSelectChunk), rest = finished % chunk;
    const KeySource source{a.winners + static_cast<int64_t>(blockIdx.x) * a.chunks * a.kept};
    gather_best<kThreads>(source, finished / chunk * a.kept + min(rest, a.kept), a.k, memory, put);
  }
  sort_keys(best, a.size);
  int32_t* top = a.top + row * a.top_stride;
  for (int i = thread(); i < a.k; i += threads()) top[i] = i < finished ? entry_of(best[i]) : -1;
}

// ----------------------------------------------------------------------------------------------------------- launches

template <int kDim>
void launch_scores(const Gpu& gpu, const ScoreArgs& a, int64_t rows, int64_t entries) {
  using Shape = ScoreShape<kDim>;
  const int64_t tiles = (a.heads + 7) / 8, parts = (entries + Shape::kKeys - 1) / Shape::kKeys;
  const int64_t most = std::max<int64_t>(4 * gpu.processors() / rows, 1);
  const int64_t shared = shared_total<uint2>(tiles * Shape::kSteps * 32) + shared_total<float>(8 * tiles);
  launch(score_kernel<kDim>, Grid{std::clamp<int64_t>(parts, 1, most), rows}, kScoreThreads, shared, gpu.stream(), a);
}

void launch_scores(const Gpu& gpu, const ScoreArgs& a, int64_t dim, int64_t rows, int64_t entries) {
  switch (dim) {
    case 32: return launch_scores<32>(gpu, a, rows, entries);
    case 64: return launch_scores<64>(gpu, a, rows, entries);
    case 128: return launch_scores<128>(gpu, a, rows, entries);
    default: return launch_scores<256>(gpu, a, rows, entries);
  }
}

void launch_select(const Gpu& gpu, const SelectArgs& a, int64_t rows, int64_t entries) {
  if (a.chunks > 1) launch(select_chunk_kernel, Grid{a.chunks, rows}, kChunkThreads, kSelectBytes, gpu.stream(), a);
  const int64_t shared = kSelectBytes + shared_total<uint64_t>(a.size);
  if (entries <= kBins) {
    launch(select_kernel<256>, Grid{rows}, 256, shared, gpu.stream(), a);
  } else {
    launch(select_kernel<1024>, Grid{rows}, 1024, shared, gpu.stream(), a);
  }
}

}  // namespace

void launch_index(const Gpu& gpu, const AttentionScratch& scratch, const DeviceStep& step, int layer, const Mat& top,
                  const Mat& q, const Mat& w, const Indexer& options) {
  const IndexPlan& plan = scratch.index();
  ScoreArgs score;
  score.step = step;
  score.layer = layer;
  score.q = static_cast<const bf16*>(q.data);
  score.q_stride = q.stride;
  score.w = static_cast<const bf16*>(w.data);
  score.w_stride = w.stride;
  score.heads = static_cast<int>(options.heads);
  score.factor =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(options.dim) * static_cast<double>(options.heads)));
  score.scores = scratch.scores();
  score.stride = plan.stride;
  SelectArgs select;
  select.step = step;
  select.layer = layer;
  select.scores = score.scores;
  select.stride = plan.stride;
  select.winners = scratch.winners();
  select.chunks = static_cast<int>(plan.chunks);
  select.top = static_cast<int32_t*>(top.data);
  select.top_stride = top.stride;
  select.k = static_cast<int>(top.cols);
  select.kept = static_cast<int>(std::min(top.cols, plan.winners));
  for (select.size = 2; select.size < select.k;) select.size *= 2;
  for (int64_t first = 0; first < top.rows; first += plan.rows) {
    const int64_t rows = std::min(plan.rows, top.rows - first);
    score.first_row = select.first_row = static_cast<int>(first);
    launch_scores(gpu, score, options.dim, rows, plan.entries);
    launch_select(gpu, select, rows, plan.entries);
  }
}

}  // namespace dsv4::cuda
