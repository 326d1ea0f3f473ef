// Operations of a warp under nvcc. All 32 lanes call them. (The executor's half: tests/simt/simt_warp.h.)
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backends/cuda/device_memory.cuh"

namespace dsv4::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

DSV4_DEVICE int lane() { return static_cast<int>(threadIdx.x % 32); }
DSV4_DEVICE int warp() { return static_cast<int>(threadIdx.x / 32); }

// Types of 4 and 8 bytes that CUDA shuffles: int, unsigned, float, int64_t, double.
template <class T>
DSV4_DEVICE T shuffle(T v, int from_lane) {
  return __shfl_sync(kAllLanes, v, from_lane);
}
template <class T>
DSV4_DEVICE T shuffle_xor(T v, int mask) {
  return __shfl_xor_sync(kAllLanes, v, mask);
}
// From the lane n above; the upper n lanes keep their own.
template <class T>
DSV4_DEVICE T shuffle_down(T v, int n) {
  return __shfl_down_sync(kAllLanes, v, static_cast<unsigned>(n));
}
DSV4_DEVICE uint32_t ballot(bool p) { return __ballot_sync(kAllLanes, p); }
DSV4_DEVICE bool any(bool p) { return __any_sync(kAllLanes, p) != 0; }

// Every lane gets the same bits: an exchange adds the same two numbers on both sides.
DSV4_DEVICE float sum_of_warp(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) v += __shfl_xor_sync(kAllLanes, v, mask);
  return v;
}
DSV4_DEVICE int sum_of_warp(int v) { return __reduce_add_sync(kAllLanes, v); }
// A NaN counts only if all are.
DSV4_DEVICE float max_of_warp(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, mask));
  return v;
}
DSV4_DEVICE int max_of_warp(int v) { return __reduce_max_sync(kAllLanes, v); }

}  // namespace dsv4::cuda
