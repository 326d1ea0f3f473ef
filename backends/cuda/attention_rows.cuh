// One row of the state on its way into memory, worked on by all threads of a block in shared memory: weighted norm,
// rope, Hadamard transform, and the two packed forms of lib/base/kv_row.h.
#pragma once

#include "backends/cuda/cuda_state.h"
#include "backends/cuda/device.cuh"
#include "backends/cuda/device_number.cuh"
#include "backends/cuda/row_device.cuh"

namespace dsv4::cuda {

DSV4_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
DSV4_DEVICE int threads() { return static_cast<int>(blockDim.x); }

// x -> norm -> BF16. A thread changes only the elements it goes over; a barrier stands behind. scratch [33]
DSV4_DEVICE void norm_row(Shared<float> x, int width, const Vector& weight, float eps, Shared<double> scratch) {
  double sum = 0.0;
  for (int i = thread(); i < width; i += threads()) {
    const double v = x[i];
    sum += v * v;
  }
  const NormScale scale = norm_scale(sum_of_block(sum, scratch), 1.0 / width, eps);
  for (int i = thread(); i < width; i += threads()) x[i] = rounded(times(x[i], element(weight, i), scale));
  __syncthreads();
}

// Turns a pair by the angle with this cosine and sine; by -sine, back. -> BF16
DSV4_DEVICE void turn(float& even, float& odd, float cos, float sin) {
  const float a = even * cos - odd * sin, b = even * sin + odd * cos;
  even = rounded(a);
  odd = rounded(b);
}

// `table`: cosines of the last 2 * pairs dims, then sines; from global or shared memory.
template <class Table>
DSV4_DEVICE void rotate_row(Shared<float> x, int width, const Table& table, int pairs) {
  for (int i = thread(); i < pairs; i += threads()) {
    const int at = width - 2 * pairs + 2 * i;
    float even = x[at], odd = x[at + 1];
    turn(even, odd, table[i], table[pairs + i]);
    x[at] = even;
    x[at + 1] = odd;
  }
  __syncthreads();
}

// Sylvester order, x width^-1/2 -> BF16; the width is a power of two.
DSV4_DEVICE void hadamard_row(Shared<float> x, int width) {
  for (int half = 1; half < width; half *= 2) {
    for (int p = thread(); p < width / 2; p += threads()) {
      const int i = 2 * p - (p & (half - 1));
      const float a = x[i], b = x[i + half];
      x[i] = a + b;
      x[i + half] = a - b;
    }
    __syncthreads();
  }
  const float scale = 1.0f / sqrtf(static_cast<float>(width));
  for (int i = thread(); i < width; i += threads()) {
    const float v = x[i];
    x[i] = rounded(v * scale);
  }
  __syncthreads();
}

DSV4_DEVICE float clamp_to(float x, float most) { return x < -most ? -most : x > most ? most : x; }

// [rope, BF16][nope, E4M3][scales]: a warp quantises 64 dims at a time.
DSV4_DEVICE void pack_kv_row(uint8_t* row, Shared<float> x, int nope, int rope) {
  uint8_t* codes = row + 2 * rope;
  for (int b = warp(); b < nope / 64; b += threads() / 32) {
    const int at = 64 * b + 2 * lane();
    const float even = x[at], odd = x[at + 1];
    const int e = e4m3_block_exponent_of(max_of_warp(fmaxf(fabsf(even), fabsf(odd))));
    const float inverse = exp2_of(-e);
    const uint32_t low = e4m3_code(clamp_to(even * inverse, 448.0f)), high = e4m3_code(clamp_to(odd * inverse, 448.0f));
    write_as(codes + at, static_cast<uint16_t>(low | high << 8));
    if (lane() == 0) codes[nope + b] = static_cast<uint8_t>(e + 127);
  }
  for (int i = thread(); i < rope; i += threads()) write_as(row + 2 * i, narrow(x[nope + i]));
}

// [dims, E2M1, the even one in the low nibble][scales]: a warp quantises 32 dims at a time.
DSV4_DEVICE void pack_index_row(uint8_t* row, Shared<float> x, int width) {
  for (int b = warp(); b < width / 32; b += threads() / 32) {
    const float v = x[32 * b + lane()];
    const int e = e2m1_block_exponent_of(max_of_warp(fabsf(v)));
    const int code = e2m1_code(clamp_to(v * exp2_of(-e), 6.0f)), other = shuffle_xor(code, 1);
    if (lane() % 2 == 0) row[16 * b + lane() / 2] = static_cast<uint8_t>(code | other << 4);
    if (lane() == 0) row[width / 2 + b] = static_cast<uint8_t>(e + 127);
  }
}

// A step's part of a ring of recent rows: what is read is the active half, and a step of more than kRollback rows
// writes the other one. No row that the step looks at lies where it writes.
struct RecentStep {
  const DeviceRing& ring;
  int position;  // of the run's first row
  int rows;
  int active;

  DSV4_DEVICE RecentStep(const DeviceRing& r, const DeviceRow& row, int row_number)
      : ring(r), position(row.position - (row_number - row.first_row)), rows(row.run_rows), active(r.flags->active) {}

  DSV4_DEVICE bool staged() const { return rows > kRollback; }
  // First position that the ring holds after the step.
  DSV4_DEVICE int kept() const { return max(position + rows - ring.capacity, 0); }
  DSV4_DEVICE uint8_t* row_of(int half, int p) const {
    const int at = half * ring.capacity + p % ring.capacity;
    return ring.rows + static_cast<int64_t>(at) * ring.row_bytes;
  }
  DSV4_DEVICE const uint8_t* get(int p) const { return row_of(active, p); }
  DSV4_DEVICE uint8_t* put(int p) const { return row_of(staged() ? 1 - active : active, p); }
};

}  // namespace dsv4::cuda
