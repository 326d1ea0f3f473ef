// The executor: what kernels may do works as on a device, and what they may not is found and named.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "backends/cuda/device.cuh"
#include "tests/simt/executor.h"

namespace dsv4::cuda {
namespace {

constexpr int kThreads = 128;

// The message with which a launch ends, or "" for one that does not.
template <class... Params, class... Args>
std::string error_of(void (*kernel)(Params...), int threads, int64_t shared, Args... args) {
  try {
    launch(kernel, Grid{1}, threads, shared, nullptr, args...);
  } catch (const simt::SimtError& e) {
    return e.what();
  }
  return "";
}

#define CHECK_SAYS(message, part) CHECK_MESSAGE((message).find(part) != std::string::npos, (message))

// ------------------------------------------------------------------------------------------------- what works

DSV4_KERNEL(kThreads) number_everything(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x + threadIdx.x] = static_cast<int>(1000 * block) + 32 * warp() + lane();
}

TEST_CASE("threads and blocks have their numbers") {
  std::vector<int> out(2 * 3 * 4 * kThreads, -1);
  launch(number_everything, Grid{2, 3, 4}, kThreads, 0, nullptr, out.data());
  for (int i = 0; i < static_cast<int>(out.size()); ++i) REQUIRE(out[i] == i / kThreads * 1000 + i % kThreads);
}

// Turns a row round through shared memory, several times over.
DSV4_KERNEL(kThreads) reverse(int* row, int times) {
  SharedMemory shared;
  const Shared<int> copy = shared.take<int>(kThreads);
  const int i = static_cast<int>(threadIdx.x);
  for (int n = 0; n < times; ++n) {
    copy[i] = row[i];
    __syncthreads();
    row[i] = copy[kThreads - 1 - i];
    __syncthreads();
  }
}

TEST_CASE("a barrier makes every thread's writes seen") {
  std::vector<int> row(kThreads);
  std::iota(row.begin(), row.end(), 0);
  launch(reverse, Grid{1}, kThreads, shared_total<int>(kThreads), nullptr, row.data(), 7);
  for (int i = 0; i < kThreads; ++i) REQUIRE(row[i] == kThreads - 1 - i);
}

struct WarpResults {
  std::array<int, 32> from, exchanged, down, sum, most;
  std::array<float, 32> float_sum, float_most;
  std::array<uint32_t, 32> votes;
  std::array<bool, 32> anyone, no_one;
  std::array<double, 32> wide;
};

DSV4_KERNEL(32) warp_operations(WarpResults* r) {
  const int l = lane();
  r->from[l] = shuffle(l * l, (l + 5) % 32);
  r->exchanged[l] = shuffle_xor(l * l, 3);
  r->down[l] = shuffle_down(l, 4);
  r->wide[l] = shuffle(1.0 / (l + 1), 31 - l);
  r->votes[l] = ballot(l % 3 == 0);
  r->anyone[l] = any(l == 17);
  r->no_one[l] = any(l == 32);
  r->sum[l] = sum_of_warp(l);
  r->most[l] = max_of_warp(l == 9 ? 100 : -l);
  r->float_sum[l] = sum_of_warp(static_cast<float>(l) + 0.5f);
  r->float_most[l] = max_of_warp(l == 3 ? NAN : static_cast<float>(-l));
}

TEST_CASE("warp-wide operations") {
  WarpResults r;
  launch(warp_operations, Grid{1}, 32, 0, nullptr, &r);
  for (int l = 0; l < 32; ++l) {
    CAPTURE(l);
    CHECK(r.from[l] == ((l + 5) % 32) * ((l + 5) % 32));
    CHECK(r.exchanged[l] == (l ^ 3) * (l ^ 3));
    CHECK(r.down[l] == (l < 28 ? l + 4 : l));
    CHECK(r.wide[l] == 1.0 / (32 - l));
    CHECK(r.votes[l] == 0x49249249u);
    CHECK(r.anyone[l]);
    CHECK_FALSE(r.no_one[l]);
    CHECK(r.sum[l] == 31 * 16);
    CHECK(r.most[l] == 100);
    CHECK(r.float_sum[l] == 32 * 16.0f);
    CHECK(r.float_most[l] == 0.0f);
  }
}

DSV4_KERNEL(1024) block_reductions(float* sums, float* mosts) {
  SharedMemory shared;
  const Shared<float> scratch = shared.take<float>(32);
  const float v = static_cast<float>(threadIdx.x);
  sums[threadIdx.x] = sum_of_block(v, scratch);
  mosts[threadIdx.x] = max_of_block(-v - 1, scratch);
}

TEST_CASE("reductions of a block, of every number of warps") {
  for (int threads = 32; threads <= 1024; threads += 32) {
    std::vector<float> sums(threads), mosts(threads);
    launch(block_reductions, Grid{1}, threads, shared_total<float>(32), nullptr, sums.data(), mosts.data());
    for (int i = 0; i < threads; ++i) {
      REQUIRE(sums[i] == static_cast<float>(threads * (threads - 1) / 2));
      REQUIRE(mosts[i] == -1.0f);
    }
  }
}

DSV4_KERNEL(kThreads) count_up(int* total, int* most, int* places) {
  SharedMemory shared;
  const Shared<int> counts = shared.take<int>(2);
  if (threadIdx.x < 2) counts[static_cast<int>(threadIdx.x)] = 0;
  __syncthreads();
  const int me = static_cast<int>(threadIdx.x);
  places[blockIdx.x * blockDim.x + threadIdx.x] = atomic_add(counts, 0, 1);
  atomic_max(counts, 1, me);
  __syncthreads();
  if (me == 0) {
    atomic_add(total, counts[0]);
    atomic_max(most, counts[1] + static_cast<int>(blockIdx.x));
  }
}

TEST_CASE("atomics give every thread its own place") {
  int total = 0, most = 0;
  std::vector<int> places(3 * kThreads);
  launch(count_up, Grid{3}, kThreads, shared_total<int>(2), nullptr, &total, &most, places.data());
  CHECK(total == 3 * kThreads);
  CHECK(most == kThreads + 1);
  for (int block = 0; block < 3; ++block) {
    std::vector<int> seen(kThreads, 0);
    for (int i = 0; i < kThreads; ++i) ++seen[places[block * kThreads + i]];
    for (const int n : seen) REQUIRE(n == 1);
  }
}

// D = A · B + D for A [16, 16], B [16, 8] row by row, loaded as kernels do: A as it lies, B transposed.
DSV4_KERNEL(32) product_of_tiles(float* D, const bf16* A, const bf16* B) {
  SharedMemory shared;
  const Shared<bf16> a = shared.take<bf16>(16 * 16);
  const Shared<bf16> b = shared.take<bf16>(16 * 8);
  for (int i = lane(); i < 16 * 16; i += 32) a[i] = A[i];
  for (int i = lane(); i < 16 * 8; i += 32) b[i] = B[i];
  __syncwarp();
  uint32_t fa[4], fb[2];
  load_matrix_x4(fa, a, lane() % 16 * 16 + lane() / 16 * 8);
  load_matrix_x2_transposed(fb, b, lane() % 16 * 8);
  const int g = lane() / 4;
  const int t = lane() % 4;
  float d[4] = {D[g * 8 + 2 * t], D[g * 8 + 2 * t + 1], D[(g + 8) * 8 + 2 * t], D[(g + 8) * 8 + 2 * t + 1]};
  mma_bf16(d, fa, fb);
  D[g * 8 + 2 * t] = d[0];
  D[g * 8 + 2 * t + 1] = d[1];
  D[(g + 8) * 8 + 2 * t] = d[2];
  D[(g + 8) * 8 + 2 * t + 1] = d[3];
}

TEST_CASE("mma and ldmatrix against a plain product") {
  std::vector<bf16> A(16 * 16), B(16 * 8);
  std::vector<float> D(16 * 8), expected;
  uint32_t seed = 1;
  const auto next = [&seed] {
    seed = seed * 1664525u + 1013904223u;
    return static_cast<float>(static_cast<int32_t>(seed) >> 24) / 16.0f;  // sums of their products are exact
  };
  for (bf16& x : A) x = to_bf16(next());
  for (bf16& x : B) x = to_bf16(next());
  for (float& x : D) x = next();
  expected = D;
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      for (int k = 0; k < 16; ++k) expected[i * 8 + j] += to_float(A[i * 16 + k]) * to_float(B[k * 8 + j]);
    }
  }
  launch(product_of_tiles, Grid{1}, 32, shared_total<bf16>(16 * 16) + shared_total<bf16>(16 * 8), nullptr, D.data(),
         A.data(), B.data());
  CHECK(D == expected);
}

DSV4_KERNEL(32) load_all_forms(uint32_t* out) {  // [4 forms, 32 lanes, 4]
  SharedMemory shared;
  const Shared<bf16> s = shared.take<bf16>(32 * 8);
  for (int i = lane(); i < 32 * 8; i += 32) s[i] = bf16{static_cast<uint16_t>(i)};
  __syncwarp();
  uint32_t four[4], two[2];
  const auto put = [&](int form, const uint32_t* r, int n) {
    for (int i = 0; i < n; ++i) out[(form * 32 + lane()) * 4 + i] = r[i];
  };
  load_matrix_x4(four, s, lane() * 8);
  put(0, four, 4);
  load_matrix_x4_transposed(four, s, lane() * 8);
  put(1, four, 4);
  load_matrix_x2(two, s, lane() % 16 * 8);
  put(2, two, 2);
  load_matrix_x2_transposed(two, s, lane() % 16 * 8);
  put(3, two, 2);
}

TEST_CASE("every form of ldmatrix gives each lane its two elements of each matrix") {
  std::vector<uint32_t> out(4 * 32 * 4);
  launch(load_all_forms, Grid{1}, 32, shared_total<bf16>(32 * 8), nullptr, out.data());
  for (int form = 0; form < 4; ++form) {
    for (int l = 0; l < 32; ++l) {
      for (int j = 0; j < (form < 2 ? 4 : 2); ++j) {
        const auto element = [j](int row, int column) { return static_cast<uint32_t>(j * 64 + row * 8 + column); };
        const int g = l / 4, t = l % 4;
        const uint32_t expected = form % 2 == 0 ? element(g, 2 * t) | element(g, 2 * t + 1) << 16
                                                : element(2 * t, g) | element(2 * t + 1, g) << 16;
        REQUIRE(out[(form * 32 + l) * 4 + j] == expected);
      }
    }
  }
}

DSV4_KERNEL(32) copy_in_two_groups(const uint32_t* in, uint32_t* out) {
  SharedMemory shared;
  const Shared<uint32_t> s = shared.take<uint32_t>(2 * 32 * 4);
  copy_async16(s, lane() * 4, in + lane() * 4);
  copy_async_commit();
  copy_async16(s, 128 + lane() * 4, in + 128 + lane() * 4, lane() % 2 == 0);
  copy_async_commit();
  copy_async_wait<1>();
  for (int i = 0; i < 4; ++i) out[lane() * 4 + i] = s[lane() * 4 + i];
  copy_async_wait<0>();
  for (int i = 0; i < 4; ++i) out[128 + lane() * 4 + i] = s[128 + lane() * 4 + i];
}

TEST_CASE("asynchronous copies are there when they were waited for, and zero what is not valid") {
  alignas(16) static uint32_t in[256];
  std::iota(in, in + 256, 1u);
  std::vector<uint32_t> out(256);
  launch(copy_in_two_groups, Grid{1}, 32, shared_total<uint32_t>(256), nullptr, in, out.data());
  for (uint32_t i = 0; i < 256; ++i) REQUIRE(out[i] == (i >= 128 && i / 4 % 2 == 1 ? 0u : i + 1));
}

DSV4_KERNEL(kThreads) leave_early(int* out) {
  if (threadIdx.x >= 32) return;
  __syncwarp();
  out[threadIdx.x] = sum_of_warp(1);
}

TEST_CASE("warps that return leave the others alone") {
  std::vector<int> out(32);
  launch(leave_early, Grid{1}, kThreads, 0, nullptr, out.data());
  for (const int n : out) REQUIRE(n == 32);
}

TEST_CASE("a kernel without barriers is not switched, and one with them little") {
  const int64_t before = simt::counters().switches;
  std::vector<int> out(kThreads);
  launch(number_everything, Grid{1}, kThreads, 0, nullptr, out.data());
  CHECK(simt::counters().switches - before == 2);  // into the block and out of it
  std::vector<int> row(kThreads);
  launch(reverse, Grid{1}, kThreads, shared_total<int>(kThreads), nullptr, row.data(), 1);
  CHECK(simt::counters().switches - before < 4 + 3 * kThreads);
}

// --------------------------------------------------------------------------------------------- what is found and named

DSV4_KERNEL(kThreads) write_behind(int at) {
  SharedMemory shared;
  const Shared<int> s = shared.take<int>(8);
  const Shared<int> other = shared.take<int>(8);
  other[0] = 1;
  s[at] = 1;
}

TEST_CASE("shared memory out of a view's bounds, though it is the block's") {
  CHECK(error_of(write_behind, 32, shared_total<int>(8) * 2, 7) == "");
  const std::string message = error_of(write_behind, 32, shared_total<int>(8) * 2, 8);
  CHECK_SAYS(message,
             "write_behind(int), block (0, 0, 0), thread 0: shared memory out of bounds: elements [8, 9) of a");
  CHECK_SAYS(error_of(write_behind, 32, shared_total<int>(8) * 2, -1), "elements [-1, 0)");
}

DSV4_KERNEL(kThreads) take(int own, int others) {
  SharedMemory shared;
  shared.take<int>(threadIdx.x == 0 ? own : others);
}

TEST_CASE("more shared memory than the launch gave, or another part than the others") {
  CHECK_SAYS(error_of(take, 32, 16, 5, 5), "takes shared memory up to byte 20, the launch gave 16");
  CHECK_SAYS(error_of(take, 32, 64, 4, 8), "thread 1: takes other shared memory than the block's first thread");
}

DSV4_KERNEL(kThreads) read_unwritten(float* out) {
  SharedMemory shared;
  const Shared<bf16> s = shared.take<bf16>(16);
  s[2] = bf16{1};
  __syncthreads();
  out[0] = s.as<float>()[1];  // elements 2 and 3
}

TEST_CASE("shared memory that nobody wrote") {
  float out;
  CHECK_SAYS(error_of(read_unwritten, 32, 32, &out),
             "read before it was written: byte 6 of 32, in a read of 4 bytes at 4");
}

DSV4_KERNEL(32) miss_a_wait(const uint32_t* in, uint32_t* out, bool waits) {
  SharedMemory shared;
  const Shared<uint32_t> s = shared.take<uint32_t>(4);
  if (lane() == 0) {
    for (int i = 0; i < 4; ++i) s[i] = 0;  // an old value is no excuse
    copy_async16(s, 0, in);
    copy_async_commit();
    if (waits) copy_async_wait<0>();
    out[0] = s[1];
  }
}

TEST_CASE("an asynchronous copy that is not waited for") {
  alignas(16) static const uint32_t in[4] = {1, 2, 3, 4};
  uint32_t out = 0;
  CHECK(error_of(miss_a_wait, 32, 16, in, &out, true) == "");
  CHECK(out == 2);
  CHECK_SAYS(error_of(miss_a_wait, 32, 16, in, &out, false), "read before it was written");
  CHECK_SAYS(error_of(miss_a_wait, 32, 16, in + 1, &out, true), "misaligned");
}

enum class Race {
  kNone,
  kReadAfterWrite,
  kWriteAfterRead,
  kWriteAfterWrite,
  kLanes,
  kLanesInOrder,
  kSameValue,
  kHalves
};

DSV4_KERNEL(kThreads) race(Race kind, int* out) {
  SharedMemory shared;
  const Shared<int> s = shared.take<int>(kThreads);
  const int i = static_cast<int>(threadIdx.x);
  const int other = (i + 32) % kThreads;  // of another warp
  if (kind == Race::kHalves) {            // neighbours in a word, of two warps
    s.as<bf16>()[2 * (i % 64) + i / 64] = bf16{static_cast<uint16_t>(i)};
    return;
  }
  s[i] = -i;
  __syncthreads();
  s[i] = i;
  if (kind == Race::kLanesInOrder) __syncwarp();
  if (kind == Race::kLanes || kind == Race::kLanesInOrder) out[i] = s[i ^ 1];
  if (kind != Race::kReadAfterWrite) __syncthreads();
  out[i] = s[other];
  if (kind == Race::kWriteAfterRead) s[i] = 0;
  __syncthreads();
  if (kind == Race::kWriteAfterWrite) s[0] = i;
  if (kind == Race::kSameValue) s[0] = 7;
}

TEST_CASE("races of warps, and of lanes") {
  std::vector<int> out(kThreads);
  const auto error = [&](Race kind) { return error_of(race, kThreads, shared_total<int>(kThreads), kind, out.data()); };
  CHECK(error(Race::kNone) == "");
  CHECK(error(Race::kLanesInOrder) == "");
  CHECK(error(Race::kSameValue) == "");
  CHECK_SAYS(error(Race::kReadAfterWrite), "race in shared memory: bytes [");
  CHECK_SAYS(error(Race::kWriteAfterRead), "race in shared memory: bytes [");
  CHECK_SAYS(error(Race::kWriteAfterWrite), "bytes [0, 4) are written here and written by thread");
  CHECK_SAYS(error(Race::kLanes), "race in shared memory");
  CHECK(error(Race::kHalves) == "");
  simt::checks().races = false;
  CHECK(error(Race::kWriteAfterWrite) == "");
  simt::checks().races = true;
}

// Every thread of the block reads the word that one of them writes next, whichever it is.
DSV4_KERNEL(kThreads) overwrite_what_all_read(int writer, int* out) {
  SharedMemory shared;
  const Shared<int> s = shared.take<int>(1);
  if (threadIdx.x == 0) s[0] = 1;
  __syncthreads();
  out[threadIdx.x] = s[0];
  if (static_cast<int>(threadIdx.x) == writer) s[0] = 2;
}

TEST_CASE("a write over what others read, whoever was the last to read it") {
  std::vector<int> out(kThreads);
  CHECK_SAYS(error_of(overwrite_what_all_read, kThreads, 16, kThreads - 1, out.data()), "race");
  CHECK_SAYS(error_of(overwrite_what_all_read, kThreads, 16, 0, out.data()), "race");
  CHECK_SAYS(error_of(overwrite_what_all_read, kThreads, 16, 40, out.data()), "written here and read by");
  CHECK(error_of(overwrite_what_all_read, kThreads, 16, kThreads, out.data()) == "");
}

DSV4_KERNEL(kThreads) barrier_for_some(int count) {
  if (static_cast<int>(threadIdx.x) < count) __syncthreads();
}

DSV4_KERNEL(kThreads) barriers_of_their_own() {
  if (threadIdx.x < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST_CASE("a barrier that some threads do not come to") {
  CHECK(error_of(barrier_for_some, kThreads, 0, kThreads) == "");
  const std::string message = error_of(barrier_for_some, kThreads, 0, 100);
  CHECK_SAYS(message, "threads wait for each other in vain: 100 threads at __syncthreads (simt_test.cc:");
  CHECK_SAYS(message, "28 have returned");
  CHECK_SAYS(error_of(barriers_of_their_own, kThreads, 0), "thread 64: comes to __syncthreads at simt_test.cc:");
}

DSV4_KERNEL(kThreads) shuffle_for_some(int count, int* out) {
  if (lane() < count) out[lane()] = shuffle(lane(), 0);
}

DSV4_KERNEL(kThreads) two_shuffles(int* out) {
  if (lane() < 16) {
    out[lane()] = shuffle(lane(), 0);
  } else {
    out[lane()] = shuffle(lane(), 1);
  }
}

DSV4_KERNEL(kThreads) shuffle_against_barrier(int* out) {
  if (lane() == 5) __syncthreads();
  out[lane()] = shuffle(lane(), 0);
}

TEST_CASE("a warp-wide operation that some lanes do not come to") {
  std::vector<int> out(32);
  CHECK(error_of(shuffle_for_some, 32, 0, 32, out.data()) == "");
  const std::string message = error_of(shuffle_for_some, 32, 0, 31, out.data());
  CHECK_SAYS(message, "31 lanes of warp 0 at shuffle (simt_test.cc:");
  CHECK_SAYS(message, "1 have returned");
  CHECK_SAYS(error_of(two_shuffles, 32, 0, out.data()), "thread 16: comes to shuffle at simt_test.cc:");
  CHECK_SAYS(error_of(shuffle_against_barrier, 32, 0, out.data()), "1 threads at __syncthreads");
}

DSV4_KERNEL(32) ldmatrix_of(int index) {
  SharedMemory shared;
  const Shared<bf16> s = shared.take<bf16>(32 * 8);
  for (int i = lane(); i < 32 * 8; i += 32) s[i] = bf16{0};
  __syncwarp();
  uint32_t r[4];
  load_matrix_x4(r, s, lane() == 31 ? index : 0);
}

TEST_CASE("rows of ldmatrix that are misaligned or out of bounds") {
  CHECK(error_of(ldmatrix_of, 32, 512, 31 * 8) == "");
  CHECK_SAYS(error_of(ldmatrix_of, 32, 512, 4), "ldmatrix: a row begins at byte 8");
  CHECK_SAYS(error_of(ldmatrix_of, 32, 512, 32 * 8 - 4), "out of bounds: elements [252, 260)");
}

DSV4_KERNEL(32) touch(int* p) { *p = 1; }

DSV4_KERNEL(32) deep(int* out) {
  volatile unsigned char much[512 * 1024];
  for (int i = 0; i < 512 * 1024; i += 1024) much[i] = 1;
  out[0] = much[1024];
}

TEST_CASE("bad addresses, and more stack than there is") {
  int out = 0;
  const std::string message = error_of(touch, 32, 0, reinterpret_cast<int*>(uintptr_t{64}));
  CHECK_SAYS(message, "touch(int*), block (0, 0, 0), thread 0: bad address 0x40");
  CHECK_SAYS(error_of(deep, 32, 0, &out), "the stack overflows");
  CHECK(error_of(touch, 32, 0, &out) == "");  // and the executor goes on
  CHECK(out == 1);
}

DSV4_KERNEL(kThreads) fail_in_one_block(int* done) {
  SharedMemory shared;
  const Shared<int> s = shared.take<int>(1);
  if (threadIdx.x == 0) s[0] = 0;
  __syncthreads();
  if (blockIdx.x == 2) s[1] = 0;
  __syncthreads();
  if (threadIdx.x == 0) ++*done;
}

TEST_CASE("an error ends the launch at its block") {
  int done = 0;
  std::string message;
  try {
    launch(fail_in_one_block, Grid{4, 1, 1}, kThreads, 16, nullptr, &done);
  } catch (const simt::SimtError& e) {
    message = e.what();
  }
  CHECK_SAYS(message, "block (2, 0, 0), thread");
  CHECK(done == 2);
}

}  // namespace
}  // namespace dsv4::cuda
