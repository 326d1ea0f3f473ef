// Quantised weights widened to BF16 code * scale (exact), for products that take nothing else (dense_library.h). The
// columns lie in paired order, as those of the quantised input do (product_kernels.h).
#pragma once

#include <cstdint>

#include "backends/cuda/gpu.h"
#include "backends/cuda/product_kernels.h"

namespace dsv4::cuda {

// Queues out[count, cols] = rows [first, first + count) of an E4M3 or FP4 weight whose data begins at a multiple of 16
// bytes and whose columns are a multiple of 8; count * cols < 2^31.
void widen_rows(const Gpu& gpu, bf16* out, const WeightView& weight, int64_t first, int64_t count);

}  // namespace dsv4::cuda
