#include "tests/simt/fake_stream.h"

#include <utility>

namespace dsv4::simt {

cudaStream_t FakeStreams::make() {
  auto* stream = new CUstream_st;
  streams_.insert(stream);
  return stream;
}

bool FakeStreams::destroy(cudaStream_t stream) {
  if (streams_.erase(stream) == 0) return false;
  delete stream;
  return true;
}

cudaStream_t FakeStreams::find(cudaStream_t stream) {
  if (stream == nullptr || stream == cudaStreamLegacy) return &default_;
  return streams_.count(stream) > 0 ? stream : nullptr;
}

cudaError_t FakeStreams::queue(cudaStream_t stream, bool deferred, Work work) {
  if (stream->recording != nullptr) {
    if (stream->recording->invalid) return cudaErrorStreamCaptureInvalidated;
    stream->recording->work.push_back(std::move(work));
  } else if (deferred && stream != &default_) {
    stream->queue.push_back(std::move(work));
  } else {
    if (stream == &default_) drain_all();
    work();
  }
  return cudaSuccess;
}

void FakeStreams::advance(cudaStream_t stream) {
  if (stream->queue.empty()) return;
  const Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  try {
    work();
  } catch (...) {
    stream->queue.clear();
    throw;
  }
}

void FakeStreams::drain(cudaStream_t stream) {
  while (!stream->queue.empty()) advance(stream);
}

void FakeStreams::drain_all() {
  for (const cudaStream_t stream : streams_) drain(stream);
}

bool FakeStreams::idle() const {
  for (const cudaStream_t stream : streams_) {
    if (!stream->queue.empty()) return false;
  }
  return true;
}

void FakeStreams::reach(const std::shared_ptr<Mark>& mark) {
  while (!mark->reached && streams_.count(mark->stream) > 0 && !mark->stream->queue.empty()) advance(mark->stream);
}

cudaError_t FakeStreams::forbid_recording() {
  cudaError_t result = cudaSuccess;
  for (const cudaStream_t stream : streams_) {
    const auto& recording = stream->recording;
    if (recording == nullptr || recording->mode == cudaStreamCaptureModeRelaxed) continue;
    if (recording->mode == cudaStreamCaptureModeThreadLocal && recording->thread != std::this_thread::get_id())
      continue;
    recording->invalid = true;
    result = cudaErrorStreamCaptureUnsupported;
  }
  return result;
}

cudaError_t FakeStreams::begin(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream == &default_) return cudaErrorStreamCaptureUnsupported;
  if (stream->recording != nullptr) return cudaErrorIllegalState;
  stream->recording = std::make_shared<Recording>();
  stream->recording->origin = stream;
  stream->recording->mode = mode;
  stream->recording->thread = std::this_thread::get_id();
  return cudaSuccess;
}

cudaError_t FakeStreams::end(cudaStream_t stream, std::unique_ptr<CUgraph_st>* graph) {
  const std::shared_ptr<Recording> recording = stream->recording;
  if (recording == nullptr) return cudaErrorIllegalState;
  if (recording->origin != stream) return cudaErrorStreamCaptureUnmatched;
  if (recording->mode != cudaStreamCaptureModeRelaxed && recording->thread != std::this_thread::get_id()) {
    return cudaErrorStreamCaptureWrongThread;
  }
  bool unjoined = false;
  for (const cudaStream_t other : streams_) {
    if (other->recording != recording) continue;
    if (other != stream && recording->joined.count(other) == 0) unjoined = true;
    other->recording = nullptr;
  }
  if (recording->invalid) return cudaErrorStreamCaptureInvalidated;
  if (unjoined) return cudaErrorStreamCaptureUnjoined;
  *graph = std::make_unique<CUgraph_st>(CUgraph_st{std::move(recording->work)});
  return cudaSuccess;
}

cudaError_t FakeStreams::record(cudaEvent_t event, cudaStream_t stream, bool deferred) {
  const auto mark = std::make_shared<Mark>();
  mark->stream = stream;
  mark->recording = stream->recording;
  event->mark = mark;
  if (stream->recording != nullptr) return stream->recording->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
  mark->reached = false;
  return queue(stream, deferred, [mark] {
    mark->time = std::chrono::steady_clock::now();
    mark->reached = true;
  });
}

cudaError_t FakeStreams::wait(cudaStream_t stream, cudaEvent_t event, bool deferred) {
  const std::shared_ptr<Mark> mark = event->mark;
  if (mark == nullptr) return cudaSuccess;  // never recorded: nothing to wait for
  if (mark->recording != nullptr) {
    // Work after this comes after the event's within the recording: its order is the graph's.
    if (stream->recording != nullptr && stream->recording != mark->recording) return cudaErrorStreamCaptureMerge;
    stream->recording = mark->recording;
    if (stream != mark->stream) mark->recording->joined.insert(mark->stream);
    return cudaSuccess;
  }
  if (stream->recording != nullptr) return cudaErrorStreamCaptureIsolation;
  return queue(stream, deferred, [this, mark] { reach(mark); });
}

}  // namespace dsv4::simt
