#include "tests/support/fault_hooks.h"

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/sanitizers.h"

namespace dsv4::test {
namespace {

constinit std::atomic<bool> armed{false};
constinit FaultSpec armed_spec;
constinit int64_t armed_nth = 0;
constinit std::atomic<int64_t> seen{0};
constinit std::atomic<bool> happened{false};
constinit thread_local int excused = 0;

// Where the code of oneDNN and of its OpenMP lies, and whether a call comes from there.
struct Range {
  uintptr_t begin = 0, end = 0;
};
constinit Range excluded[2];
constinit bool looked = false;

int find_excluded(dl_phdr_info* info, size_t, void*) {
  const char* const names[] = {"libdnnl", "libgomp"};
  for (size_t n = 0; n < 2; ++n) {
    if (std::strstr(info->dlpi_name, names[n]) == nullptr) continue;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const ElfW(Phdr)& part = info->dlpi_phdr[i];
      if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
      excluded[n].begin = info->dlpi_addr + part.p_vaddr;
      excluded[n].end = excluded[n].begin + part.p_memsz;
    }
  }
  return 0;
}

bool is_excluded() {
  const NoFaults mine;
  void* frames[32];
  const int count = backtrace(frames, 32);
  for (int i = 0; i < count; ++i) {
    const auto at = reinterpret_cast<uintptr_t>(frames[i]);
    for (const Range& range : excluded) {
      if (at >= range.begin && at < range.end) return true;
    }
  }
  return false;
}

// Counts one call; true if it is to go wrong.
bool goes_wrong(FaultOf of) {
  if (!armed.load(std::memory_order_acquire) || armed_spec.of != of || excused != 0) return false;
  const int64_t n = seen.fetch_add(1) + 1;
  if (armed_nth == 0 || (armed_spec.span == FaultSpan::kOnce ? n != armed_nth : n < armed_nth)) return false;
  happened.store(true);
  return of != FaultOf::kMemory || !is_excluded();
}

bool no_memory() {
  if (!goes_wrong(FaultOf::kMemory)) return false;
  errno = ENOMEM;
  return true;
}

// For calls that can only fail; those that can be cut short ask cut().
bool file_fails() {
  if (armed.load(std::memory_order_acquire) && armed_spec.kind != FaultKind::kFail) return false;
  if (!goes_wrong(FaultOf::kFile)) return false;
  errno = EIO;
  return true;
}

// -1: fails. Else the part of `size` that is left of it.
int64_t cut(int64_t size) {
  if (!goes_wrong(FaultOf::kFile)) return size;
  errno = EIO;
  return armed_spec.kind == FaultKind::kFail ? -1 : armed_spec.kind == FaultKind::kEnd ? 0 : (size + 1) / 2;
}

}  // namespace

Fault::Fault(const FaultSpec& spec, int64_t nth) {
  if (!looked) dl_iterate_phdr(find_excluded, nullptr);
  looked = true;
  void* frame[1];
  backtrace(frame, 1);  // loads what it needs when it is first called
  armed_spec = spec;
  armed_nth = nth;
  seen.store(0);
  happened.store(false);
  armed.store(true, std::memory_order_release);
}
Fault::~Fault() { armed.store(false, std::memory_order_release); }
int64_t Fault::calls() { return seen.load(); }
bool Fault::fired() { return happened.load(); }

NoFaults::NoFaults() { ++excused; }
NoFaults::~NoFaults() { --excused; }

}  // namespace dsv4::test

using namespace dsv4::test;

extern "C" {

#ifdef DSV4_SANITIZED
void* __real_malloc(size_t size);
void* __real_calloc(size_t count, size_t size);
void* __real_realloc(void* p, size_t size);
void* __real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void** p, size_t align, size_t size);
#else  // glibc's own, under the names that its malloc has besides
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* p, size_t size);
void* __libc_memalign(size_t align, size_t size);
#define __real_malloc __libc_malloc
#define __real_calloc __libc_calloc
#define __real_realloc __libc_realloc
#define __real_aligned_alloc __libc_memalign
static int __real_posix_memalign(void** p, size_t align, size_t size) {
  void* const made = __libc_memalign(align, size);
  if (made == nullptr) return ENOMEM;
  *p = made;
  return 0;
}
#endif

void* __wrap_malloc(size_t size) { return no_memory() ? nullptr : __real_malloc(size); }
void* __wrap_calloc(size_t count, size_t size) { return no_memory() ? nullptr : __real_calloc(count, size); }
void* __wrap_realloc(void* p, size_t size) { return no_memory() ? nullptr : __real_realloc(p, size); }
void* __wrap_aligned_alloc(size_t align, size_t size) {
  return no_memory() ? nullptr : __real_aligned_alloc(align, size);
}
int __wrap_posix_memalign(void** p, size_t align, size_t size) {
  return no_memory() ? ENOMEM : __real_posix_memalign(p, align, size);
}

#ifndef DSV4_SANITIZED
// The same for the shared libraries of the process, libc and the C++ library's operator new among them.
void* malloc(size_t size) { return __wrap_malloc(size); }
void* calloc(size_t count, size_t size) { return __wrap_calloc(count, size); }
void* realloc(void* p, size_t size) { return __wrap_realloc(p, size); }
void* aligned_alloc(size_t align, size_t size) { return __wrap_aligned_alloc(align, size); }
void* memalign(size_t align, size_t size) { return __wrap_aligned_alloc(align, size); }
int posix_memalign(void** p, size_t align, size_t size) { return __wrap_posix_memalign(p, align, size); }
#endif

void* __real_mmap(void* at, size_t size, int protection, int flags, int file, off_t offset);
int __real_open(const char* path, int flags, ...);
int __real_stat(const char* path, struct stat* info);
int __real_fstat(int file, struct stat* info);
ssize_t __real_read(int file, void* data, size_t size);
ssize_t __real_write(int file, const void* data, size_t size);
int __real_fsync(int file);
int __real_rename(const char* from, const char* to);

void* __wrap_mmap(void* at, size_t size, int protection, int flags, int file, off_t offset) {
  const bool anonymous = (flags & MAP_ANONYMOUS) != 0;
  if (anonymous ? no_memory() : file_fails()) return MAP_FAILED;
  return __real_mmap(at, size, protection, flags, file, offset);
}

int __wrap_open(const char* path, int flags, ...) {
  if (file_fails()) return -1;
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return __real_open(path, flags, mode);
}

int __wrap_stat(const char* path, struct stat* info) { return file_fails() ? -1 : __real_stat(path, info); }

int __wrap_fstat(int file, struct stat* info) {
  const int result = __real_fstat(file, info);
  const int64_t size = cut(info->st_size);
  if (size < 0) return -1;
  info->st_size = size;
  return result;
}

ssize_t __wrap_read(int file, void* data, size_t size) {
  const int64_t part = cut(static_cast<int64_t>(size));
  return part < 0 ? -1 : __real_read(file, data, static_cast<size_t>(part));
}

ssize_t __wrap_write(int file, const void* data, size_t size) {
  if (armed.load() && armed_spec.kind == FaultKind::kEnd) return __real_write(file, data, size);
  const int64_t part = cut(static_cast<int64_t>(size));
  return part < 0 ? -1 : __real_write(file, data, static_cast<size_t>(part));
}

int __wrap_fsync(int file) { return file_fails() ? -1 : __real_fsync(file); }
int __wrap_rename(const char* from, const char* to) { return file_fails() ? -1 : __real_rename(from, to); }

}  // extern "C"

#ifdef DSV4_SANITIZED
// In every form, so that what one makes the other can release.
void* operator new(size_t size) {
  void* const p = std::malloc(size != 0 ? size : 1);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new(size_t size, std::align_val_t align) {
  void* p = nullptr;
  if (posix_memalign(&p, static_cast<size_t>(align), size != 0 ? size : 1) != 0) throw std::bad_alloc();
  return p;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return std::malloc(size != 0 ? size : 1); }
void* operator new(size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
  void* p = nullptr;
  return posix_memalign(&p, static_cast<size_t>(align), size != 0 ? size : 1) == 0 ? p : nullptr;
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new[](size_t size, std::align_val_t align) { return operator new(size, align); }
void* operator new[](size_t size, const std::nothrow_t& n) noexcept { return operator new(size, n); }
void* operator new[](size_t size, std::align_val_t align, const std::nothrow_t& n) noexcept {
  return operator new(size, align, n);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
#endif
