// Rows of a step into the states of their sequences: window rows, residual rows, and the commit of a step.
//   append   kv -> norm -> rope -> packed row, at its position's place in the window ring
//   carry    previous[row] = X of the row before; X of the newest rows is kept
//   commit   staged halves of the rings of recent rows become the active ones
#include "backends/cuda/attention_kernels.h"
#include "backends/cuda/attention_rows.cuh"

namespace dsv4::cuda {
namespace {

constexpr int kAppendThreads = 128;

struct AppendArgs {
  DeviceStep step;
  int layer;
  const bf16* kv;
  int64_t kv_stride;
  const float* rope;
  int64_t rope_stride;
  int pairs;
  Vector norm;
  float eps;
};

// A block is a row.
DSV4_KERNEL(kAppendThreads) append_kernel(AppendArgs a) {
  SharedMemory shared;
  const auto row = static_cast<int>(blockIdx.x);
  const DeviceRow at = a.step.rows[row];
  if (at.layers == nullptr) return;
  const DeviceLayer& layer = at.layers[a.layer];
  const int width = layer.nope + layer.rope;
  Shared<float> x = shared.take<float>(width);
  Shared<double> scratch = shared.take<double>(33);
  const bf16* kv = a.kv + row * a.kv_stride;
  for (int i = thread(); i < width; i += threads()) x[i] = widen(kv[i]);
  norm_row(x, width, a.norm, a.eps, scratch);
  rotate_row(x, width, a.rope + row * a.rope_stride, a.pairs);
  pack_kv_row(layer.window + static_cast<int64_t>(at.position % layer.ring) * layer.kv_stride, x, layer.nope,
              layer.rope);
}

constexpr int kCarryThreads = 256;
constexpr int kCarryUnits = 1024;  // of 16 bytes, that one block copies of a row

struct CarryArgs {
  DeviceStep step;
  uint8_t* previous;
  int64_t previous_bytes;  // from one row to the next
  const uint8_t* X;
  int64_t X_bytes;
  int units;  // of 16 bytes, in a row
};

// A block is a part of a row.
DSV4_KERNEL(kCarryThreads) carry_kernel(CarryArgs a) {
  const auto row = static_cast<int>(blockIdx.x);
  const DeviceRow at = a.step.rows[row];
  if (at.layers == nullptr) return;
  const DeviceRing ring = *at.carry;
  const RecentStep step(ring, at, row);
  const int i = row - at.first_row;
  const bool stored = at.position >= step.kept();
  if (blockIdx.y == 0 && i == 0 && thread() == 0) ring.flags->staged = step.staged() ? 1 : 0;

  const uint8_t* own = a.X + row * a.X_bytes;
  const uint8_t* before = i > 0 ? own - a.X_bytes : step.get(max(at.position - 1, 0));
  uint8_t* previous = a.previous + row * a.previous_bytes;
  uint8_t* kept = step.put(at.position);
  const int begin = 16 * (static_cast<int>(blockIdx.y) * kCarryUnits + thread());
  const int end = 16 * min((static_cast<int>(blockIdx.y) + 1) * kCarryUnits, a.units);
  for (int b = begin; b < end; b += 16 * threads()) {
    write_as(previous + b, at.position == 0 ? uint4{0, 0, 0, 0} : read_as<uint4>(before + b));
    if (stored) write_as(kept + b, read_as<uint4>(own + b));
  }
  if (!step.staged()) return;
  for (int p = step.kept() + i; p < step.position; p += step.rows) {
    for (int b = begin; b < end; b += 16 * threads()) write_as(step.put(p) + b, read_as<uint4>(step.get(p) + b));
  }
}

constexpr int kCommitStates = 64;  // in one launch

struct CommitArgs {
  RingFlags* flags[kCommitStates];
  int rings[kCommitStates];
};

// A block is a state.
DSV4_KERNEL(128) commit_kernel(CommitArgs a) {
  RingFlags* flags = a.flags[blockIdx.x];
  for (int i = thread(); i < a.rings[blockIdx.x]; i += threads()) {
    const RingFlags old = flags[i];
    if (old.staged != 0) flags[i] = {1 - old.active, 0};
  }
}

}  // namespace

void launch_append(const Gpu& gpu, const DeviceStep& step, int layer, const Mat& kv, const Mat& rope,
                   const Append& options) {
  if (kv.rows == 0) return;
  AppendArgs a;
  a.step = step;
  a.layer = layer;
  a.kv = static_cast<const bf16*>(kv.data);
  a.kv_stride = kv.stride;
  a.rope = static_cast<const float*>(rope.data);
  a.rope_stride = rope.stride;
  a.pairs = static_cast<int>(rope.cols / 2);
  a.norm = vector_of(options.norm);
  a.eps = options.eps;
  launch(append_kernel, Grid{kv.rows}, kAppendThreads, shared_total<float>(kv.cols) + shared_total<double>(33),
         gpu.stream(), a);
}

void launch_carry(const Gpu& gpu, const DeviceStep& step, const Mat& previous, const Mat& X) {
  if (X.rows == 0 || X.cols == 0) return;
  CarryArgs a;
  a.step = step;
  a.previous = static_cast<uint8_t*>(previous.data);
  a.previous_bytes = 2 * previous.stride;
  a.X = static_cast<const uint8_t*>(X.data);
  a.X_bytes = 2 * X.stride;
  a.units = static_cast<int>(X.cols / 8);
  launch(carry_kernel, Grid{X.rows, (a.units + kCarryUnits - 1) / kCarryUnits}, kCarryThreads, 0, gpu.stream(), a);
}

void launch_commit(const Gpu& gpu, std::span<const Run> runs) {
  for (size_t first = 0; first < runs.size(); first += kCommitStates) {
    CommitArgs a{};
    size_t n = 0;
    for (; n < kCommitStates && first + n < runs.size(); ++n) {
      const CudaState& state = cuda_state(runs[first + n]);
      a.flags[n] = state.flags();
      a.rings[n] = state.rings();
    }
    launch(commit_kernel, Grid{static_cast<int64_t>(n)}, 128, 0, gpu.stream(), a);
  }
}

}  // namespace dsv4::cuda
