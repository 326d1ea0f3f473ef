// The executor's half of backends/cuda/device_memory.cuh: how kernels are declared, shared memory as checked views,
// asynchronous copies that happen when they are waited for, loads and atomics.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "tests/simt/executor.h"
#include "tests/simt/shared_map.h"

#define DSV4_KERNEL(kThreads) void
#define DSV4_DEVICE inline
#define DSV4_HOST_DEVICE inline

namespace dsv4::cuda {

template <class T>
constexpr int64_t shared_total(int64_t count) {
  return (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
}

// What Shared<T>'s brackets give: an element that is checked when it is read or written.
template <class T>
class SharedElement {
 public:
  explicit SharedElement(int offset) : offset_(offset) {}
  SharedElement(const SharedElement&) = default;

  operator T() const {  // NOLINT: as T& does
    T value;
    simt::shared_map.read<sizeof(T)>(offset_, &value);
    return value;
  }
  const SharedElement& operator=(const T& value) const {
    simt::shared_map.write<sizeof(T)>(offset_, &value);
    return *this;
  }
  const SharedElement& operator=(const SharedElement& other) const { return *this = static_cast<T>(other); }
  template <class U>
  const SharedElement& operator+=(const U& v) const {
    return *this = static_cast<T>(static_cast<T>(*this) + v);
  }
  template <class U>
  const SharedElement& operator-=(const U& v) const {
    return *this = static_cast<T>(static_cast<T>(*this) - v);
  }
  template <class U>
  const SharedElement& operator*=(const U& v) const {
    return *this = static_cast<T>(static_cast<T>(*this) * v);
  }
  template <class U>
  const SharedElement& operator|=(const U& v) const {
    return *this = static_cast<T>(static_cast<T>(*this) | v);
  }

 private:
  int offset_;
};

template <class T>
class Shared {
  static_assert(std::is_trivially_copyable_v<T>, "shared memory holds plain values");

 public:
  Shared() = default;
  Shared(int64_t offset, int64_t count) : offset_(static_cast<int>(offset)), count_(static_cast<int>(count)) {}

  SharedElement<T> operator[](int64_t i) const { return SharedElement<T>(offset_of(i, 1)); }
  template <class U>
  Shared<U> as() const {
    if (offset_ % static_cast<int>(alignof(U)) != 0) {
      simt::raise("shared memory: a view of elements aligned to " + std::to_string(alignof(U)) + " at byte " +
                  std::to_string(offset_));
    }
    return Shared<U>(offset_, int64_t{count_} * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(U)));
  }
  Shared from(int64_t offset) const {
    if (offset < 0 || offset > count_) raise_bounds(offset, 0);
    return Shared(offset_ + offset * static_cast<int64_t>(sizeof(T)), count_ - offset);
  }

  // Byte in the block's shared memory where elements [i, i + n) begin, which the view holds.
  int offset_of(int64_t i, int64_t n) const {
    if (i < 0 || i + n > count_) raise_bounds(i, n);
    return offset_ + static_cast<int>(i) * static_cast<int>(sizeof(T));
  }

 private:
  [[noreturn]] void raise_bounds(int64_t i, int64_t n) const {
    simt::raise("shared memory out of bounds: elements [" + std::to_string(i) + ", " + std::to_string(i + n) +
                ") of a view of " + std::to_string(count_) + " elements of " + std::to_string(sizeof(T)) + " bytes");
  }

  int offset_ = 0;
  int count_ = 0;
};

class SharedMemory {
 public:
  template <class T>
  Shared<T> take(int64_t count) {
    const Shared<T> result(used_, count);
    simt::note_take(takes_++, used_, count * static_cast<int64_t>(sizeof(T)));
    used_ += shared_total<T>(count);
    return result;
  }

 private:
  int64_t used_ = 0;
  int takes_ = 0;
};

template <class T>
void copy_async16(Shared<T> to, int64_t index, const void* from, bool valid = true) {
  simt::copy_later(to.offset_of(index, static_cast<int64_t>(16 / sizeof(T))), from, valid);
}
inline void copy_async_commit() { simt::commit_copies(); }
template <int kPending>
void copy_async_wait() {
  simt::await_copies(kPending);
}

// A vector load of a misaligned address is an error on the device, and must be one here.
template <class T>
T load_once(const T* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(T) != 0) simt::raise("load_once: misaligned address");
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

inline int atomic_add(int* p, int v) { return std::atomic_ref<int>(*p).fetch_add(v, std::memory_order_relaxed); }
inline int atomic_add(Shared<int> s, int64_t i, int v) {
  return simt::shared_map.update(s.offset_of(i, 1), [v](int old) { return old + v; });
}
inline int atomic_max(int* p, int v) {
  std::atomic_ref<int> at(*p);
  int old = at.load(std::memory_order_relaxed);
  while (old < v && !at.compare_exchange_weak(old, v, std::memory_order_relaxed)) {
  }
  return old;
}
inline int atomic_max(Shared<int> s, int64_t i, int v) {
  return simt::shared_map.update(s.offset_of(i, 1), [v](int old) { return old < v ? v : old; });
}

inline uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }
inline float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }

}  // namespace dsv4::cuda
