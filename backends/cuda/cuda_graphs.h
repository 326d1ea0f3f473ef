// Recorded steps. A decode step is some hundred small kernels, and queueing them one by one would take longer than they
// run: a step that comes again (same key: same verbs on same shapes) is recorded as a CUDA graph and replayed. What
// differs between two such steps (token ids, positions, states) lies in device memory and is not part of the graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "backends/cuda/gpu.h"

namespace dsv4::cuda {

class Graphs {
 public:
  Graphs() = default;
  ~Graphs() { clear(); }
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  // The first time body() runs as it is, so that everything a verb makes when it first meets a weight is there; the
  // second time it is recorded; from then on replayed. What body() throws ends a recording and comes out.
  void run(const Gpu& gpu, uint64_t key, const std::function<void()>& body);
  void clear();  // recorded steps may name memory that has moved

  bool recording() const { return recording_; }
  uint64_t replays() const { return replays_; }

 private:
  static constexpr size_t kMost = 64;
  struct Entry {
    uint64_t key = 0;
    uint64_t last_used = 0;
    bool warm = false;  // has run as it is
    cudaGraphExec_t graph = nullptr;
  };
  Entry& find(uint64_t key);
  cudaGraphExec_t record(const Gpu& gpu, const std::function<void()>& body);

  std::vector<Entry> entries_;
  uint64_t clock_ = 0;
  uint64_t replays_ = 0;
  bool recording_ = false;
};

}  // namespace dsv4::cuda
