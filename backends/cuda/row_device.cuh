// What kernels over rows have in common: rows of BF16 eight at a time, sums in double, the scale of an rms norm.
//
// A norm's factor s = 1 / sqrt(mean(x²) + eps) is kept as two floats, hi + lo, 48 bits together: then x·w·s is rounded
// to FP32 once, as the reference backend's doubles are, and no FP32 rounding in between lands on a BF16 tie.
#pragma once

#include "backends/cuda/device_number.cuh"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

// Rows of T, `stride` elements apart.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;

  DSV4_DEVICE T* row(int64_t r) const { return data + r * stride; }
};

template <class T>
Rows<T> rows_of(const Mat& m) {
  return {static_cast<T*>(m.data), m.stride};
}

// An F32 or BF16 vector of the checkpoint.
struct Vector {
  const void* data = nullptr;
  bool f32 = false;
};
inline Vector vector_of(const Weight& w) { return {w.data, w.dtype == DType::kF32}; }
DSV4_DEVICE float element(const Vector& v, int64_t i) {
  return v.f32 ? static_cast<const float*>(v.data)[i] : widen(static_cast<const bf16*>(v.data)[i]);
}

// One load or store of a whole V at an address of any type, aligned to V.
template <class V>
DSV4_DEVICE V read_as(const void* p) {
#if defined(DSV4_SIMT)
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
#else
  return *static_cast<const V*>(p);
#endif
}
template <class V>
DSV4_DEVICE void write_as(void* p, const V& v) {
#if defined(DSV4_SIMT)
  std::memcpy(p, &v, sizeof(V));
#else
  *static_cast<V*>(p) = v;
#endif
}

DSV4_DEVICE void unpack4(float (&x)[4], const uint2& v) {
  x[0] = low_of(v.x), x[1] = high_of(v.x);
  x[2] = low_of(v.y), x[3] = high_of(v.y);
}
DSV4_DEVICE void unpack8(float (&x)[8], const uint4& v) {
  x[0] = low_of(v.x), x[1] = high_of(v.x);
  x[2] = low_of(v.y), x[3] = high_of(v.y);
  x[4] = low_of(v.z), x[5] = high_of(v.z);
  x[6] = low_of(v.w), x[7] = high_of(v.w);
}
DSV4_DEVICE uint2 pack4(const float (&x)[4]) {
  uint2 v;
  v.x = pack_bf16(x[0], x[1]);
  v.y = pack_bf16(x[2], x[3]);
  return v;
}
DSV4_DEVICE uint4 pack8(const float (&x)[8]) {
  uint4 v;
  v.x = pack_bf16(x[0], x[1]);
  v.y = pack_bf16(x[2], x[3]);
  v.z = pack_bf16(x[4], x[5]);
  v.w = pack_bf16(x[6], x[7]);
  return v;
}

// Elements [i, i + 8), i a multiple of 8.
DSV4_DEVICE void elements8(float (&w)[8], const Vector& v, int64_t i) {
  if (v.f32) {
    const float* from = static_cast<const float*>(v.data) + i;
    const float4 a = read_as<float4>(from), b = read_as<float4>(from + 4);
    w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w;
    w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
  } else {
    unpack8(w, read_as<uint4>(static_cast<const bf16*>(v.data) + i));
  }
}

// Σ x² of BF16 values: each square is exact.
DSV4_DEVICE float sum_squares8(const float (&x)[8]) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum = fmaf(x[i], x[i], sum);
  return sum;
}

// All threads get the same bits. `scratch` [32] is free again when they return.
DSV4_DEVICE double sum_of_block(double v, Shared<double> scratch) {
  for (int mask = 16; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  if (lane() == 0) scratch[warp()] = v;
  __syncthreads();
  v = lane() < static_cast<int>(blockDim.x / 32) ? static_cast<double>(scratch[lane()]) : 0.0;
  for (int mask = 16; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  __syncthreads();
  return v;
}

struct NormScale {
  float hi = 0.0f;
  float lo = 0.0f;
};

// 1 / sqrt(sum / n + eps), n given by its reciprocal. rsqrtf is good to some 22 bits; what it misses follows from the
// residual 1 - a·hi², which FMA gives exactly.
DSV4_DEVICE NormScale norm_scale(double sum, double inverse_n, float eps) {
  const double a = sum * inverse_n + static_cast<double>(eps);
  const float a_hi = static_cast<float>(a), a_lo = static_cast<float>(a - static_cast<double>(a_hi));
  const float hi = rsqrtf(a_hi);
  const float t = __fmul_rn(a_hi, hi), t_lo = fmaf(a_hi, hi, -t);
  const float residual = fmaf(-t, hi, 1.0f) - fmaf(t_lo, hi, __fmul_rn(__fmul_rn(hi, hi), a_lo));
  return {hi, 0.5f * hi * residual};
}

DSV4_DEVICE float times(float x, const NormScale& s) { return fmaf(x, s.hi, __fmul_rn(x, s.lo)); }
DSV4_DEVICE float times(float x, float weight, const NormScale& s) {
  const float p = __fmul_rn(x, weight), p_lo = fmaf(x, weight, -p);  // p_lo is zero for two BF16
  return fmaf(p, s.hi, fmaf(p, s.lo, __fmul_rn(p_lo, s.hi)));
}

}  // namespace dsv4::cuda
