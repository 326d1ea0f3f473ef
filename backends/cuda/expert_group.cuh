// Picks sorted by expert, by one block of 1024 threads: a counting sort in which every warp counts a run of picks of
// its own, so that equal experts keep the order of their rows whatever the timing. Then the items.
#pragma once

#include "backends/cuda/device.cuh"
#include "backends/cuda/expert_kernels.h"

namespace dsv4::cuda {

constexpr int kGroupThreads = 1024;
constexpr int kGroupWarps = kGroupThreads / 32;

inline int64_t group_shared_bytes(int64_t experts) {
  return shared_total<int>(kGroupWarps * experts) + 2 * shared_total<int>(kGroupWarps);
}

// The sum over the threads before this one; `total` is that over all. `scratch` [32].
DSV4_DEVICE int sum_before(int v, Shared<int> scratch, int* total) {
  int running = v;
#pragma unroll
  for (int n = 1; n < 32; n *= 2) {
    const int other = shuffle(running, lane() >= n ? lane() - n : 0);
    if (lane() >= n) running += other;
  }
  if (lane() == 31) scratch[warp()] = running;
  __syncthreads();
  int before = 0, all = 0;
  for (int w = 0; w < kGroupWarps; ++w) {
    const int sum = scratch[w];
    if (w < warp()) before += sum;
    all += sum;
  }
  *total = all;
  return before + running - v;
}

DSV4_DEVICE int expert_of_pick(const ExpertStep& s, int pick) {
  const int e = s.route_experts[pick / s.k * s.route_experts_stride + pick % s.k];
  return min(max(e, 0), s.experts - 1);
}

// Counts a warp's picks by expert; pick_of becomes a pick's place among those of its warp and expert.
DSV4_DEVICE void count_picks(const ExpertStep& s, Shared<int> counts, int begin, int end) {
  for (int base = begin; base < end; base += 32) {
    const int pick = base + lane(), e = pick < end ? expert_of_pick(s, pick) : -1 - lane();
    int place = 0, total = 0;
#pragma unroll
    for (int j = 0; j < 32; ++j) {
      const bool same = shuffle(e, j) == e;
      place += same && j < lane() ? 1 : 0;
      total += same ? 1 : 0;
    }
    int before = 0;
    if (e >= 0) before = counts[e];
    __syncwarp();
    if (e >= 0) {
      s.pick_of[pick] = before + place;
      if (place == total - 1) counts[e] = before + total;
    }
    __syncwarp();
  }
}

DSV4_DEVICE void put_items(const ExpertStep& s, int expert, int item, int first, int count) {
  for (int done = 0; done < count; done += s.chunk, ++item) {
    s.items[item] = ExpertItem{expert, first + done, min(s.chunk, count - done), 0};
  }
}

// Called by the whole block.
DSV4_DEVICE void group_picks(const ExpertStep& s, SharedMemory& shared) {
  Shared<int> counts = shared.take<int>(kGroupWarps * s.experts);  // [warp, expert]
  Shared<int> scratch = shared.take<int>(kGroupWarps), item_scratch = shared.take<int>(kGroupWarps);
  const int thread = static_cast<int>(threadIdx.x), picks = s.rows * s.k;
  const int warps = min((picks + 31) / 32, kGroupWarps);
  const int run = ((picks + 31) / 32 + warps - 1) / warps * 32;  // picks of a warp
  const int begin = min(warp() * run, picks), end = min(begin + run, picks);
  for (int i = thread; i < warps * s.experts; i += kGroupThreads) counts[i] = 0;
  __syncthreads();
  count_picks(s, counts.from(warp() < warps ? warp() * s.experts : 0), begin, end);
  __syncthreads();

  int count = 0;  // of this thread's expert; its warps' counts become what lies before them
  if (thread < s.experts) {
    for (int w = 0; w < warps; ++w) {
      const int of_warp = counts[w * s.experts + thread];
      counts[w * s.experts + thread] = count;
      count += of_warp;
    }
  }
  int all = 0, items = 0;
  const int first = sum_before(count, scratch, &all);
  const int item = sum_before((count + s.chunk - 1) / s.chunk, item_scratch, &items);
  if (thread < s.experts) {
    for (int w = 0; w < warps; ++w) counts[w * s.experts + thread] += first;
    put_items(s, thread, item, first, count);
  }
  if (thread == kGroupThreads - 1) {
    put_items(s, s.experts, items, picks, s.rows);
    *s.item_count = items + (s.rows + s.chunk - 1) / s.chunk;
  }
  __syncthreads();

  for (int pick = begin + lane(); pick < end; pick += 32) {
    const int e = expert_of_pick(s, pick), row = pick / s.k;
    const int at = counts[warp() * s.experts + e] + s.pick_of[pick];
    s.pick_of[pick] = at;
    s.pick_row[at] = row;
    s.pick_expert[at] = e;
    s.pick_weight[at] = s.route_weights[row * s.route_weights_stride + pick % s.k];
  }
  for (int row = thread; row < s.rows; row += kGroupThreads) {
    s.pick_row[picks + row] = row;
    s.pick_expert[picks + row] = s.experts;
    s.pick_weight[picks + row] = 1.0f;
  }
}

}  // namespace dsv4::cuda
