#include "backends/cuda/cuda_graphs.h"

#include <algorithm>

namespace dsv4::cuda {
namespace {

// A graph under construction. Its capture is ended whatever happens: a stream left in capture answers nothing else.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a step");
    open_ = true;
  }
  ~Capture() {
    if (open_) {
      if (cudaStreamEndCapture(stream_, &graph_) != cudaSuccess) cudaGetLastError();
    }
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraph_t finish() {
    open_ = false;
    check(cudaStreamEndCapture(stream_, &graph_), "recording a step");
    return graph_;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  bool open_ = false;
};

}  // namespace

void Graphs::clear() {
  for (Entry& entry : entries_) {
    if (entry.graph != nullptr && cudaGraphExecDestroy(entry.graph) != cudaSuccess) cudaGetLastError();
  }
  entries_.clear();
}

Graphs::Entry& Graphs::find(uint64_t key) {
  const auto known = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  if (known != entries_.end()) return *known;
  if (entries_.size() < kMost) {
    entries_.push_back({key});
    return entries_.back();
  }
  Entry& oldest = *std::min_element(entries_.begin(), entries_.end(),
                                    [](const Entry& a, const Entry& b) { return a.last_used < b.last_used; });
  if (oldest.graph != nullptr && cudaGraphExecDestroy(oldest.graph) != cudaSuccess) cudaGetLastError();
  oldest = {key};
  return oldest;
}

cudaGraphExec_t Graphs::record(const Gpu& gpu, const std::function<void()>& body) {
  struct Flag {
    bool& on;
    ~Flag() { on = false; }
  } flag{recording_};
  Capture capture(gpu.stream());
  recording_ = true;
  body();
  cudaGraphExec_t exec = nullptr;
  check(cudaGraphInstantiate(&exec, capture.finish(), 0), "preparing a recorded step");
  return exec;
}

void Graphs::run(const Gpu& gpu, uint64_t key, const std::function<void()>& body) {
  Entry& entry = find(key);
  entry.last_used = ++clock_;
  if (!entry.warm) {
    body();
    entry.warm = true;
    return;
  }
  if (entry.graph == nullptr) {
    entry.graph = record(gpu, body);
  } else {
    ++replays_;
  }
  check(cudaGraphLaunch(entry.graph, gpu.stream()), "replaying a step");
}

}  // namespace dsv4::cuda
