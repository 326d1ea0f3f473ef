// Attention with one key/value head over a sliding window and compressed entries, with a sink:
//   s = q·k / sqrt(d);  p = exp(s) / (Σ exp(s) + exp(sink));  o = Σ p·k, rotated back by the token's own position
// All heads share one key/value row: a tile of them is unpacked once and meets every head of a block, with a running
// softmax, so that a million positions need no more memory than a tile.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_verbs.h"
#include "lib/base/error.h"

namespace dsv4::cpu {

void CpuBackend::query(Mat q, Mat rope, const Query& options) {
  const FloatMode mode;
  const int64_t d = options.head_dim, pairs = rope.cols / 2;
  const float root = 1.0f / std::sqrt(static_cast<float>(d));
  check(d * 4, threads_[0].row, "query head");
  constexpr int64_t kHeads = 8;  // of a unit
  const int64_t units = (options.heads + kHeads - 1) / kHeads;
  each_row(q.rows * units, kHeads * d * 2, [&](int64_t unit, int thread) {
    const int64_t r = unit / units, first = unit % units * kHeads;
    const float* cos = rope.row<float>(r);
    float* row = threads_[static_cast<size_t>(thread)].row.as<float>();
    for (int64_t h = first; h < std::min(first + kHeads, options.heads); ++h) {
      uint16_t* x = q.row<uint16_t>(r) + h * d;
      if (options.rms) {
        k_.scale_row(x, x, nullptr, inverse_rms(k_.sum_squares(x, d), d, options.eps), d);
      }
      k_.rope(x + d - 2 * pairs, cos, cos + pairs, pairs, false);
      if (options.hadamard) {
        k_.widen_row(row, x, d);
        k_.hadamard(row, d);
        for (int64_t i = 0; i < d; ++i) row[i] *= root;
        k_.store_bf16(x, row, d);
        k_.quant_e2m1(x, d);
      }
    }
  });
}

void CpuBackend::append(const Cache& cache, Mat kv, Mat rope, const Append& options) {
  const FloatMode mode;
  const int64_t d = kv.cols, pairs = rope.cols / 2;
  check(d * 4 * 2, threads_[0].row, "key/value row");
  for (const Run& run : cache.runs) {
    const HostLayer& layer = host_state(run).layer(cache.layer);
    each_row(run.rows, 8 * d, [&](int64_t i, int thread) {
      const int64_t r = run.first_row + i;
      float* row = threads_[static_cast<size_t>(thread)].row.as<float>();
      uint16_t* x = reinterpret_cast<uint16_t*>(row + d);
      const uint16_t* from = kv.row<uint16_t>(r);
      const float* cos = rope.row<float>(r);
      weighted_norm(x, from, d, k_.sum_squares(from, d), options.norm, options.eps);
      k_.rope(x + d - 2 * pairs, cos, cos + pairs, pairs, false);
      k_.widen_row(row, x, d);
      layer.kv.pack(layer.window_row(run.position + i), row);
    });
  }
}

// The keys of one token: `window` rows ending at its position, then `entries` compressed ones, listed or all.
struct CpuBackend::Seen {
  const HostLayer* layer = nullptr;
  int64_t first = 0;  // position of the first window row
  int64_t window = 0;
  int64_t entries = 0;
  const int32_t* list = nullptr;  // null: entries 0, 1, 2 …

  int64_t count() const { return window + entries; }
  const uint8_t* row(int64_t i) const {
    if (i < window) return layer->window_row(first + i);
    return layer->compressed_row(list != nullptr ? list[i - window] : i - window);
  }
};

void CpuBackend::attend_heads(const Seen& seen, Mat o, Mat q, int64_t row, const float* rope, int64_t rope_dim,
                              int64_t first, int64_t heads, const Attention& options, ThreadScratch& scratch) {
  const int64_t d = options.head_dim, wide = padded_head(d), pairs = rope_dim / 2;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  void* query = scratch.query.as<void>();
  float* output = scratch.output.as<float>();
  void* keys = scratch.keys.as<void>();
  float* scores = scratch.scores.as<float>();
  float* max = scores + kHeadBlock * kKeyTile;
  float* sum = max + kHeadBlock;
  float* factor = sum + kHeadBlock;
  k_.unpack_queries(query, q.row<uint16_t>(row) + first * d, heads, d, wide);
  for (int64_t h = 0; h < heads; ++h) {
    // The sink starts the sum: a logit without a value. One of minus infinity is no sink.
    float sink;
    std::memcpy(&sink, options.sink.as<uint8_t>() + 4 * (first + h), 4);
    max[h] = std::max(sink, -FLT_MAX / 2);
    sum[h] = sink >= -FLT_MAX / 2 ? 1.0f : 0.0f;
  }
  std::memset(output, 0, static_cast<size_t>(heads * wide) * 4);
  const KvRowLayout& layout = seen.layer->kv;
  const uint8_t* rows[kKeyTile];
  for (int64_t j = 0; j < seen.count(); j += k_.key_tile) {
    const int64_t count = std::min(k_.key_tile, seen.count() - j);
    for (int64_t i = 0; i < count; ++i) rows[i] = seen.row(j + i);
    k_.unpack_keys(keys, rows, count, layout.nope, layout.rope, wide);
    k_.scores(scores, k_.key_tile, query, heads, keys, count, wide, scale);
    for (int64_t h = 0; h < heads; ++h) factor[h] = k_.softmax_tile(scores + h * k_.key_tile, count, max + h, sum + h);
    k_.weigh(output, factor, scores, k_.key_tile, heads, keys, count, wide);
  }
  for (int64_t h = 0; h < heads; ++h) {
    float* from = output + h * wide;
    uint16_t* to = o.row<uint16_t>(row) + (first + h) * d;
    for (int64_t i = 0; i < d; ++i) from[i] /= sum[h];
    k_.store_bf16(to, from, d);
    k_.rope(to + d - 2 * pairs, rope, rope + pairs, pairs, true);
  }
}

void CpuBackend::attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) {
  const FloatMode mode;
  check(kHeadBlock * padded_head(options.head_dim) * 4, threads_[0].query, "attention head");
  // Few rows: a block of heads for every thread. Many: whole rows.
  int64_t block = kHeadBlock;
  int64_t rows = 0;
  for (const Run& run : cache.runs) rows += run.rows;
  if (rows < 2 * pool_.size()) block = std::clamp((options.heads / pool_.size() + 3) / 4 * 4, int64_t{4}, kHeadBlock);
  const int64_t blocks = (options.heads + block - 1) / block;
  share(rows * blocks, [&](int64_t unit, int thread) {
    int64_t i = unit / blocks;
    const Run* run = cache.runs.data();
    for (; i >= run->rows; ++run) i -= run->rows;
    const HostLayer& layer = host_state(*run).layer(cache.layer);
    const int64_t r = run->first_row + i, position = run->position + i, first = unit % blocks * block;
    Seen seen;
    seen.layer = &layer;
    seen.first = std::max<int64_t>(position - options.window + 1, 0);
    seen.window = position - seen.first + 1;
    if (options.ratio == 4) {
      seen.list = top.row<int32_t>(r);
      while (seen.entries < top.cols && seen.list[seen.entries] >= 0) ++seen.entries;
    } else if (options.ratio != 0) {
      seen.entries = (position + 1) / options.ratio;
    }
    attend_heads(seen, o, q, r, rope.row<float>(r), rope.cols, first, std::min(block, options.heads - first), options,
                 threads_[static_cast<size_t>(thread)]);
  });
}

}  // namespace dsv4::cpu
