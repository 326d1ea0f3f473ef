// Groups of tokens pooled into compressed entries:
//   entry j = Σ_i softmax_i(z_i + ape_i) ⊙ k_i -> BF16, norm, rope at the group's first token, quantised
// A block is a row of the step: it keeps the row's raw k and z for later groups, and if the row is the last of a group,
// makes the entry, reading the tokens of the step from k and z and earlier ones from the ring of the newest rows. What
// is read there is not where the step writes, so that blocks need not wait for each other.
#include "backends/cuda/attention_kernels.h"
#include "backends/cuda/attention_rows.cuh"

namespace dsv4::cuda {
namespace {

constexpr int kThreads = 256;

struct CompressArgs {
  DeviceStep step;
  int layer;
  const float* k;
  const float* z;
  int64_t k_stride, z_stride;
  int cols;   // of k, and of z
  int width;  // of an entry
  int ratio;
  bool index;
  Vector ape, norm;
  float eps;
  const float* frequencies;
  int pairs;
};

// Where the k and z of the tokens of one entry lie.
struct Tokens {
  Shared<const float*> k, z;
  int first;  // position
  int count;
};

DSV4_DEVICE void copy_floats(float* to, const float* from, int count) {
  for (int i = 4 * thread(); i < count; i += 4 * threads()) {
    write_as(to + i, read_as<float4>(from + i));
  }
}

// The row's own k and z into the ring; and of a step that is staged, its share of the older rows.
DSV4_DEVICE void store_tail(const CompressArgs& a, const DeviceRow& at, int row, const RecentStep& step) {
  const int i = row - at.first_row;
  if (i == 0 && thread() == 0) step.ring.flags->staged = step.staged() ? 1 : 0;
  if (at.position >= step.kept()) {
    auto* to = reinterpret_cast<float*>(step.put(at.position));
    copy_floats(to, a.k + row * a.k_stride, a.cols);
    copy_floats(to + a.cols, a.z + row * a.z_stride, a.cols);
  }
  if (!step.staged()) return;
  for (int p = step.kept() + i; p < step.position; p += step.rows) {
    copy_floats(reinterpret_cast<float*>(step.put(p)), reinterpret_cast<const float*>(step.get(p)), 2 * a.cols);
  }
}

DSV4_DEVICE void find_tokens(const CompressArgs& a, const Tokens& tokens, const DeviceRow& at, const RecentStep& step) {
  for (int i = thread(); i < tokens.count; i += threads()) {
    const int p = tokens.first + i;
    if (p < step.position) {
      const auto* row = reinterpret_cast<const float*>(step.get(p));
      tokens.k[i] = row;
      tokens.z[i] = row + a.cols;
    } else {
      const int64_t row = at.first_row + (p - step.position);
      tokens.k[i] = a.k + row * a.k_stride;
      tokens.z[i] = a.z + row * a.z_stride;
    }
  }
  __syncthreads();
}

// Channel c of the entry whose own group begins at position `own`. With overlapping groups k and z are two halves, the
// second for the tokens of the own group; group -1 does not exist.
DSV4_DEVICE float pool(const CompressArgs& a, const Tokens& tokens, int own, int c) {
  const bool overlapping = a.cols == 2 * a.width;
  const auto channel = [&](int i) { return overlapping && tokens.first + i >= own ? a.width + c : c; };
  const auto logit = [&](int i) {
    const float* z = tokens.z[i];
    return z[channel(i)] + element(a.ape, (tokens.first + i) % a.ratio * a.cols + channel(i));
  };
  float highest = logit(0);
  for (int i = 1; i < tokens.count; ++i) highest = fmaxf(highest, logit(i));
  double sum = 0, value = 0;
  for (int i = 0; i < tokens.count; ++i) {
    const double weight = expf(logit(i) - highest);
    const float* k = tokens.k[i];
    sum += weight;
    value += weight * static_cast<double>(k[channel(i)]);
  }
  return static_cast<float>(value / sum);
}

DSV4_KERNEL(kThreads) compress_kernel(CompressArgs a) {
  SharedMemory shared;
  Shared<float> x = shared.take<float>(a.width);
  Shared<float> table = shared.take<float>(2 * a.pairs);
  Shared<double> scratch = shared.take<double>(33);
  Tokens tokens;
  tokens.k = shared.take<const float*>(2 * a.ratio);
  tokens.z = shared.take<const float*>(2 * a.ratio);

  const auto row = static_cast<int>(blockIdx.x);
  const DeviceRow at = a.step.rows[row];
  if (at.layers == nullptr) return;
  const DeviceLayer& layer = at.layers[a.layer];
  const DeviceRing ring = a.index ? layer.index_tail : layer.tail;
  const RecentStep step(ring, at, row);
  store_tail(a, at, row, step);

  const int j = at.position / a.ratio, own = j * a.ratio;
  if (at.position != own + a.ratio - 1 || j >= layer.entries) return;
  tokens.first = a.cols == 2 * a.width && j > 0 ? own - a.ratio : own;
  tokens.count = own + a.ratio - tokens.first;
  find_tokens(a, tokens, at, step);
  for (int c = thread(); c < a.width; c += threads()) x[c] = rounded(pool(a, tokens, own, c));
  for (int i = thread(); i < a.pairs; i += threads()) {
    const float angle = __fmul_rn(static_cast<float>(own), a.frequencies[i]);
    table[i] = static_cast<float>(cos(static_cast<double>(angle)));
    table[a.pairs + i] = static_cast<float>(sin(static_cast<double>(angle)));
  }
  norm_row(x, a.width, a.norm, a.eps, scratch);
  rotate_row(x, a.width, table, a.pairs);
  if (a.index) {
    hadamard_row(x, a.width);
    pack_index_row(layer.index_rows + static_cast<int64_t>(j) * layer.index_stride, x, a.width);
  } else {
    pack_kv_row(layer.compressed + static_cast<int64_t>(j) * layer.kv_stride, x, layer.nope, layer.rope);
  }
}

}  // namespace

void launch_compress(const Gpu& gpu, const DeviceStep& step, int layer, const Mat& k, const Mat& z,
                     const Compressor& options) {
  if (k.rows == 0) return;
  CompressArgs a;
  a.step = step;
  a.layer = layer;
  a.k = static_cast<const float*>(k.data);
  a.z = static_cast<const float*>(z.data);
  a.k_stride = k.stride;
  a.z_stride = z.stride;
  a.cols = static_cast<int>(k.cols);
  a.width = static_cast<int>(options.width);
  a.ratio = options.ratio;
  a.index = options.index;
  a.ape = vector_of(options.ape);
  a.norm = vector_of(options.norm);
  a.eps = options.eps;
  a.frequencies = static_cast<const float*>(options.frequencies.data);
  a.pairs = static_cast<int>(options.frequencies.cols);
  const int64_t shared = shared_total<float>(a.width) + shared_total<float>(2 * a.pairs) + shared_total<double>(33) +
                         2 * shared_total<const float*>(2 * a.ratio);
  launch(compress_kernel, Grid{k.rows}, kThreads, shared, gpu.stream(), a);
}

}  // namespace dsv4::cuda
