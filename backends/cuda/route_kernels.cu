// Routing: s = score(gate · x); the k experts with the largest s + bias, or the token's own in hash layers; a picked
// one's weight is s / Σs · scale.
//   few rows, or an F32 gate: a block goes through one expert's row of the gate, for up to eight rows of x
//   many rows:                tensor cores; a tile of rows x experts each, K split where tiles are few
// Then a warp a row: an expert in every lane eight (or sixteen) times, and k times the best of all.
#include <algorithm>
#include <climits>
#include <cmath>

#include "backends/cuda/row_device.cuh"
#include "backends/cuda/row_kernels.h"

namespace dsv4::cuda {
namespace {

struct GateJob {
  Rows<const bf16> x;          // [rows, hidden]
  const void* gate = nullptr;  // [experts, hidden]
  float* scores = nullptr;     // [parts, rows, experts]
  int32_t rows = 0;
  int32_t experts = 0;
  int32_t hidden = 0;
  int32_t parts = 1;  // of K
  Scoring scoring = Scoring::kSqrtSoftplus;
};

DSV4_DEVICE float score_of(float v, Scoring scoring) {
  if (scoring == Scoring::kSigmoid) return 1.0f / (1.0f + expf(-v));
  if (scoring == Scoring::kSqrtSoftplus) return sqrtf(v > 20.0f ? v : log1pf(expf(v)));
  return v;  // softmax needs all of them
}

// ---------------------------------------------------------------------------------------------------------- few rows

constexpr int kFewThreads = 128;
constexpr int kFewWarps = kFewThreads / 32;
constexpr int64_t kFewRows = 16;

// Elements [i, i + 8) of a row of the gate.
template <bool kF32>
DSV4_DEVICE void load_gate(float (&g)[8], const void* gate, int64_t at) {
  if constexpr (kF32) {
    const float* from = static_cast<const float*>(gate) + at;
    const float4 a = read_as<float4>(from), b = read_as<float4>(from + 4);
    g[0] = a.x, g[1] = a.y, g[2] = a.z, g[3] = a.w;
    g[4] = b.x, g[5] = b.y, g[6] = b.z, g[7] = b.w;
  } else {
    unpack8(g, load_once(reinterpret_cast<const uint4*>(static_cast<const bf16*>(gate) + at)));
  }
}

// Scores, final but for softmax, of one expert for kRows rows.
template <int kRows, bool kF32>
DSV4_KERNEL(kFewThreads)
few_kernel(GateJob job) {
  SharedMemory shared;
  const Shared<float> sums = shared.take<float>(kFewWarps * kRows);
  const int expert = static_cast<int>(blockIdx.x), first = static_cast<int>(blockIdx.y) * kRows;
  const int rows = min(kRows, job.rows - first);
  float acc[kRows] = {};
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) * 8; i < job.hidden; i += kFewThreads * 8) {
    float g[8];
    load_gate<kF32>(g, job.gate, static_cast<int64_t>(expert) * job.hidden + i);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows) continue;
      float x[8];
      unpack8(x, read_as<uint4>(job.x.row(first + r) + i));
#pragma unroll
      for (int e = 0; e < 8; ++e) acc[r] = fmaf(g[e], x[e], acc[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float sum = sum_of_warp(acc[r]);
    if (lane() == 0) sums[warp() * kRows + r] = sum;
  }
  __syncthreads();
  if (const int r = static_cast<int>(threadIdx.x); r < rows) {
    float sum = 0.0f;
    for (int w = 0; w < kFewWarps; ++w) sum += sums[w * kRows + r];
    job.scores[static_cast<int64_t>(first + r) * job.experts + expert] = score_of(sum, job.scoring);
  }
}

// --------------------------------------------------------------------------------------------------------- many rows

constexpr int kTileThreads = 128;
constexpr int kTile = 64;               // rows, and experts
constexpr int kTileK = 64;              // columns of a stage
constexpr int kTilePitch = kTileK + 8;  // rows 16 bytes apart modulo the banks: ldmatrix meets no conflict
constexpr int64_t kMostParts = 8;

// A tile's columns [k, k + kTileK) into shared memory: rows of x, then of the gate; zeros beyond their ends.
DSV4_DEVICE void load_stage(const GateJob& job, Shared<bf16> stage, int first_row, int first_expert, int k) {
  constexpr int kEights = kTileK / 8;
  for (int unit = static_cast<int>(threadIdx.x); unit < 2 * kTile * kEights; unit += kTileThreads) {
    const int r = unit / kEights, i = k + unit % kEights * 8;
    const bool of_gate = r >= kTile;
    const int row = of_gate ? first_expert + r - kTile : first_row + r;
    const bool there = i < job.hidden && row < (of_gate ? job.experts : job.rows);
    const bf16* from = of_gate ? static_cast<const bf16*>(job.gate) : job.x.data;
    if (there) from += of_gate ? static_cast<int64_t>(row) * job.hidden + i : row * job.x.stride + i;
    copy_async16(stage, r * kTilePitch + unit % kEights * 8, from, there);
  }
  copy_async_commit();
}

// sums += x · gateᵀ of a stage, a quarter of the tile a warp. Tensor cores drop bits when they add to what they have,
// so their own chain is kept to the stage.
DSV4_DEVICE void multiply_stage(float (&sums)[2][4][4], Shared<bf16> stage) {
  const Shared<bf16> x = stage.from((warp() / 2 * 32) * kTilePitch);
  const Shared<bf16> gate = stage.from((kTile + warp() % 2 * 32) * kTilePitch);
  float acc[2][4][4] = {};
#pragma unroll
  for (int k = 0; k < kTileK; k += 16) {
    uint32_t a[2][4], b[4][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) load_matrix_x4(a[i], x, (16 * i + lane() % 16) * kTilePitch + k + lane() / 16 * 8);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      uint32_t both[4];
      load_matrix_x4(both, gate, (16 * j + lane() / 16 * 8 + lane() % 8) * kTilePitch + k + lane() / 8 % 2 * 8);
      b[2 * j][0] = both[0], b[2 * j][1] = both[1];
      b[2 * j + 1][0] = both[2], b[2 * j + 1][1] = both[3];
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) mma_bf16(acc[i][j], a[i], b[j]);
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[i][j][e] += acc[i][j][e];
    }
  }
}

// Products of part blockIdx.z of K, not yet scores.
DSV4_KERNEL(kTileThreads)
tile_kernel(GateJob job) {
  constexpr int kStage = 2 * kTile * kTilePitch;
  SharedMemory shared;
  const Shared<bf16> stages = shared.take<bf16>(2 * kStage);
  const int first_expert = static_cast<int>(blockIdx.x) * kTile, first_row = static_cast<int>(blockIdx.y) * kTile;
  const int part = static_cast<int>(blockIdx.z), all = (job.hidden + kTileK - 1) / kTileK;
  const int share = (all + job.parts - 1) / job.parts;
  const int begin = min(part * share, all), end = min(begin + share, all);

  float sums[2][4][4] = {};
  if (begin < end) load_stage(job, stages, first_row, first_expert, begin * kTileK);
  for (int s = begin; s < end; ++s) {
    if (s + 1 < end)
      load_stage(job, stages.from((s + 1 - begin) % 2 * kStage), first_row, first_expert, (s + 1) * kTileK);
    if (s + 1 < end) {
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncthreads();
    multiply_stage(sums, stages.from((s - begin) % 2 * kStage));
    __syncthreads();
  }
  const int g = lane() / 4, t = lane() % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = first_row + warp() / 2 * 32 + 16 * i + g + e / 2 * 8;
        const int expert = first_expert + warp() % 2 * 32 + 8 * j + 2 * t + e % 2;
        if (row >= job.rows || expert >= job.experts) continue;
        job.scores[(static_cast<int64_t>(part) * job.rows + row) * job.experts + expert] = sums[i][j][e];
      }
    }
  }
}

// -------------------------------------------------------------------------------------------------------------- pick

constexpr int kPickThreads = 128;

struct PickJob {
  const float* scores = nullptr;  // [parts, rows, experts]
  Rows<int32_t> experts;          // [rows, picks]
  Rows<float> weights;            // [rows, picks]
  Rows<const int32_t> tokens;
  Vector bias;                 // [experts]; no data: none
  const void* hash = nullptr;  // I64 or I32 [vocab, hash_cols]; null in learned layers
  int64_t vocab = 0;
  int32_t hash_cols = 0;
  bool hash_wide = false;
  bool raw = false;  // scores are products still
  bool normalise = false;
  int32_t parts = 1;
  int32_t rows = 0;
  int32_t count = 0;  // experts
  int32_t picks = 0;
  Scoring scoring = Scoring::kSqrtSoftplus;
  float scale = 1.0f;
};

// s[c] is the score of expert lane + 32 c.
template <int kEach>
DSV4_DEVICE void load_scores(float (&s)[kEach], const PickJob& job, int row) {
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const int expert = lane() + 32 * c;
    s[c] = 0.0f;
    if (expert >= job.count) continue;
    for (int p = 0; p < job.parts; ++p)
      s[c] += job.scores[(static_cast<int64_t>(p) * job.rows + row) * job.count + expert];
    if (job.raw) s[c] = score_of(s[c], job.scoring);
  }
  if (job.scoring != Scoring::kSoftmax) return;
  float top = -INFINITY, sum = 0.0f;
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    if (lane() + 32 * c < job.count) top = fmaxf(top, s[c]);
  }
  top = max_of_warp(top);
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    if (lane() + 32 * c < job.count) sum += s[c] = expf(s[c] - top);
  }
  sum = sum_of_warp(sum);
#pragma unroll
  for (int c = 0; c < kEach; ++c) s[c] /= sum;
}

// The best expert that is not taken; equal ones by lower index. Every lane gets it. INT_MAX: all are taken.
template <int kEach>
DSV4_DEVICE int best_expert(const float (&value)[kEach], uint32_t taken) {
  float best = -INFINITY;
  int at = INT_MAX;
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const bool better = (taken >> c & 1u) == 0 && (at == INT_MAX || value[c] > best);
    best = better ? value[c] : best;
    at = better ? lane() + 32 * c : at;
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    const float other = shuffle_xor(best, mask);
    const int other_at = shuffle_xor(at, mask);
    const bool better = other > best || (other == best && other_at < at);
    best = better ? other : best;
    at = better ? other_at : at;
  }
  return at;
}

// The table is untrusted, and so is a token here.
DSV4_DEVICE int hash_expert(const PickJob& job, int row, int i) {
  int64_t token = *job.tokens.row(row);
  token = token < 0 ? 0 : token < job.vocab ? token : job.vocab - 1;
  const int64_t at = token * job.hash_cols + i;
  const int64_t e =
      job.hash_wide ? static_cast<const int64_t*>(job.hash)[at] : static_cast<const int32_t*>(job.hash)[at];
  return static_cast<int>(e < 0 ? 0 : e < job.count ? e : job.count - 1);
}

template <int kEach>
DSV4_KERNEL(kPickThreads)
pick_kernel(PickJob job) {
  const int row = static_cast<int>(blockIdx.x) * (kPickThreads / 32) + warp();
  if (row >= job.rows) return;  // whole warps
  float score[kEach], value[kEach];
  load_scores(score, job, row);
  uint32_t taken = 0;
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const int expert = lane() + 32 * c;
    value[c] = -INFINITY;
    if (expert >= job.count) taken |= 1u << c;
    if (expert >= job.count) continue;
    const float v = score[c] + (job.bias.data == nullptr ? 0.0f : element(job.bias, expert));
    if (v > -INFINITY) value[c] = v;  // a NaN counts as the lowest
  }

  int expert = 0;  // lane i keeps the i-th
  if (job.hash != nullptr) {
    if (lane() < job.picks) expert = hash_expert(job, row, lane());
  } else {
    for (int i = 0; i < job.picks; ++i) {
      const int at = min(best_expert(value, taken), job.count - 1);
      if (lane() == at % 32) taken |= 1u << (at / 32);
      expert = lane() == i ? at : expert;
    }
  }
  float weight = 0.0f, sum = 0.0f;
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const float s = shuffle(score[c], expert % 32);
    weight = c == expert / 32 ? s : weight;
  }
  for (int i = 0; i < job.picks; ++i) sum += shuffle(weight, i);
  if (lane() >= job.picks) return;
  job.experts.row(row)[lane()] = expert;
  job.weights.row(row)[lane()] = weight / (job.normalise ? sum : 1.0f) * job.scale;
}

// -------------------------------------------------------------------------------------------------------------- host

int64_t tiles_of(int64_t rows, int64_t experts) {
  return ((rows + kTile - 1) / kTile) * ((experts + kTile - 1) / kTile);
}

template <int kRows>
void launch_few(const Gpu& gpu, const GateJob& job, bool f32) {
  launch(f32 ? few_kernel<kRows, true> : few_kernel<kRows, false>, Grid{job.experts, (job.rows + kRows - 1) / kRows},
         kFewThreads, shared_total<float>(kFewWarps * kRows), gpu.stream(), job);
}

// True: scores are final (but for softmax), in one part.
bool queue_scores(const Gpu& gpu, GateJob& job, bool f32) {
  if (f32 || job.rows <= kFewRows) {
    job.rows == 1 ? launch_few<1>(gpu, job, f32) : launch_few<8>(gpu, job, f32);
    return true;
  }
  const int64_t tiles = tiles_of(job.rows, job.experts), stages = (job.hidden + kTileK - 1) / kTileK;
  job.parts = static_cast<int32_t>(std::clamp<int64_t>(gpu.processors() / tiles, 1, std::min(kMostParts, stages)));
  launch(tile_kernel, Grid{(job.experts + kTile - 1) / kTile, (job.rows + kTile - 1) / kTile, job.parts}, kTileThreads,
         shared_total<bf16>(4 * kTile * kTilePitch), gpu.stream(), job);
  return false;
}

}  // namespace

// K is split only where parts · tiles <= processors.
int64_t gate_scores(const Gpu& gpu, const Limits& limits) {
  const int64_t all = limits.rows * limits.experts;
  return std::max(all, std::min<int64_t>(kMostParts * all, int64_t{kTile} * kTile * gpu.processors()));
}

void route_rows(const Gpu& gpu, const RowScratch& scratch, const Route& out, const Mat& x, const Mat& tokens,
                const Gate& gate) {
  if (x.empty()) return;
  GateJob job;
  job.x = rows_of<const bf16>(x);
  job.gate = gate.weight.data;
  job.scores = scratch.scores.as<float>();
  job.rows = static_cast<int32_t>(x.rows);
  job.experts = static_cast<int32_t>(gate.weight.rows);
  job.hidden = static_cast<int32_t>(x.cols);
  job.scoring = gate.scoring;
  const bool final = queue_scores(gpu, job, gate.weight.dtype == DType::kF32);

  PickJob pick;
  pick.scores = job.scores;
  pick.experts = rows_of<int32_t>(out.experts);
  pick.weights = rows_of<float>(out.weights);
  pick.tokens = rows_of<const int32_t>(tokens);
  pick.bias = vector_of(gate.bias);
  pick.hash = gate.hash.data;
  pick.vocab = gate.hash.rows;
  pick.hash_cols = static_cast<int32_t>(gate.hash.cols);
  pick.hash_wide = gate.hash.dtype == DType::kI64;
  pick.raw = !final;
  pick.normalise = gate.normalise && gate.scoring != Scoring::kSoftmax;
  pick.parts = job.parts;
  pick.rows = job.rows;
  pick.count = job.experts;
  pick.picks = static_cast<int32_t>(out.experts.cols);
  pick.scoring = gate.scoring;
  pick.scale = gate.scale;
  constexpr int64_t kRowsOfBlock = kPickThreads / 32;
  launch(job.experts <= 256 ? pick_kernel<8> : pick_kernel<16>, Grid{(x.rows + kRowsOfBlock - 1) / kRowsOfBlock},
         kPickThreads, 0, gpu.stream(), pick);
}

}  // namespace dsv4::cuda
