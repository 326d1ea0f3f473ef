// What the card's tensor cores reach with nothing else in their way: products of fragments that stay in registers.
#pragma once

#include <cstdint>

#include "backends/cuda/gpu.h"

namespace dsv4::cuda {

// Queues so many rounds of BF16 products; returns how many multiply-adds they are. `out`: F32, one per thread of
// peak_threads(), so that nothing is left out.
double launch_products(const Gpu& gpu, float* out, int32_t rounds);
int64_t peak_threads(const Gpu& gpu);

}  // namespace dsv4::cuda
