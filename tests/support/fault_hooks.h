// Faults on demand: the Nth piece of memory that is asked for is not there, the Nth call about a file goes wrong.
//
// A program with fault_hooks.cc in it, linked by dsv4_fault_test() (tests/CMakeLists.txt), counts what comes by while a
// Fault is alive, on all threads, and lets the one fail that was asked for.
//  - Memory: malloc and its kin, operator new, anonymous mmap. Without sanitizers of the whole process, so of oneDNN,
//    PCRE2, zstd, the C++ library and libc too; under a sanitizer, whose own malloc cannot be replaced, operator new of
//    the whole process and the rest of what is linked statically. Not what oneDNN and its OpenMP ask for: the one
//    writes through the null pointer that it gets, the other ends the process, which nobody outside can help. Such a place
//    counts as one that did without.
//  - Files: open, stat, fstat, mmap of a file, read, write, fsync, rename of what is linked statically, our lib/base.
#pragma once

#include <cstdint>

namespace dsv4::test {

enum class FaultOf { kMemory, kFile };
enum class FaultKind {
  kFail,   // memory: none; file: EIO
  kShort,  // file: half of what was asked for, or is there; calls that have no half are not touched
  kEnd,    // file: a read that finds the end, a size of zero
};
enum class FaultSpan { kOnce, kFromThenOn };

struct FaultSpec {
  FaultOf of = FaultOf::kMemory;
  FaultKind kind = FaultKind::kFail;
  FaultSpan span = FaultSpan::kOnce;
};

// One at a time in a process. `nth` counts from 1; 0 only counts.
class Fault {
 public:
  Fault(const FaultSpec& spec, int64_t nth);
  ~Fault();
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;

  static int64_t calls();  // since it was made, also when it is gone
  static bool fired();
};

// What this thread does meanwhile is the test's own affair: nothing is counted, nothing fails.
class NoFaults {
 public:
  NoFaults();
  ~NoFaults();
  NoFaults(const NoFaults&) = delete;
  NoFaults& operator=(const NoFaults&) = delete;
};

}  // namespace dsv4::test
