// Weights and working memory on the device, and the way there from the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/cuda/cuda_state.h"
#include "backends/cuda/gpu.h"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

// Memory of Backend::allocate().
class CudaMemory final : public Memory {
 public:
  CudaMemory(const Gpu& gpu, size_t bytes) : buffer_(gpu, bytes, "working memory") {}
  void* data() override { return buffer_.as<void>(); }
  size_t size() const override { return buffer_.size(); }

 private:
  DeviceBuffer buffer_;
};

// Host memory to the device and back, through page-locked pieces: the host fills one while the others are on their way.
class Staging {
 public:
  explicit Staging(const Gpu& gpu);
  // Rows of `row_bytes`, dense on the host, `pitch` bytes apart on the device. Queued; `from` may go at once.
  void to_device(void* to, size_t pitch, const void* from, size_t row_bytes, size_t rows);
  // Waits for everything queued.
  void to_host(void* to, const void* from, size_t pitch, size_t row_bytes, size_t rows);

 private:
  static constexpr size_t kPieces = 4;
  static constexpr size_t kPieceBytes = size_t{4} << 20;
  struct Piece {
    PinnedBuffer memory;
    Event done;
  };
  Piece& next();  // free to be written

  const Gpu& gpu_;
  Piece pieces_[kPieces];
  size_t turn_ = 0;
};

// What prepare() has put on the device. Tensors lie one after the other in a few large blocks.
class WeightMemory {
 public:
  explicit WeightMemory(const Gpu& gpu) : gpu_(gpu) {}
  // Takes room for tensors of so many bytes together. kOutOfMemoryDevice says how many bytes are missing.
  void expect(uint64_t bytes);
  Weight put(const HostTensor& tensor, Staging& staging);

 private:
  uint8_t* take(size_t bytes);

  const Gpu& gpu_;
  std::vector<DeviceBuffer> blocks_;
  size_t used_ = 0;  // of the last block
};

}  // namespace dsv4::cuda
