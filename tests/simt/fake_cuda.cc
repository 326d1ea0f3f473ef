// The functions of cuda_runtime_api.h, by subject. What they have in common: fake_runtime.h.
#include <cuda_runtime_api.h>

#include <memory>
#include <mutex>
#include <vector>

#include "tests/simt/fake_runtime.h"

using dsv4::simt::call;
using dsv4::simt::Copy;
using dsv4::simt::release;
using dsv4::simt::Runtime;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  return call("cudaGetDeviceCount", [&](Runtime& r) {
    *count = 0;
    if (r.device.driver == 0) return cudaErrorInsufficientDriver;
    *count = r.device.devices;
    return r.device.devices == 0 ? cudaErrorNoDevice : cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call("cudaSetDevice", [&](Runtime& r) {
    return device < 0 || device >= r.device.devices ? cudaErrorInvalidDevice : cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return call("cudaGetDevice", [&](Runtime&) {
    *device = 0;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device) {
  return call("cudaDeviceGetAttribute", [&](Runtime& r) {
    if (device < 0 || device >= r.device.devices) return cudaErrorInvalidDevice;
    return dsv4::simt::attribute(r.device, which, value);
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call("cudaGetDeviceProperties", [&](Runtime& r) {
    if (device < 0 || device >= r.device.devices) return cudaErrorInvalidDevice;
    return dsv4::simt::fill_properties(r.device, properties);
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  return call("cudaDriverGetVersion", [&](Runtime& r) {
    *version = r.device.driver;
    return cudaSuccess;
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return call("cudaRuntimeGetVersion", [&](Runtime&) {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute which, int value) {
  return call("cudaFuncSetAttribute", [&](Runtime& r) {
    if (which == cudaFuncAttributeMaxDynamicSharedMemorySize && static_cast<size_t>(value) > r.device.shared_bytes) {
      return cudaErrorInvalidValue;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return call("cudaDeviceSynchronize", [](Runtime& r) {
    const cudaError_t error = r.streams.forbid_recording();
    if (error != cudaSuccess) return error;
    dsv4::simt::drain_all(r);
    dsv4::simt::throw_late(r);
    return cudaSuccess;
  });
}

// --- errors

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  dsv4::simt::last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  Runtime& r = dsv4::simt::runtime();
  const std::lock_guard lock(r.mutex);
  return r.lost != cudaSuccess ? r.lost : dsv4::simt::last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    default: return "an error of the fake runtime";
  }
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

// --- memory

cudaError_t cudaMalloc(void** p, size_t bytes) {
  return call("cudaMalloc", [&](Runtime& r) {
    *p = nullptr;
    const cudaError_t error = r.streams.forbid_recording();
    if (error != cudaSuccess || bytes == 0) return error;
    if (bytes > r.device.memory || r.memory.device_bytes() > r.device.memory - bytes) return cudaErrorMemoryAllocation;
    *p = r.memory.allocate_device(bytes);
    return *p == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaFree(void* p) {
  return release("cudaFree", [&](Runtime& r) {
    const cudaError_t error = r.streams.forbid_recording();
    if (p != nullptr && !r.memory.free_device(p)) return cudaErrorInvalidValue;
    return error;
  });
}

cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  return call("cudaHostAlloc", [&](Runtime& r) {
    *p = nullptr;
    const cudaError_t error = r.streams.forbid_recording();
    if (error != cudaSuccess) return error;
    *p = r.memory.allocate_host(bytes);
    return *p == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  return call("cudaMallocHost", [&](Runtime& r) {
    *p = nullptr;
    const cudaError_t error = r.streams.forbid_recording();
    if (error != cudaSuccess) return error;
    *p = r.memory.allocate_host(bytes);
    return *p == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* p) {
  return release("cudaFreeHost", [&](Runtime& r) {
    const cudaError_t error = r.streams.forbid_recording();
    if (p != nullptr && !r.memory.free_host(p)) return cudaErrorInvalidValue;
    return error;
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return call("cudaMemGetInfo", [&](Runtime& r) {
    *total = r.device.memory;
    *free = r.device.memory - std::min(r.device.memory, r.memory.device_bytes());
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return call("cudaMemcpyAsync", [&](Runtime& r) {
    const Copy copy{static_cast<unsigned char*>(to), bytes, static_cast<const unsigned char*>(from), bytes, bytes, 1};
    return dsv4::simt::queue_copy(r, copy, kind, stream);
  });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t rows,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  return call("cudaMemcpy2DAsync", [&](Runtime& r) {
    const Copy copy{
        static_cast<unsigned char*>(to), to_pitch, static_cast<const unsigned char*>(from), from_pitch, width, rows};
    return dsv4::simt::queue_copy(r, copy, kind, stream);
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return call("cudaMemcpy", [&](Runtime& r) {
    const cudaError_t error = r.streams.forbid_recording();
    if (error != cudaSuccess) return error;
    dsv4::simt::drain_all(r);
    dsv4::simt::throw_late(r);
    const Copy copy{static_cast<unsigned char*>(to), bytes, static_cast<const unsigned char*>(from), bytes, bytes, 1};
    return dsv4::simt::queue_copy(r, copy, kind, nullptr);
  });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return call("cudaMemsetAsync", [&](Runtime& r) { return dsv4::simt::queue_set(r, to, value, bytes, stream); });
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return call("cudaMemset", [&](Runtime& r) {
    const cudaError_t error = r.streams.forbid_recording();
    return error != cudaSuccess ? error : dsv4::simt::queue_set(r, to, value, bytes, nullptr);
  });
}

// --- streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return call("cudaStreamCreateWithFlags", [&](Runtime& r) {
    *stream = r.streams.make();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return release("cudaStreamDestroy",
                 [&](Runtime& r) { return r.streams.destroy(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return call("cudaStreamSynchronize", [&](Runtime& r) {
    const cudaStream_t stream = r.streams.find(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->recording != nullptr) {
      stream->recording->invalid = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    dsv4::simt::drain(r, stream);
    dsv4::simt::throw_late(r);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  return call("cudaStreamWaitEvent", [&](Runtime& r) {
    const cudaStream_t stream = r.streams.find(handle);
    if (stream == nullptr || r.events.count(event) == 0) return cudaErrorInvalidResourceHandle;
    return r.streams.wait(stream, event, r.device.deferred);
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call("cudaEventCreateWithFlags", [&](Runtime& r) {
    *event = new CUevent_st{nullptr, (flags & cudaEventDisableTiming) == 0};
    r.events.insert(*event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return call("cudaEventCreate", [&](Runtime& r) {
    *event = new CUevent_st{nullptr, true};
    r.events.insert(*event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return release("cudaEventDestroy", [&](Runtime& r) {
    if (r.events.erase(event) == 0) return cudaErrorInvalidResourceHandle;
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  return call("cudaEventRecord", [&](Runtime& r) {
    const cudaStream_t stream = r.streams.find(handle);
    if (stream == nullptr || r.events.count(event) == 0) return cudaErrorInvalidResourceHandle;
    return r.streams.record(event, stream, r.device.deferred);
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call("cudaEventSynchronize", [&](Runtime& r) {
    const cudaError_t error = r.streams.forbid_recording();
    if (error != cudaSuccess) return error;
    if (r.events.count(event) == 0) return cudaErrorInvalidResourceHandle;
    if (event->mark != nullptr) r.streams.reach(event->mark);
    dsv4::simt::throw_late(r);
    return cudaSuccess;
  });
}

// Deferred work goes on by one piece a call, so that a host that asks again and again gets there.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call("cudaEventQuery", [&](Runtime& r) {
    const cudaError_t error = r.streams.forbid_recording();
    if (error != cudaSuccess) return error;
    if (r.events.count(event) == 0) return cudaErrorInvalidResourceHandle;
    if (event->mark == nullptr || event->mark->reached) return cudaSuccess;
    r.streams.advance(event->mark->stream);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call("cudaEventElapsedTime", [&](Runtime& r) {
    if (r.events.count(start) == 0 || r.events.count(end) == 0 || !start->timed || !end->timed ||
        start->mark == nullptr || end->mark == nullptr) {
      return cudaErrorInvalidResourceHandle;
    }
    if (!start->mark->reached || !end->mark->reached) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(end->mark->time - start->mark->time).count();
    return cudaSuccess;
  });
}

// --- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return call("cudaStreamBeginCapture", [&](Runtime& r) {
    const cudaStream_t stream = r.streams.find(handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : r.streams.begin(stream, mode);
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  // Ends the recording even where it answers a failure, as a lost device does; then there is no graph.
  std::unique_ptr<CUgraph_st> made;
  const cudaError_t error = release("cudaStreamEndCapture", [&](Runtime& r) {
    const cudaStream_t stream = r.streams.find(handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : r.streams.end(stream, &made);
  });
  *graph = nullptr;
  if (error != cudaSuccess) return error;
  Runtime& r = dsv4::simt::runtime();
  const std::lock_guard lock(r.mutex);
  *graph = *r.graphs.insert(made.release()).first;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return call("cudaStreamIsCapturing", [&](Runtime& r) {
    const cudaStream_t stream = r.streams.find(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    *status = stream->recording == nullptr ? cudaStreamCaptureStatusNone
              : stream->recording->invalid ? cudaStreamCaptureStatusInvalidated
                                           : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return call("cudaGraphInstantiate", [&](Runtime& r) {
    if (r.graphs.count(graph) == 0) return cudaErrorInvalidValue;
    *executable = new CUgraphExec_st{std::make_shared<const std::vector<dsv4::simt::Work>>(graph->work)};
    r.executables.insert(*executable);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return call("cudaGraphLaunch", [&](Runtime& r) {
    if (r.executables.count(executable) == 0) return cudaErrorInvalidValue;
    return dsv4::simt::queue(r, stream, [all = executable->work] {
      for (const dsv4::simt::Work& work : *all) work();
    });
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return release("cudaGraphDestroy", [&](Runtime& r) {
    if (r.graphs.erase(graph) == 0) return cudaErrorInvalidValue;
    delete graph;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return release("cudaGraphExecDestroy", [&](Runtime& r) {
    if (r.executables.erase(executable) == 0) return cudaErrorInvalidValue;
    delete executable;
    return cudaSuccess;
  });
}

}  // extern "C"
