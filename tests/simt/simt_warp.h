// The executor's half of backends/cuda/device_warp.cuh: barriers, and operations of all 32 lanes of a warp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/simt/executor.h"
#include "tests/simt/shared_map.h"

namespace dsv4::cuda {

using simt::Site;

inline void __syncthreads(const Site& site = Site::current()) { simt::wait_for_block(site); }
inline void __syncwarp(const Site& site = Site::current()) {
  simt::meet_warp(
      simt::WarpOp::kSync, site, [](unsigned char*) {}, [](simt::Exchange&) {});
}

inline int lane() { return static_cast<int>(simt::thread_idx.x % simt::kLanes); }
inline int warp() { return static_cast<int>(simt::thread_idx.x / simt::kLanes); }

// Lays down one value of each lane; from_lane(lane) says whose it gets.
template <class T>
T value_of_lane(T v, int from, const Site& site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 4 or 8 bytes");
  const simt::Exchange& exchange = simt::meet_warp(
      simt::WarpOp::kShuffle, site, [&](unsigned char* at) { std::memcpy(at, &v, sizeof(T)); }, [](simt::Exchange&) {});
  std::memcpy(&v, exchange.of[from], sizeof(T));
  return v;
}
template <class T>
T shuffle(T v, int from_lane, const Site& site = Site::current()) {
  return value_of_lane(v, from_lane % simt::kLanes, site);
}
template <class T>
T shuffle_xor(T v, int mask, const Site& site = Site::current()) {
  return value_of_lane(v, (lane() ^ mask) % simt::kLanes, site);
}
template <class T>
T shuffle_down(T v, int n, const Site& site = Site::current()) {
  return value_of_lane(v, lane() + n < simt::kLanes ? lane() + n : lane(), site);
}

// Halves the values again and again, as an exchange over lane ^ 16, 8, 4, 2, 1 does; all lanes get the result.
template <class T, class F>
T reduce_of_warp(T v, const Site& site, F join) {
  const simt::Exchange& exchange = simt::meet_warp(
      simt::WarpOp::kReduce, site, [&](unsigned char* at) { std::memcpy(at, &v, sizeof(T)); },
      [&](simt::Exchange& all) {
        T values[simt::kLanes];
        for (int i = 0; i < simt::kLanes; ++i) std::memcpy(&values[i], all.of[i], sizeof(T));
        for (int half = simt::kLanes / 2; half > 0; half /= 2) {
          for (int i = 0; i < half; ++i) values[i] = join(values[i], values[i + half]);
        }
        std::memcpy(all.of[0], &values[0], sizeof(T));
      });
  std::memcpy(&v, exchange.of[0], sizeof(T));
  return v;
}
inline uint32_t ballot(bool p, const Site& site = Site::current()) {
  return reduce_of_warp(p ? 1u << lane() : 0u, site, [](uint32_t a, uint32_t b) { return a | b; });
}
inline bool any(bool p, const Site& site = Site::current()) { return ballot(p, site) != 0; }
inline float sum_of_warp(float v, const Site& site = Site::current()) {
  return reduce_of_warp(v, site, [](float a, float b) { return a + b; });
}
inline int sum_of_warp(int v, const Site& site = Site::current()) {
  return reduce_of_warp(
      v, site, [](int a, int b) { return static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)); });
}
inline float max_of_warp(float v, const Site& site = Site::current()) {
  return reduce_of_warp(v, site, [](float a, float b) { return std::fmax(a, b); });
}
inline int max_of_warp(int v, const Site& site = Site::current()) {
  return reduce_of_warp(v, site, [](int a, int b) { return std::max(a, b); });
}

}  // namespace dsv4::cuda
