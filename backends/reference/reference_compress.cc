// Compressed attention: entries pooled from groups of tokens, and the indexer that picks among them (CSA).
//   entry j = Σ_i softmax_i(z_i + ape_i) ⊙ k_i -> BF16, norm, rope at the group's first token, quantised
// HCA (ratio 128) pools a group's own tokens. CSA (ratio 4) overlaps: k and z are two halves; the first belongs to the
// tokens of group j-1, the second to those of group j.
#include <algorithm>
#include <cmath>

#include "backends/reference/reference_math.h"
#include "backends/reference/reference_verbs.h"

namespace dsv4::reference {
namespace {

// The raw k and z of one compressor by position: out of the step's own rows, or out of what earlier steps left.
struct Group {
  const Tail& tail;
  const Run& run;
  Mat k, z;  // the run's rows

  const float* k_at(int64_t p) const { return p < run.position ? tail.k(p) : k.row<float>(p - run.position); }
  const float* z_at(int64_t p) const { return p < run.position ? tail.z(p) : z.row<float>(p - run.position); }
};

// Channel c of entry j. Group -1 does not exist: its weight is exactly 0.
float pool(const Group& group, int64_t j, int64_t c, const Compressor& options) {
  const int64_t ratio = options.ratio, own_group = j * ratio;
  const bool overlapping = group.k.cols == 2 * options.width;
  const int64_t first = overlapping && j > 0 ? own_group - ratio : own_group;
  const auto channel = [&](int64_t p) { return overlapping && p >= own_group ? options.width + c : c; };
  const auto logit = [&](int64_t p) {
    return group.z_at(p)[channel(p)] + weight_at(options.ape, p % ratio * group.k.cols + channel(p));
  };
  float highest = logit(first);
  for (int64_t p = first + 1; p < own_group + ratio; ++p) highest = std::max(highest, logit(p));
  double sum = 0, value = 0;
  for (int64_t p = first; p < own_group + ratio; ++p) {
    const double weight = std::exp(logit(p) - highest);
    sum += weight;
    value += weight * static_cast<double>(group.k_at(p)[channel(p)]);
  }
  return static_cast<float>(value / sum);
}

}  // namespace

void ReferenceBackend::compress(const Cache& cache, Mat k, Mat z, const Compressor& options) {
  for (const Run& run : cache.runs) {
    if (run.rows == 0) continue;
    compress_run(run, host_state(run).layer(cache.layer), k.slice(run.first_row, run.rows),
                 z.slice(run.first_row, run.rows), options);
  }
}

void ReferenceBackend::compress_run(const Run& run, HostLayer& layer, Mat k, Mat z, const Compressor& options) {
  Tail& tail = options.index ? layer.index_tail : layer.tail;
  const Group group{tail, run, k, z};
  const int64_t width = options.width, pairs = options.frequencies.cols;
  float* x = scratch_.pooled.data();
  float* cos = scratch_.row.data();
  float* sin = cos + pairs;
  for (int64_t j = run.position / options.ratio; j < (run.position + run.rows) / options.ratio; ++j) {
    for (int64_t c = 0; c < width; ++c) x[c] = round_bf16(pool(group, j, c, options));
    weighted_norm(x, width, options.norm, options.eps);
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(j * options.ratio) * options.frequencies.row<float>(0)[i];
      cos[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sin[i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
    rotate(x, width, cos, sin, 2 * pairs);
    if (options.index) {
      hadamard(x, width);
      layer.index.pack(layer.index_row(j), x);
    } else {
      layer.kv.pack(layer.compressed_row(j), x);
    }
  }
  tail.store(run.position, k, z);
}

// Score of entry j for a token: Σ_h w_h · relu(q_h · key_j), w_h = w · dim^-1/2 · heads^-1/2 in FP32.
void ReferenceBackend::index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) {
  const int64_t dim = options.dim, heads = options.heads;
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim) * static_cast<double>(heads)));
  float* query = scratch_.row.data();
  float* key = scratch_.weight.data();
  for (const Run& run : cache.runs) {
    const HostLayer& layer = host_state(run).layer(cache.layer);
    for (int64_t r = run.first_row; r < run.first_row + run.rows; ++r) {
      const int64_t finished = (run.position + r - run.first_row + 1) / layer.shape.ratio;
      read_row(query, q, r);
      for (int64_t j = 0; j < finished; ++j) {
        layer.index.unpack(key, layer.index_row(j));
        double score = 0;
        for (int64_t h = 0; h < heads; ++h) {
          const float weight = to_float(w.row<bf16>(r)[h]) * factor;
          score += static_cast<double>(weight) * static_cast<double>(std::max(dot(query + h * dim, key, dim), 0.0f));
        }
        scratch_.scores[static_cast<size_t>(j)] = static_cast<float>(score);
      }
      pick_best(scratch_.order.data(), scratch_.scores.data(), finished, top.cols);
      int32_t* out = top.row<int32_t>(r);
      for (int64_t i = 0; i < top.cols; ++i) out[i] = i < finished ? scratch_.order[static_cast<size_t>(i)] : -1;
    }
  }
}

}  // namespace dsv4::reference
