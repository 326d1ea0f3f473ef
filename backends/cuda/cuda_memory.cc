#include "backends/cuda/cuda_memory.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"

namespace dsv4::cuda {
namespace {

constexpr size_t kAlign = 256;                    // of a tensor: whole cache lines, and vector loads of any width
constexpr size_t kBlockBytes = size_t{64} << 20;  // taken at once where nobody said how much will come
constexpr size_t kTensors = size_t{1} << 17;      // that may each be rounded up to kAlign, at most; Flash has 69,187

size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

size_t scale_bytes(const Weight& w) {
  if (w.dtype == DType::kF8E4M3) return static_cast<size_t>((w.rows + 127) / 128 * w.scale_cols);
  if (w.dtype == DType::kFP4) return static_cast<size_t>(w.rows * w.scale_cols);
  return 0;
}

}  // namespace

Staging::Staging(const Gpu& gpu) : gpu_(gpu) {
  for (Piece& piece : pieces_) piece.memory = PinnedBuffer(kPieceBytes, "staging");
}

Staging::Piece& Staging::next() {
  Piece& piece = pieces_[turn_++ % kPieces];
  piece.done.wait();
  return piece;
}

void Staging::to_device(void* to, size_t pitch, const void* from, size_t row_bytes, size_t rows) {
  if (pitch == row_bytes) {  // one long row
    row_bytes *= rows;
    pitch = row_bytes;
    rows = 1;
  }
  const auto* in = static_cast<const uint8_t*>(from);
  for (size_t row = 0; row < rows; ++row) {
    uint8_t* out = static_cast<uint8_t*>(to) + row * pitch;
    for (size_t at = 0; at < row_bytes; at += kPieceBytes) {
      const size_t bytes = std::min(kPieceBytes, row_bytes - at);
      Piece& piece = next();
      std::memcpy(piece.memory.as<void>(), in, bytes);
      check(cudaMemcpyAsync(out + at, piece.memory.as<void>(), bytes, cudaMemcpyHostToDevice, gpu_.stream()),
            "copying to the device");
      piece.done.record(gpu_);
      in += bytes;
    }
  }
}

void Staging::to_host(void* to, const void* from, size_t pitch, size_t row_bytes, size_t rows) {
  if (pitch == row_bytes) {
    row_bytes *= rows;
    rows = 1;
  }
  auto* out = static_cast<uint8_t*>(to);
  for (size_t row = 0; row < rows; ++row) {
    const uint8_t* in = static_cast<const uint8_t*>(from) + row * pitch;
    for (size_t at = 0; at < row_bytes; at += kPieceBytes) {
      const size_t bytes = std::min(kPieceBytes, row_bytes - at);
      Piece& piece = next();
      check(cudaMemcpyAsync(piece.memory.as<void>(), in + at, bytes, cudaMemcpyDeviceToHost, gpu_.stream()),
            "copying from the device");
      gpu_.synchronize();
      std::memcpy(out, piece.memory.as<void>(), bytes);
      out += bytes;
    }
  }
}

void WeightMemory::expect(uint64_t bytes) {
  const size_t needed = static_cast<size_t>(bytes) + kTensors * kAlign;
  const size_t free = gpu_.free_bytes();
  const size_t allowed =
      gpu_.limit() == 0 ? free : std::min(free, gpu_.limit() - std::min(gpu_.limit(), gpu_.used_bytes()));
  if (needed > allowed) {
    fail(
        Status::kOutOfMemoryDevice,
        "cuda: the weights take {} bytes, and {} has {} bytes free{}: {} bytes are missing (backend \"cpu\" works from "
        "host memory)",
        needed, gpu_.name(), allowed, allowed < free ? " under device_memory_limit" : "", needed - allowed);
  }
  blocks_.push_back(DeviceBuffer(gpu_, needed, "weights", DeviceBuffer::kUninitialised));
  used_ = 0;
}

uint8_t* WeightMemory::take(size_t bytes) {
  bytes = aligned(bytes);
  if (blocks_.empty() || blocks_.back().size() - used_ < bytes) {
    blocks_.push_back(DeviceBuffer(gpu_, std::max(bytes, kBlockBytes), "weights", DeviceBuffer::kUninitialised));
    used_ = 0;
  }
  uint8_t* at = blocks_.back().as<uint8_t>() + used_;
  used_ += bytes;
  return at;
}

Weight WeightMemory::put(const HostTensor& tensor, Staging& staging) {
  Weight w;
  w.dtype = tensor.dtype;
  w.rows = tensor.rows;
  w.cols = tensor.cols;
  if (w.dtype == DType::kF8E4M3) w.scale_cols = (w.cols + 127) / 128;
  if (w.dtype == DType::kFP4) w.scale_cols = (w.cols + 31) / 32;
  const auto bytes = static_cast<size_t>(w.rows * w.cols * dtype_bits(w.dtype) / 8);
  uint8_t* data = take(std::max<size_t>(bytes, 1));
  staging.to_device(data, bytes, tensor.data, bytes, 1);
  w.data = data;
  if (const size_t scales = scale_bytes(w); scales != 0) {
    uint8_t* scale = take(scales);
    staging.to_device(scale, scales, tensor.scale, scales, 1);
    w.scale = scale;
  }
  return w;
}

}  // namespace dsv4::cuda
