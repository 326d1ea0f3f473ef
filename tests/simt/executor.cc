#include "tests/simt/executor.h"

#include <boost/context/detail/fcontext.hpp>

#include <algorithm>
#include <bit>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/simt/address_trap.h"
#include "tests/simt/fiber_stack.h"
#include "tests/simt/shared_map.h"
#include "tests/simt/symbol_name.h"

namespace dsv4::simt {

constinit thread_local Index thread_idx;
constinit thread_local Index block_idx;
constinit thread_local Index block_dim;
constinit thread_local Index grid_dim;
constinit thread_local SharedMap shared_map;

namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr uint32_t kAllLanes = 0xffffffffu;

bool same_place(const Site& a, const Site& b) { return a.line() == b.line() && a.file_name() == b.file_name(); }

std::string place(const Site& site) {
  std::string file = site.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line());
}

const char* name(WarpOp op) {
  switch (op) {
    case WarpOp::kNone: return "nothing";
    case WarpOp::kSync: return "__syncwarp";
    case WarpOp::kShuffle: return "shuffle";
    case WarpOp::kVote: return "vote";
    case WarpOp::kReduce: return "reduction";
    case WarpOp::kMma: return "mma";
    case WarpOp::kLoadMatrix: return "ldmatrix";
  }
  return "?";
}

// Each bit of a mask is a lane.
struct Warp {
  uint32_t ready = 0;  // can go on, or has not begun
  uint32_t begun = 0;
  uint32_t exited = 0;
  uint32_t in_block = 0;  // waits at the block's barrier
  uint32_t in_warp = 0;   // has come to the warp's present operation
  WarpOp op = WarpOp::kNone;
  Site site;                // of the first to come to it
  unsigned operations = 0;  // completed; even and odd ones use an exchange each, so that slow lanes can still read
  Exchange exchange[2];
};

struct AsyncCopy {
  int offset;
  const void* from;
  bool valid;
};

struct Thread {
  fcontext_t context = nullptr;  // where it waits
  std::vector<AsyncCopy> copies;
  std::vector<size_t> groups;  // ends of the committed groups in `copies`
};

struct Fiber {
  FiberStack stack;
  fcontext_t context = nullptr;
};

struct Take {
  int64_t offset;
  int64_t bytes;
};

class Executor {
 public:
  void run(const Launch& launch);
  [[noreturn]] void raise(const std::string& what);

  void wait_for_block(const Site& site);
  Exchange& enter_warp(WarpOp op, const Site& site);
  bool last_of_warp() const { return warps_[thread_idx.x / kLanes].in_warp == kAllLanes; }
  void finish_warp(WarpOp op);
  void switch_away();

  void note_take(int number, int64_t offset, int64_t bytes);
  Thread& thread() { return threads_[thread_idx.x]; }

  Checks checks;
  Counters counters;

 private:
  void run_block();
  static void fiber_main(transfer_t from);
  void serve(Fiber& self);
  Fiber& idle_fiber();
  void renew_fibers();
  void jump(fcontext_t to, fcontext_t* leaving);
  int pick();
  std::string who_waits() const;
  std::string where() const;
  std::string name_fault(uintptr_t address) const;
  [[noreturn]] void raise_deadlock() { raise("threads wait for each other in vain: " + who_waits()); }

  const Launch* launch_ = nullptr;
  std::unique_ptr<Warp[]> warps_{new Warp[kMaxWarps]};
  std::unique_ptr<Thread[]> threads_{new Thread[kMaxThreads]};
  uint32_t ready_warps_ = 0;
  int warp_ = 0;  // whose lanes run
  int exited_ = 0;
  int in_block_ = 0;
  Site block_site_;
  std::vector<Take> takes_;

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Fiber* entering_ = nullptr;
  int starting_ = 0;  // the thread that an idle fiber takes up
  fcontext_t main_ = nullptr;
  std::string error_;
};

std::string (*address_names)(uintptr_t) = nullptr;

Executor& executor() {
  static thread_local Executor instance;
  return instance;
}

// Every fiber comes back from here when somebody jumps to what it stored in `leaving`.
void Executor::jump(fcontext_t to, fcontext_t* leaving) {
  ++counters.switches;
  const transfer_t from = jump_fcontext(to, leaving);
  *static_cast<fcontext_t*>(from.data) = from.fctx;
}

// A thread that can go on, from the present warp if there is one; -1: none. It is no longer ready.
int Executor::pick() {
  if (warps_[warp_].ready == 0) {
    if (ready_warps_ == 0) return -1;
    warp_ = std::countr_zero(ready_warps_);
  }
  Warp& warp = warps_[warp_];
  const int lane = std::countr_zero(warp.ready);
  warp.ready &= warp.ready - 1;
  if (warp.ready == 0) ready_warps_ &= ~(1u << warp_);
  return warp_ * kLanes + lane;
}

void Executor::switch_away() {
  const unsigned me = thread_idx.x;
  const int next = pick();
  if (next < 0) raise_deadlock();
  if ((warps_[next / kLanes].begun >> (next % kLanes) & 1u) != 0) {
    jump(threads_[next].context, &threads_[me].context);
  } else {
    starting_ = next;
    jump(idle_fiber().context, &threads_[me].context);
  }
  thread_idx.x = me;
}

void Executor::fiber_main(transfer_t from) {
  *static_cast<fcontext_t*>(from.data) = from.fctx;
  Executor& e = executor();
  e.serve(*e.entering_);
}

// Runs threads that have not begun, one after another on the same stack, as long as none of them has to wait.
void Executor::serve(Fiber& self) {
  for (;;) {
    const int me = starting_;
    Warp& warp = warps_[me / kLanes];
    const uint32_t bit = 1u << (me % kLanes);
    warp.begun |= bit;
    thread_idx.x = static_cast<unsigned>(me);
    launch_->thread(launch_->arguments);
    warp.exited |= bit;
    ++exited_;
    const int next = pick();
    if (next < 0) {
      if (exited_ != launch_->threads) raise_deadlock();
      idle_.push_back(&self);
      jump(main_, &self.context);
    } else if ((warps_[next / kLanes].begun >> (next % kLanes) & 1u) != 0) {
      idle_.push_back(&self);
      jump(threads_[next].context, &self.context);
    } else {
      starting_ = next;
    }
  }
}

Fiber& Executor::idle_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(Fiber{FiberStack(fibers_.size()), nullptr}));
    idle_.push_back(fibers_.back().get());
  }
  Fiber& fiber = *idle_.back();
  idle_.pop_back();
  if (fiber.context == nullptr) fiber.context = make_fcontext(fiber.stack.top(), fiber.stack.size(), fiber_main);
  entering_ = &fiber;
  return fiber;
}

// After an error: what stands on the fibers' stacks is forgotten.
void Executor::renew_fibers() {
  idle_.clear();
  for (const auto& fiber : fibers_) {
    fiber->context = nullptr;
    idle_.push_back(fiber.get());
  }
}

void Executor::run_block() {
  const int warps = launch_->threads / kLanes;
  for (int w = 0; w < warps; ++w) {
    Warp& warp = warps_[w];
    warp.ready = kAllLanes;
    warp.begun = warp.exited = warp.in_block = warp.in_warp = 0;
  }
  ready_warps_ = warps == kMaxWarps ? kAllLanes : (1u << warps) - 1;
  warp_ = 0;
  exited_ = in_block_ = 0;
  takes_.clear();
  for (int t = 0; t < launch_->threads; ++t) {
    threads_[t].copies.clear();
    threads_[t].groups.clear();
  }
  shared_map.begin(launch_->shared_bytes, checks.races);
  starting_ = pick();
  error_.clear();
  jump(idle_fiber().context, &main_);
  ++counters.blocks;
  if (!error_.empty()) {
    renew_fibers();
    throw SimtError(error_);
  }
}

void Executor::run(const Launch& launch) {
  const int64_t grid = int64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  if (launch.threads < kLanes || launch.threads > kMaxThreads || launch.threads % kLanes != 0 || grid <= 0) {
    throw SimtError("kernel " + symbol_name(launch.kernel) + ": a grid of " + std::to_string(grid) + " blocks of " +
                    std::to_string(launch.threads) + " threads");
  }
  launch_ = &launch;
  ++counters.launches;
  std::optional<AddressTrap> trap;
  if (checks.addresses) {
    trap.emplace();
    // A signal comes back here, and leaves the fibers as they were.
    if (sigsetjmp(trap->place(), 1) != 0) {
      renew_fibers();
      throw SimtError(where() + ": " + name_fault(trap->address()));
    }
  }
  grid_dim = launch.grid;
  block_dim = {static_cast<unsigned>(launch.threads), 1, 1};
  for (unsigned z = 0; z < launch.grid.z; ++z) {
    for (unsigned y = 0; y < launch.grid.y; ++y) {
      for (unsigned x = 0; x < launch.grid.x; ++x) {
        block_idx = {x, y, z};
        run_block();
      }
    }
  }
}

std::string Executor::where() const {
  return "kernel " + symbol_name(launch_->kernel) + ", block (" + std::to_string(block_idx.x) + ", " +
         std::to_string(block_idx.y) + ", " + std::to_string(block_idx.z) + "), thread " + std::to_string(thread_idx.x);
}

std::string Executor::name_fault(uintptr_t address) const {
  for (const auto& fiber : fibers_) {
    if (fiber->stack.guards(address)) return "the stack overflows: too much memory of its own";
  }
  const std::string name = address_names == nullptr ? "" : address_names(address);
  // The processor names no address where a vector is not aligned.
  return "bad address " + hexadecimal(address) +
         (name.empty() ? address == 0 ? ", or a misaligned one" : "" : ", " + name);
}

void Executor::raise(const std::string& what) {
  error_ = where() + ": " + what;
  fcontext_t forgotten = nullptr;
  jump(main_, &forgotten);
  std::terminate();  // nobody comes back to it
}

std::string Executor::who_waits() const {
  int at_barrier = 0;
  std::string text;
  for (int w = 0; w < launch_->threads / kLanes; ++w) {
    const Warp& warp = warps_[w];
    at_barrier += std::popcount(warp.in_block);
    if (warp.in_warp != 0) {
      text += std::to_string(std::popcount(warp.in_warp)) + " lanes of warp " + std::to_string(w) + " at " +
              name(warp.op) + " (" + place(warp.site) + "), ";
    }
  }
  if (at_barrier > 0) text += std::to_string(at_barrier) + " threads at __syncthreads (" + place(block_site_) + "), ";
  return text + std::to_string(exited_) + " have returned";
}

void Executor::wait_for_block(const Site& site) {
  if (in_block_ == 0) {
    block_site_ = site;
  } else if (!same_place(site, block_site_)) {
    raise("comes to __syncthreads at " + place(site) + " while others wait at " + place(block_site_));
  }
  const unsigned me = thread_idx.x;
  warps_[me / kLanes].in_block |= 1u << (me % kLanes);
  if (++in_block_ < launch_->threads) return switch_away();
  in_block_ = 0;
  const int warps = launch_->threads / kLanes;
  for (int w = 0; w < warps; ++w) {
    warps_[w].in_block = 0;
    warps_[w].ready = kAllLanes;
  }
  ready_warps_ = warps == kMaxWarps ? kAllLanes : (1u << warps) - 1;
  warp_ = static_cast<int>(me) / kLanes;
  warps_[warp_].ready &= ~(1u << (me % kLanes));
  shared_map.block_met();
}

Exchange& Executor::enter_warp(WarpOp op, const Site& site) {
  const unsigned me = thread_idx.x;
  Warp& warp = warps_[me / kLanes];
  if (warp.in_warp == 0) {
    warp.op = op;
    warp.site = site;
  } else if (op != warp.op || !same_place(site, warp.site)) {
    raise("comes to " + std::string(name(op)) + " at " + place(site) + " while " +
          std::to_string(std::popcount(warp.in_warp)) + " lanes of its warp wait at " + name(warp.op) + " at " +
          place(warp.site));
  }
  warp.in_warp |= 1u << (me % kLanes);
  return warp.exchange[warp.operations % 2];
}

void Executor::finish_warp(WarpOp op) {
  const unsigned me = thread_idx.x;
  Warp& warp = warps_[me / kLanes];
  warp.in_warp = 0;
  ++warp.operations;
  warp.ready = kAllLanes & ~(1u << (me % kLanes));
  ready_warps_ |= 1u << (me / kLanes);
  if (op == WarpOp::kSync) shared_map.warp_met(static_cast<int>(me) / kLanes);
}

void Executor::note_take(int number, int64_t offset, int64_t bytes) {
  if (bytes < 0 || offset + bytes > launch_->shared_bytes) {
    raise("takes shared memory up to byte " + std::to_string(offset + bytes) + ", the launch gave " +
          std::to_string(launch_->shared_bytes));
  }
  const auto i = static_cast<size_t>(number);
  if (i >= takes_.size()) return takes_.push_back({offset, bytes});
  if (takes_[i].offset != offset || takes_[i].bytes != bytes) {
    raise("takes other shared memory than the block's first thread: " + std::to_string(bytes) + " bytes at " +
          std::to_string(offset) + ", not " + std::to_string(takes_[i].bytes) + " at " +
          std::to_string(takes_[i].offset));
  }
}

}  // namespace

void run(const Launch& launch) { executor().run(launch); }
Checks& checks() { return executor().checks; }
Counters& counters() { return executor().counters; }
void set_address_names(std::string (*name)(uintptr_t)) { address_names = name; }

void raise(const std::string& what) { executor().raise(what); }
void raise(const std::string& what, const Site& site) { executor().raise(what + " (" + place(site) + ")"); }

void wait_for_block(const Site& site) { executor().wait_for_block(site); }
Exchange& enter_warp(WarpOp op, const Site& site) { return executor().enter_warp(op, site); }
bool last_of_warp() { return executor().last_of_warp(); }
void finish_warp(WarpOp op) { executor().finish_warp(op); }
void await_warp() { executor().switch_away(); }
void note_take(int number, int64_t offset, int64_t bytes) { executor().note_take(number, offset, bytes); }

void copy_later(int offset, const void* from, bool valid) {
  if (offset % 16 != 0 || (valid && reinterpret_cast<uintptr_t>(from) % 16 != 0)) {
    raise("copy_async16: misaligned address");
  }
  shared_map.forget(offset, 16);
  executor().thread().copies.push_back({offset, from, valid});
}

void commit_copies() {
  Thread& thread = executor().thread();
  thread.groups.push_back(thread.copies.size());
}

void await_copies(int pending) {
  Thread& thread = executor().thread();
  const size_t keep = std::min(thread.groups.size(), static_cast<size_t>(pending));
  const size_t done = thread.groups.size() - keep;
  if (done == 0) return;
  const size_t end = thread.groups[done - 1];
  for (size_t i = 0; i < end; ++i) {
    const AsyncCopy& copy = thread.copies[i];
    alignas(16) static constexpr unsigned char kZeros[16] = {};
    shared_map.write<16>(copy.offset, copy.valid ? copy.from : kZeros);
  }
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + static_cast<std::ptrdiff_t>(end));
  thread.groups.erase(thread.groups.begin(), thread.groups.begin() + static_cast<std::ptrdiff_t>(done));
  for (size_t& group : thread.groups) group -= end;
}

}  // namespace dsv4::simt
