// Compressed attention: entries pooled from groups of tokens, and the indexer that picks among them (CSA).
//   entry j = Σ_i softmax_i(z_i + ape_i) ⊙ k_i -> BF16, norm, rope at the group's first token, quantised
//   score of an entry: Σ_h w_h · relu(q_h · key), by products of codes where a level has them; the best ones by
//   radix select, so that a million positions cost two passes over their scores and no sort
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_verbs.h"
#include "lib/base/error.h"

namespace dsv4::cpu {
namespace {

constexpr int64_t kMaxGroup = 256;  // tokens pooled into an entry, at most
constexpr int64_t kMaxPairs = 256;

// Ascending like the score; a NaN (out of a damaged checkpoint) counts as the lowest, and -0 as 0.
uint32_t order_key(float score) {
  const uint32_t u = std::bit_cast<uint32_t>(score == score ? score + 0.0f : -INFINITY);
  return u ^ (static_cast<uint32_t>(static_cast<int32_t>(u) >> 31) | 0x80000000u);
}

// The first bucket from above with which there are `k`; `left`: how many of the k are in it.
uint32_t last_bucket(const uint32_t* count, uint32_t highest, int64_t k, int64_t* left) {
  uint32_t bucket = highest;
  for (*left = k; count[bucket] < *left; --bucket) *left -= count[bucket];
  return bucket;
}

// Those of n > k scores that can be among the k best, judged by sign, exponent and two bits, in their order.
int64_t find_candidates(int32_t* found, const float* scores, int64_t n, int64_t k) {
  uint32_t count[2048] = {};
  for (int64_t i = 0; i < n; ++i) ++count[order_key(scores[i]) >> 21];
  int64_t left = 0, candidates = 0;
  const uint32_t lowest = last_bucket(count, 2047, k, &left) << 21;
  for (int64_t i = 0; i < n; ++i) {  // no branch: about every second one would be foretold wrong
    found[candidates] = static_cast<int32_t>(i);
    candidates += order_key(scores[i]) >= lowest ? 1 : 0;
  }
  return candidates;
}

// The key of the k-th best of n candidates, and how many with that very key are among the k best.
uint32_t threshold(const float* scores, const int32_t* found, int64_t n, int64_t k, int64_t* ties) {
  uint32_t prefix = 0;
  *ties = k;  // among the scores whose upper bits equal the prefix
  for (int shift = 22; shift >= 0; shift -= 11) {
    const int bits = shift == 22 ? 10 : 11;
    uint32_t count[2048] = {};
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t key = order_key(scores[found[i]]);
      if (shift == 22 || key >> (shift + bits) == prefix) ++count[(key >> shift) & mask];
    }
    prefix = prefix << bits | last_bucket(count, mask, *ties, ties);
  }
  return prefix;
}

// `found`: room for n.
void pick_best(int32_t* out, const float* scores, int64_t n, int64_t k, int32_t* found) {
  int64_t picked = 0;
  if (n <= k) {
    for (; picked < n; ++picked) out[picked] = static_cast<int32_t>(picked);
  } else {
    int64_t ties = 0;
    const int64_t candidates = find_candidates(found, scores, n, k);
    const uint32_t last = threshold(scores, found, candidates, k, &ties);
    for (int64_t i = 0; i < candidates; ++i) {
      const uint32_t key = order_key(scores[found[i]]);
      if (key < last || (key == last && ties-- <= 0)) continue;
      out[picked++] = found[i];
    }
  }
  std::sort(out, out + picked, [&](int32_t a, int32_t b) {
    const uint32_t x = order_key(scores[a]), y = order_key(scores[b]);
    return x != y ? x > y : a < b;
  });
  std::fill(out + picked, out + k, -1);
}

}  // namespace

void CpuBackend::compress_group(const Run& run, HostLayer& layer, Mat k, Mat z, int64_t j, const Compressor& options,
                                ThreadScratch& scratch) {
  const Tail& tail = options.index ? layer.index_tail : layer.tail;
  const int64_t ratio = options.ratio, width = options.width, pairs = options.frequencies.cols;
  const bool overlapping = k.cols == 2 * width;
  const int64_t first = overlapping && j > 0 ? (j - 1) * ratio : j * ratio;  // group -1 does not exist
  const float* k_rows[kMaxGroup];
  const float* z_rows[kMaxGroup];
  const float* ape_rows[kMaxGroup];
  int64_t count = 0;
  for (int64_t p = first; p < (j + 1) * ratio; ++p, ++count) {
    const int64_t half = overlapping && p >= j * ratio ? width : 0;  // of k, z and ape: the own group has the second
    const int64_t r = p - run.position;
    k_rows[count] = (r < 0 ? tail.k(p) : k.row<float>(r)) + half;
    z_rows[count] = (r < 0 ? tail.z(p) : z.row<float>(r)) + half;
    ape_rows[count] = options.ape.as<float>() + p % ratio * k.cols + half;
  }
  float* row = scratch.row.as<float>();
  uint16_t* x = reinterpret_cast<uint16_t*>(row + width);
  k_.pool(row, k_rows, z_rows, ape_rows, count, width);
  k_.store_bf16(x, row, width);
  weighted_norm(x, x, width, k_.sum_squares(x, width), options.norm, options.eps);
  float cos[kMaxPairs], sin[kMaxPairs];
  for (int64_t i = 0; i < pairs; ++i) {
    const float angle = static_cast<float>(j * ratio) * options.frequencies.row<float>(0)[i];
    cos[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    sin[i] = static_cast<float>(std::sin(static_cast<double>(angle)));
  }
  k_.rope(x + width - 2 * pairs, cos, sin, pairs, false);
  k_.widen_row(row, x, width);
  if (!options.index) return layer.kv.pack(layer.compressed_row(j), row);
  k_.hadamard(row, width);
  const float root = 1.0f / std::sqrt(static_cast<float>(width));
  for (int64_t i = 0; i < width; ++i) row[i] = round_bf16(row[i] * root);
  layer.index.pack(layer.index_row(j), row);
}

void CpuBackend::compress(const Cache& cache, Mat k, Mat z, const Compressor& options) {
  const FloatMode mode;
  check(options.width * 8, threads_[0].row, "compressed row");
  if (options.ratio * 2 > kMaxGroup || options.frequencies.cols > kMaxPairs) {
    fail(Status::kInternal, "cpu backend: ratio {}, {} rotary pairs", options.ratio, options.frequencies.cols);
  }
  for (const Run& run : cache.runs) {
    if (run.rows == 0) continue;
    HostLayer& layer = host_state(run).layer(cache.layer);
    const Mat run_k = k.slice(run.first_row, run.rows), run_z = z.slice(run.first_row, run.rows);
    const int64_t first = run.position / options.ratio, end = (run.position + run.rows) / options.ratio;
    each_row(end - first, options.width * options.ratio * 4, [&](int64_t i, int thread) {
      compress_group(run, layer, run_k, run_z, first + i, options, threads_[static_cast<size_t>(thread)]);
    });
    (options.index ? layer.index_tail : layer.tail).store(run.position, run_k, run_z);
  }
}

// What a token looks for: its queries in `scratch`, and behind them its weights. As integer codes (true), or transposed
// to [dim][heads] FP32; heads padded by zeros to a multiple of 16.
bool CpuBackend::load_index_query(Mat q, Mat w, int64_t row, const Indexer& options, ThreadScratch& scratch) {
  const int64_t dim = options.dim, heads = options.heads, wide = (heads + 15) / 16 * 16;
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim) * static_cast<double>(heads)));
  float* to = scratch.query.as<float>();
  float* weights = to + dim * wide;
  for (int64_t h = 0; h < wide; ++h) weights[h] = h < heads ? to_float(w.row<bf16>(row)[h]) * factor : 0.0f;
  const bool codes = k_.pack_index_query != nullptr && dim % kIndexBlock == 0;
  if (codes && k_.pack_index_query(to, q.row<uint16_t>(row), heads, wide, dim)) return true;
  std::memset(to, 0, static_cast<size_t>(dim * wide) * 4);
  const bf16* from = q.row<bf16>(row);
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t d = 0; d < dim; ++d) to[d * wide + h] = to_float(from[h * dim + d]);
  }
  return false;
}

// Scores of entries [begin, end) against the queries that `query` holds.
void CpuBackend::index_range(float* scores, const HostLayer& layer, int64_t begin, int64_t end, const Indexer& options,
                             const ThreadScratch& query, bool codes, ThreadScratch& scratch) {
  const int64_t dim = options.dim, wide = (options.heads + 15) / 16 * 16;
  const float* q = query.query.as<float>();
  float* keys = scratch.keys.as<float>();
  if (codes) {
    k_.index_code_scores(scores + begin, q, q + dim * wide, wide, layer.index_row(begin), layer.index.stride(),
                         end - begin, dim, keys);
    return;
  }
  for (int64_t j = begin; j < end; j += kIndexTile) {
    const int64_t count = std::min(kIndexTile, end - j);
    for (int64_t i = 0; i < count; ++i) k_.unpack_index(keys + i * dim, layer.index_row(j + i), dim);
    k_.index_scores(scores + j, q, q + dim * wide, wide, keys, count, dim);
  }
}

void CpuBackend::index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) {
  const FloatMode mode;
  const int64_t wide = (options.heads + 15) / 16 * 16;
  check((options.dim + 1) * wide * 4, threads_[0].query, "index query");
  check((kIndexTile + 1) * options.dim * 4, threads_[0].keys, "index keys");
  for (const Run& run : cache.runs) {
    if (run.rows == 0) continue;
    const HostLayer& layer = host_state(run).layer(cache.layer);
    const auto finished = [&](int64_t i) { return (run.position + i + 1) / layer.shape.ratio; };
    const int64_t most = finished(run.rows - 1);
    check(most * 8, threads_[0].scores, "index scores");
    if (run.rows >= 2 * pool_.size()) {
      share(run.rows, [&](int64_t i, int thread) {
        ThreadScratch& scratch = threads_[static_cast<size_t>(thread)];
        float* scores = scratch.scores.as<float>();
        const int64_t r = run.first_row + i;
        const bool codes = load_index_query(q, w, r, options, scratch);
        index_range(scores, layer, 0, finished(i), options, scratch, codes, scratch);
        pick_best(top.row<int32_t>(r), scores, finished(i), top.cols, scratch.scores.as<int32_t>() + most);
      });
      continue;
    }
    // Few rows: the threads share the entries of each.
    constexpr int64_t kEntries = 256;
    float* scores = threads_[0].scores.as<float>();
    for (int64_t i = 0; i < run.rows; ++i) {
      const int64_t r = run.first_row + i, count = finished(i);
      const bool codes = load_index_query(q, w, r, options, threads_[0]);
      share((count + kEntries - 1) / kEntries, [&](int64_t unit, int thread) {
        index_range(scores, layer, unit * kEntries, std::min((unit + 1) * kEntries, count), options, threads_[0], codes,
                    threads_[static_cast<size_t>(thread)]);
      });
      pick_best(top.row<int32_t>(r), scores, count, top.cols, threads_[0].scores.as<int32_t>() + most);
    }
  }
}

}  // namespace dsv4::cpu
