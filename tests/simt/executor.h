// The executor behind tests/simt: runs kernels compiled as C++ on the calling thread, one block after another, a
// block's threads as fibers. A thread runs until it has to wait for others: at a barrier for its block, at a warp-wide
// operation for its warp. What a kernel may not do ends the launch with a SimtError that names kernel, block, thread
// and place: threads that wait for each other in vain or at different places, shared memory out of bounds, read before
// it was written, or touched by two threads without a barrier in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>

namespace dsv4::simt {

using Site = std::source_location;

class SimtError : public std::runtime_error {
 public:
  explicit SimtError(const std::string& message) : std::runtime_error(message) {}
};

struct Index {
  unsigned x = 0;
  unsigned y = 0;
  unsigned z = 0;
};

struct Launch {
  const void* kernel = nullptr;           // its address: errors name it by the program's symbols
  void (*thread)(const void*) = nullptr;  // runs the kernel once, with the arguments in `arguments`
  const void* arguments = nullptr;
  Index grid;
  int threads = 0;
  int64_t shared_bytes = 0;
};

// Runs all blocks. Throws SimtError.
void run(const Launch& launch);

struct Checks {
  bool races = true;      // two threads touch the same bytes of shared memory, one writes, and no barrier in between
  bool addresses = true;  // a signal for a bad address inside a kernel becomes a SimtError
};
Checks& checks();

// How errors name an address that must not be touched; "" for one that nothing is known of.
void set_address_names(std::string (*name)(uintptr_t address));

// What has been run by this thread, for tests.
struct Counters {
  int64_t launches = 0;
  int64_t blocks = 0;
  int64_t switches = 0;
};
Counters& counters();

// ------------------------------------------------------------------------- the running thread, for the device headers

constexpr int kLanes = 32;
constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / kLanes;

extern constinit thread_local Index thread_idx;
extern constinit thread_local Index block_idx;
extern constinit thread_local Index block_dim;
extern constinit thread_local Index grid_dim;

// Ends the launch with an error of the running thread.
[[noreturn]] void raise(const std::string& what);
[[noreturn]] void raise(const std::string& what, const Site& site);

// __syncthreads.
void wait_for_block(const Site& site);

// Warp-wide operations. Each lane lays down its operand, the last to come combines all of them, and each takes its
// result.
enum class WarpOp : uint8_t { kNone, kSync, kShuffle, kVote, kReduce, kMma, kLoadMatrix };

struct alignas(64) Exchange {
  unsigned char of[kLanes][64];  // of each lane: operands, then results
};

// Counts the lane in and tells where to lay down its operand.
Exchange& enter_warp(WarpOp op, const Site& site);
// True for the last lane, which combines and calls finish_warp; the others wait in await_warp until it has.
bool last_of_warp();
void finish_warp(WarpOp op);
void await_warp();

template <class Put, class Combine>
Exchange& meet_warp(WarpOp op, const Site& site, Put put, Combine combine) {
  Exchange& exchange = enter_warp(op, site);
  put(exchange.of[thread_idx.x % kLanes]);
  if (last_of_warp()) {
    combine(exchange);
    finish_warp(op);
  } else {
    await_warp();
  }
  return exchange;
}

// Takes of shared memory are the same in every thread of a block.
void note_take(int number, int64_t offset, int64_t bytes);

// Asynchronous copies of the running thread.
void copy_later(int offset, const void* from, bool valid);
void commit_copies();
void await_copies(int pending);

}  // namespace dsv4::simt
