// The plain kernels: four lanes of ordinary C++, for every machine.
#include <bit>
#include <cmath>

#include "backends/cpu/kernels.h"
#include "lib/base/number.h"

namespace dsv4::cpu {
namespace {

constexpr int kLanes = 4;
constexpr int kRegisters = 8;  // a compiler's vectors of what every machine has
constexpr int kCodes = 1;
constexpr float kXScale = 1.0f;
constexpr float kUnitE4M3 = 1.0f;
constexpr float kUnitFP4 = 1.0f;
constexpr float kE4M3Value = 1.0f;
constexpr float kFP4Value = 1.0f;

struct V {
  float lane[kLanes];
};

template <class F>
inline V each(F f) {
  V r;
  for (int i = 0; i < kLanes; ++i) r.lane[i] = f(i);
  return r;
}
inline uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float of_bits(uint32_t u) { return std::bit_cast<float>(u); }

inline V v_set(float x) {
  return each([&](int) { return x; });
}
inline V v_zero() { return v_set(0.0f); }
inline V v_load(const float* p) {
  V r;
  __builtin_memcpy(r.lane, p, sizeof r.lane);
  return r;
}
inline void v_store(float* p, V x) { __builtin_memcpy(p, x.lane, sizeof x.lane); }
inline V v_load_n(const float* p, int64_t n) {
  V r = v_zero();
  __builtin_memcpy(r.lane, p, static_cast<size_t>(n) * 4);
  return r;
}
inline void v_store_n(float* p, V x, int64_t n) { __builtin_memcpy(p, x.lane, static_cast<size_t>(n) * 4); }
inline V v_add(V a, V b) {
  return each([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline V v_sub(V a, V b) {
  return each([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline V v_mul(V a, V b) {
  return each([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline V v_div(V a, V b) {
  return each([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline V v_fma(V a, V b, V c) {
  return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
inline V v_max(V a, V b) {
  return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline V v_min(V a, V b) {
  return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline V v_abs(V a) {
  return each([&](int i) { return std::fabs(a.lane[i]); });
}
inline V v_or_sign(V x, V s) {
  return each([&](int i) { return of_bits(bits(x.lane[i]) | (bits(s.lane[i]) & 0x80000000u)); });
}
inline V v_binade(V x) {
  return each([&](int i) { return of_bits(bits(x.lane[i]) & 0x7f800000u); });
}
inline V v_rint(V x) {
  return each([&](int i) { return std::nearbyint(x.lane[i]); });
}
inline V v_exp2i(V n) {
  return each([&](int i) { return of_bits(static_cast<uint32_t>(static_cast<int>(n.lane[i]) + 127) << 23); });
}
inline float v_sum(V x) { return (x.lane[0] + x.lane[2]) + (x.lane[1] + x.lane[3]); }
inline float v_maximum(V x) {
  const float a = x.lane[0] > x.lane[1] ? x.lane[0] : x.lane[1], b = x.lane[2] > x.lane[3] ? x.lane[2] : x.lane[3];
  return a > b ? a : b;
}

inline V v_fused(V a, V b, V c) {
  return each([&](int i) {
    return static_cast<float>(static_cast<double>(a.lane[i]) * static_cast<double>(b.lane[i]) +
                              static_cast<double>(c.lane[i]));
  });
}

struct VD {
  double lane[kLanes];
};
inline VD vd_zero() { return {}; }
inline VD vd_add_square(VD s, V x) {
  for (int i = 0; i < kLanes; ++i) s.lane[i] += static_cast<double>(x.lane[i]) * static_cast<double>(x.lane[i]);
  return s;
}
inline double vd_sum(VD s) { return (s.lane[0] + s.lane[2]) + (s.lane[1] + s.lane[3]); }

inline uint16_t get16(const uint16_t* p) {
  uint16_t b;
  __builtin_memcpy(&b, p, 2);
  return b;
}
inline V v_load16(const uint16_t* p) {
  return each([&](int i) { return to_float(bf16{get16(p + i)}); });
}
inline void v_store16(uint16_t* p, V x) {
  for (int i = 0; i < kLanes; ++i) {
    const uint16_t b = to_bf16(x.lane[i]).bits;
    __builtin_memcpy(p + i, &b, 2);
  }
}
inline V v_round16(V x) {
  return each([&](int i) { return round_bf16(x.lane[i]); });
}
inline void v_load_pairs(const uint16_t* p, V& even, V& odd) {
  even = each([&](int i) { return to_float(bf16{get16(p + 2 * i)}); });
  odd = each([&](int i) { return to_float(bf16{get16(p + 2 * i + 1)}); });
}
inline void v_store_pairs(uint16_t* p, V even, V odd) {
  for (int i = 0; i < kLanes; ++i) {
    p[2 * i] = to_bf16(even.lane[i]).bits;
    p[2 * i + 1] = to_bf16(odd.lane[i]).bits;
  }
}
template <int kStride>
inline V v_swap(V x) {
  return each([&](int i) { return x.lane[i ^ kStride]; });
}
template <int kStride>
inline V v_alternate() {
  return each([&](int i) { return (i & kStride) != 0 ? -1.0f : 1.0f; });
}
inline void v_e4m3(V (&v)[kCodes], const uint8_t* p) {
  v[0] = each([&](int i) { return kE4M3[p[i]]; });
}
inline void v_fp4(V (&v)[8], const uint8_t* p) {
  for (int k = 0; k < 8; ++k) {
    v[k] = each([&](int i) {
      const uint8_t byte = p[2 * k + i / 2];
      return kE2M1[i % 2 != 0 ? byte >> 4 : byte & 15];
    });
  }
}

#include "backends/cpu/vec_kernels.inl"
}  // namespace

const Kernels& scalar_kernels() {
  static const Kernels table = vec_kernels("scalar");
  return table;
}

}  // namespace dsv4::cpu
