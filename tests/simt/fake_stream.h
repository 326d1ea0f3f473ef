// Streams, events and graphs of the fake runtime. A stream's work runs when it is queued, or, deferred, when somebody
// waits for it, which shows a host that does not. Recording a stream keeps its work in a graph, with the arguments that
// it was given.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace dsv4::simt {

using Work = std::function<void()>;

// One recording: the stream it began in, and those that an event brought into it.
struct Recording {
  cudaStream_t origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  std::vector<Work> work;
  std::set<cudaStream_t> joined;  // by an event of the recording; each has to be waited for before its end
  bool invalid = false;
};

// What an event marks; the event may be destroyed while it is still to be reached.
struct Mark {
  cudaStream_t stream = nullptr;
  bool reached = true;
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<Recording> recording;  // of the stream when it was recorded
};

}  // namespace dsv4::simt

// CUDA's handles are pointers to these.
struct CUstream_st {
  std::deque<dsv4::simt::Work> queue;
  std::shared_ptr<dsv4::simt::Recording> recording;
};

struct CUevent_st {
  std::shared_ptr<dsv4::simt::Mark> mark;  // none before it is recorded
  bool timed = true;
};

struct CUgraph_st {
  std::vector<dsv4::simt::Work> work;
};

struct CUgraphExec_st {
  std::shared_ptr<const std::vector<dsv4::simt::Work>> work;
};

namespace dsv4::simt {

class FakeStreams {
 public:
  cudaStream_t make();
  bool destroy(cudaStream_t stream);
  // The stream of a handle (nullptr: the default stream), or nullptr for one that does not exist.
  cudaStream_t find(cudaStream_t stream);
  size_t size() const { return streams_.size(); }

  // Runs, queues or records it.
  cudaError_t queue(cudaStream_t stream, bool deferred, Work work);
  // Runs what is queued. The first exception of a piece of work drops the rest of its stream.
  void drain(cudaStream_t stream);
  void drain_all();
  bool idle() const;                  // nothing is queued anywhere
  void advance(cudaStream_t stream);  // one piece of work
  void reach(const std::shared_ptr<Mark>& mark);

  // A call that must not be made while a stream records: the recording is spoilt, and the call fails.
  cudaError_t forbid_recording();
  cudaError_t begin(cudaStream_t stream, cudaStreamCaptureMode mode);
  cudaError_t end(cudaStream_t stream, std::unique_ptr<CUgraph_st>* graph);
  cudaError_t record(cudaEvent_t event, cudaStream_t stream, bool deferred);
  cudaError_t wait(cudaStream_t stream, cudaEvent_t event, bool deferred);

 private:
  CUstream_st default_;
  std::set<cudaStream_t> streams_;
};

}  // namespace dsv4::simt
