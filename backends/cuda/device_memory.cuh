// Kernels' memory under nvcc: how kernels are declared, shared memory as typed views, asynchronous copies into it,
// streaming loads and integer atomics. (The executor's half: tests/simt/simt_memory.h.)
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#define DSV4_KERNEL(kThreads) __global__ void __launch_bounds__(kThreads)
#define DSV4_DEVICE __device__ __forceinline__
#define DSV4_HOST_DEVICE __host__ __device__ __forceinline__

namespace dsv4::cuda {

// Bytes that SharedMemory::take<T>(count) takes.
template <class T>
DSV4_HOST_DEVICE constexpr int64_t shared_total(int64_t count) {
  return (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
}

// A typed view of the block's shared memory. It has no bounds here; the executor's has.
template <class T>
class Shared {
 public:
  Shared() = default;
  DSV4_DEVICE explicit Shared(T* data) : data_(data) {}

  DSV4_DEVICE T& operator[](int i) const { return data_[i]; }
  // The same memory seen as elements of another type, from this view's first element on.
  template <class U>
  DSV4_DEVICE Shared<U> as() const {
    return Shared<U>(reinterpret_cast<U*>(data_));
  }
  DSV4_DEVICE Shared from(int offset) const { return Shared(data_ + offset); }

  // Of element i, for instructions that take an address in shared memory.
  DSV4_DEVICE uint32_t address(int i) const { return static_cast<uint32_t>(__cvta_generic_to_shared(data_ + i)); }

 private:
  T* data_;
};

// The block's dynamic shared memory, dealt out in order. Every thread takes the same.
class SharedMemory {
 public:
  template <class T>
  DSV4_DEVICE Shared<T> take(int64_t count) {
    extern __shared__ __align__(128) unsigned char dsv4_shared_memory[];
    T* data = reinterpret_cast<T*>(dsv4_shared_memory + used_);
    used_ += static_cast<int>(shared_total<T>(count));
    return Shared<T>(data);
  }

 private:
  int used_ = 0;
};

// Copies 16 bytes to element `index` on, past the registers and L1; zeros when not `valid`, and `from` is not read.
// What was copied is there after copy_async_wait by the same thread, for other threads after a barrier.
template <class T>
DSV4_DEVICE void copy_async16(Shared<T> to, int index, const void* from, bool valid = true) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to.address(index)),
               "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
               : "memory");
}
// Closes a group of copies.
DSV4_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most the kPending newest groups of this thread are under way.
template <int kPending>
DSV4_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Loads of what is read once and by nobody written meanwhile: weights. They leave L1 to what is read again.
DSV4_DEVICE uint4 load_once(const uint4* p) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(__cvta_generic_to_global(p)));
  return v;
}
DSV4_DEVICE uint2 load_once(const uint2* p) {
  uint2 v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];"
      : "=r"(v.x), "=r"(v.y)
      : "l"(__cvta_generic_to_global(p)));
  return v;
}
DSV4_DEVICE uint32_t load_once(const uint32_t* p) {
  uint32_t v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.u32 %0, [%1];" : "=r"(v) : "l"(__cvta_generic_to_global(p)));
  return v;
}

// They return the old value.
DSV4_DEVICE int atomic_add(int* p, int v) { return atomicAdd(p, v); }
DSV4_DEVICE int atomic_add(Shared<int> s, int i, int v) { return atomicAdd(&s[i], v); }
DSV4_DEVICE int atomic_max(int* p, int v) { return atomicMax(p, v); }
DSV4_DEVICE int atomic_max(Shared<int> s, int i, int v) { return atomicMax(&s[i], v); }

DSV4_DEVICE uint32_t bits_of(float x) { return __float_as_uint(x); }
DSV4_DEVICE float float_of(uint32_t bits) { return __uint_as_float(bits); }

}  // namespace dsv4::cuda
