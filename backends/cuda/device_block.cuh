// Reductions over a block, from those of its warps: the same code under nvcc and in the executor.
// Included by device.cuh, behind the half that defines what it uses.
#pragma once

namespace dsv4::cuda {

// All threads get the same bits. `scratch` [32] is nobody else's when they begin, and free again when they return.
DSV4_DEVICE float sum_of_block(float v, Shared<float> scratch) {
  v = sum_of_warp(v);
  if (lane() == 0) scratch[warp()] = v;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x / 32);
  v = 0.0f;
  if (lane() < warps) v = scratch[lane()];
  v = sum_of_warp(v);
  __syncthreads();
  return v;
}

// A NaN counts only if all are.
DSV4_DEVICE float max_of_block(float v, Shared<float> scratch) {
  v = max_of_warp(v);
  if (lane() == 0) scratch[warp()] = v;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x / 32);
  v = scratch[lane() < warps ? lane() : 0];
  v = max_of_warp(v);
  __syncthreads();
  return v;
}

}  // namespace dsv4::cuda
