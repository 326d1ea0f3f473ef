// The fake runtime: memory, streams and graphs behave as the real one's, and tests can make them fail.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cuda/device.cuh"
#include "lib/base/error.h"
#include "tests/simt/fake_cuda.h"

namespace dsv4::cuda {
namespace {

#define CHECK_SAYS(message, part) CHECK_MESSAGE((message).find(part) != std::string::npos, (message))

DSV4_KERNEL(32) add(int* p, int v) { p[threadIdx.x] += v; }
DSV4_KERNEL(32) read_at(const int* p, int64_t i, int* out) { out[0] = p[i]; }

// A stream, and 32 ints on the device and in page-locked memory.
struct Scene {
  explicit Scene(bool deferred = false, bool strict = false) {
    simt::reset_fake_cuda();
    simt::fake_device().deferred = deferred;
    simt::fake_device().strict = strict;
    REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(cudaMalloc(reinterpret_cast<void**>(&device), kBytes) == cudaSuccess);
    REQUIRE(cudaMallocHost(reinterpret_cast<void**>(&host), kBytes) == cudaSuccess);
  }
  ~Scene() {
    cudaFree(device);
    cudaFreeHost(host);
    cudaStreamDestroy(stream);
    CHECK(simt::unreleased() == "");
    simt::reset_fake_cuda();
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  cudaError_t clear() { return cudaMemsetAsync(device, 0, kBytes, stream); }
  cudaError_t fetch() { return cudaMemcpyAsync(host, device, kBytes, cudaMemcpyDeviceToHost, stream); }
  cudaError_t send() { return cudaMemcpyAsync(device, host, kBytes, cudaMemcpyHostToDevice, stream); }

  static constexpr size_t kBytes = 32 * sizeof(int);
  cudaStream_t stream = nullptr;
  int* device = nullptr;
  int* host = nullptr;
};

TEST_CASE("device memory: poisoned, counted, limited, and with an end") {
  Scene s;
  REQUIRE(s.fetch() == cudaSuccess);
  CHECK(s.host[0] == -1);
  CHECK(simt::device_bytes() == Scene::kBytes);
  size_t free = 0, total = 0;
  simt::fake_device().memory = 1000;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(total - free == Scene::kBytes);
  void* p = nullptr;
  CHECK(cudaMalloc(&p, free + 1) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
  REQUIRE(cudaMalloc(&p, free) == cudaSuccess);
  CHECK(simt::unreleased() == "2 device blocks (1000 bytes), 1 page-locked blocks, 1 streams");
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaFree(p) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);

  std::string message;
  try {
    launch(read_at, Grid{}, 32, 0, s.stream, s.device, 33, s.host);
  } catch (const simt::SimtError& e) {
    message = e.what();
  }
  CHECK_SAYS(message, "read_at(int const*, long, int*)");
  CHECK_SAYS(message, "byte 4 behind a device block of 128 bytes");
}

TEST_CASE("copies know where memory lies and how long it is") {
  Scene s;
  int pageable[32];
  CHECK(cudaMemcpyAsync(s.device, pageable, Scene::kBytes, cudaMemcpyDeviceToHost, s.stream) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(s.device, s.host, Scene::kBytes + 1, cudaMemcpyHostToDevice, s.stream) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(s.device + 1, s.host, Scene::kBytes, cudaMemcpyHostToDevice, s.stream) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(s.device, s.host, 0, cudaMemcpyHostToDevice, s.stream) == cudaSuccess);
  REQUIRE(s.clear() == cudaSuccess);
  for (int i = 0; i < 32; ++i) pageable[i] = i;
  // Two columns of four rows, into columns 1 and 2 of a [4, 8].
  REQUIRE(cudaMemcpy2DAsync(s.device + 1, 8 * 4, pageable, 2 * 4, 2 * 4, 4, cudaMemcpyHostToDevice, s.stream) ==
          cudaSuccess);
  REQUIRE(s.fetch() == cudaSuccess);
  for (int i = 0; i < 32; ++i) {
    const int column = i % 8 - 1;
    CHECK(s.host[i] == (column == 0 || column == 1 ? i / 8 * 2 + column : 0));
  }
}

TEST_CASE("deferred work begins when somebody waits for it") {
  Scene s(true);
  int pageable[32] = {};
  REQUIRE(cudaMemcpyAsync(s.device, pageable, Scene::kBytes, cudaMemcpyHostToDevice, s.stream) == cudaSuccess);
  s.host[0] = 5;
  launch(add, Grid{}, 32, 0, s.stream, s.device, 3);
  REQUIRE(s.fetch() == cudaSuccess);
  CHECK(s.host[0] == 5);
  REQUIRE(cudaStreamSynchronize(s.stream) == cudaSuccess);
  CHECK(s.host[0] == 3);

  cudaEvent_t event;
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  launch(add, Grid{}, 32, 0, s.stream, s.device, 3);
  REQUIRE(s.fetch() == cudaSuccess);
  REQUIRE(cudaEventRecord(event, s.stream) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaErrorNotReady);
  CHECK(s.host[0] == 3);
  REQUIRE(cudaEventSynchronize(event) == cudaSuccess);
  CHECK(s.host[0] == 6);
  CHECK(cudaEventQuery(event) == cudaSuccess);

  // Another stream waits for the event, not the host.
  cudaStream_t other;
  REQUIRE(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
  launch(add, Grid{}, 32, 0, s.stream, s.device, 1);
  REQUIRE(cudaEventRecord(event, s.stream) == cudaSuccess);
  REQUIRE(cudaStreamWaitEvent(other, event, 0) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(s.host, s.device, Scene::kBytes, cudaMemcpyDeviceToHost, other) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(s.host[0] == 7);
  REQUIRE(cudaStreamDestroy(other) == cudaSuccess);
  REQUIRE(cudaEventDestroy(event) == cudaSuccess);
}

TEST_CASE("events take the time between them") {
  Scene s;
  cudaEvent_t begin, end;
  REQUIRE(cudaEventCreate(&begin) == cudaSuccess);
  REQUIRE(cudaEventCreate(&end) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorInvalidResourceHandle);
  REQUIRE(cudaEventRecord(begin, s.stream) == cudaSuccess);
  launch(add, Grid{1000}, 32, 0, s.stream, s.device, 1);
  REQUIRE(cudaEventRecord(end, s.stream) == cudaSuccess);
  REQUIRE(cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess);
  CHECK(milliseconds > 0);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
}

TEST_CASE("a recorded graph is replayed on what memory holds then") {
  for (const bool deferred : {false, true}) {
    Scene s(deferred);
    REQUIRE(s.clear() == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(s.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    cudaStreamCaptureStatus status;
    REQUIRE(cudaStreamIsCapturing(s.stream, &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusActive);
    int amount = 2;
    REQUIRE(s.send() == cudaSuccess);
    launch(add, Grid{}, 32, 0, s.stream, s.device, amount);
    REQUIRE(s.fetch() == cudaSuccess);
    amount = 100;  // arguments are those of the recording
    for (int i = 0; i < 32; ++i) s.host[i] = i;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    REQUIRE(cudaStreamEndCapture(s.stream, &graph) == cudaSuccess);
    CHECK(s.host[3] == 3);  // nothing ran yet
    REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
    for (int times = 1; times <= 3; ++times) {
      REQUIRE(cudaGraphLaunch(executable, s.stream) == cudaSuccess);
      REQUIRE(cudaStreamSynchronize(s.stream) == cudaSuccess);
      CHECK(s.host[3] == 3 + 2 * times);
    }
    REQUIRE(cudaGraphExecDestroy(executable) == cudaSuccess);
  }
}

TEST_CASE("another stream joins a recording by an event, and has to come back") {
  for (const bool comes_back : {true, false}) {
    Scene s;
    cudaStream_t other;
    cudaEvent_t fork, join;
    REQUIRE(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(cudaEventCreate(&fork) == cudaSuccess);
    REQUIRE(cudaEventCreate(&join) == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(s.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    REQUIRE(cudaEventRecord(fork, s.stream) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(other, fork, 0) == cudaSuccess);
    launch(add, Grid{}, 32, 0, other, s.device, 1);
    REQUIRE(cudaEventRecord(join, other) == cudaSuccess);
    if (comes_back) REQUIRE(cudaStreamWaitEvent(s.stream, join, 0) == cudaSuccess);
    cudaGraph_t graph;
    CHECK(cudaStreamEndCapture(s.stream, &graph) == (comes_back ? cudaSuccess : cudaErrorStreamCaptureUnjoined));
    CHECK((graph != nullptr) == comes_back);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaEventDestroy(fork);
    cudaEventDestroy(join);
    cudaStreamDestroy(other);
  }
}

TEST_CASE("what must not be done while a stream records spoils the recording") {
  Scene s;
  const auto spoils = [&](const auto& what) {
    REQUIRE(cudaStreamBeginCapture(s.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(what() == cudaErrorStreamCaptureUnsupported);
    CHECK(s.clear() == cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph;
    CHECK(cudaStreamEndCapture(s.stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
    CHECK(s.clear() == cudaSuccess);
  };
  void* p = nullptr;
  int pageable[32] = {};
  spoils([&] { return cudaMalloc(&p, 16); });
  spoils([&] { return cudaMallocHost(&p, 16); });
  spoils([&] { return cudaFree(nullptr); });
  spoils([&] { return cudaStreamSynchronize(s.stream); });
  spoils([&] { return cudaDeviceSynchronize(); });
  spoils([&] { return cudaMemcpy(s.host, s.device, Scene::kBytes, cudaMemcpyDeviceToHost); });
  spoils([&] { return cudaMemcpyAsync(s.device, pageable, Scene::kBytes, cudaMemcpyHostToDevice, s.stream); });
}

TEST_CASE("memory that is freed before queued work has run is freed after it") {
  Scene s(true);
  int* more = nullptr;
  REQUIRE(cudaMalloc(reinterpret_cast<void**>(&more), Scene::kBytes) == cudaSuccess);
  REQUIRE(cudaMemsetAsync(more, 0, Scene::kBytes, s.stream) == cudaSuccess);
  launch(add, Grid{}, 32, 0, s.stream, more, 4);
  REQUIRE(cudaMemcpyAsync(s.host, more, Scene::kBytes, cudaMemcpyDeviceToHost, s.stream) == cudaSuccess);
  REQUIRE(cudaFree(more) == cudaSuccess);
  CHECK(s.host[31] == 4);
}

TEST_CASE("a kernel's error that shows late is thrown where the host waits") {
  Scene s(true);
  launch(read_at, Grid{}, 32, 0, s.stream, s.device, 1000000, s.host);
  launch(add, Grid{}, 32, 0, s.stream, s.device, 1);
  SUBCASE("") { CHECK_THROWS_AS(cudaStreamSynchronize(s.stream), simt::SimtError); }
  SUBCASE("after a call that does not throw") {
    CHECK(cudaFree(nullptr) == cudaSuccess);
    CHECK_THROWS_AS(cudaStreamSynchronize(s.stream), simt::SimtError);
  }
  CHECK(cudaStreamSynchronize(s.stream) == cudaSuccess);
}

DSV4_KERNEL(32) copy_first(const int* from, int* to) { to[0] = from[0]; }

// Reads device memory as a host must not: a kernel's trap shows it, since to the executor both are memory of the
// process.
std::string host_reads(const int* p) {
  int value = 0;
  simt::Launch host;
  struct Arguments {
    const int* p;
    int* out;
  } arguments{p, &value};
  host.kernel = reinterpret_cast<const void*>(&copy_first);
  host.thread = [](const void* a) {
    const auto* both = static_cast<const Arguments*>(a);
    copy_first(both->p, both->out);
  };
  host.arguments = &arguments;
  host.grid = {1, 1, 1};
  host.threads = 32;
  try {
    simt::run(host);  // not through the runtime, which would open the device
  } catch (const simt::SimtError& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("a strict device is closed to the host") {
  {
    Scene s;
    CHECK(host_reads(s.device) == "");
  }
  Scene s(false, true);
  REQUIRE(s.clear() == cudaSuccess);
  CHECK_SAYS(host_reads(s.device + 1), "byte 4 of a device block of 128 bytes");
  launch(add, Grid{}, 32, 0, s.stream, s.device, 9);
  REQUIRE(s.fetch() == cudaSuccess);
  CHECK(s.host[0] == 9);
  CHECK_SAYS(host_reads(s.device + 1), "byte 4 of a device block of 128 bytes");
}

TEST_CASE("the nth call fails, of any function or of one") {
  Scene s;
  simt::fail_call(2, cudaErrorLaunchFailure);
  CHECK(s.clear() == cudaSuccess);
  CHECK(s.clear() == cudaErrorLaunchFailure);
  CHECK(s.clear() == cudaSuccess);
  simt::fail_call(2, cudaErrorMemoryAllocation, "cudaMalloc");
  void* p = nullptr;
  CHECK(s.clear() == cudaSuccess);
  CHECK(cudaMalloc(&p, 16) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaMalloc(&p, 16) == cudaErrorMemoryAllocation);
  simt::fail_call(1, cudaErrorInvalidValue, "cudaLaunchKernel", true);
  for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(launch(add, Grid{}, 32, 0, s.stream, s.device, 1), Error);
  CHECK(simt::calls("cudaLaunchKernel") == 2);
  simt::fail_call(0, cudaSuccess);
  launch(add, Grid{}, 32, 0, s.stream, s.device, 1);
  CHECK(simt::calls("cudaLaunchKernel") == 3);
  CHECK(simt::calls() > 8);
}

TEST_CASE("a call that fails while it releases has released") {
  Scene s;
  void* p = nullptr;
  REQUIRE(cudaMalloc(&p, 16) == cudaSuccess);
  simt::fail_call(1, cudaErrorLaunchFailure);
  CHECK(cudaFree(p) == cudaErrorLaunchFailure);
  CHECK(simt::device_bytes() == Scene::kBytes);
  REQUIRE(cudaStreamBeginCapture(s.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  simt::fail_call(1, cudaErrorLaunchFailure);
  cudaGraph_t graph;
  CHECK(cudaStreamEndCapture(s.stream, &graph) == cudaErrorLaunchFailure);
  CHECK(graph == nullptr);
  CHECK(s.clear() == cudaSuccess);  // not recorded
}

TEST_CASE("a lost device answers everything with its error") {
  Scene s;
  simt::lose_device(cudaErrorIllegalAddress);
  CHECK(s.clear() == cudaErrorIllegalAddress);
  CHECK(cudaStreamSynchronize(s.stream) == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
}

TEST_CASE("launches that a device refuses") {
  Scene s;
  CHECK_THROWS_AS(launch(add, Grid{0}, 32, 0, s.stream, s.device, 1), Error);
  CHECK_THROWS_AS(launch(add, Grid{1, 65536}, 32, 0, s.stream, s.device, 1), Error);
  CHECK_THROWS_AS(launch(add, Grid{1}, 2048, 0, s.stream, s.device, 1), Error);
  CHECK_THROWS_AS(launch(add, Grid{1}, 32, 228 * 1024, s.stream, s.device, 1), Error);
  CHECK_THROWS_AS(launch(add, Grid{1}, 33, 0, s.stream, s.device, 1), simt::SimtError);
}

}  // namespace
}  // namespace dsv4::cuda
