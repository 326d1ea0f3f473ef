// The state of one sequence in device memory: the layout and the rules of lib/backend/host_state.h, so that a snapshot
// moves between machines, and the table through which kernels find the states of a step's rows.
//
// One allocation per state: descriptions of the layers, windows, tails and residual rows (zeroed when it is made), then
// compressed and index rows, which a long context has gigabytes of and which are never read before they are written.
// What a step changes beside rows (which half of a ring is the live one) lies on the device too: a recorded step is
// replayed without the host's help, and commit() is a kernel.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/cuda/gpu.h"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

// ------------------------------------------------------------------------------------------------ what kernels see

struct RingFlags {
  int32_t active = 0;  // the half that is read
  int32_t staged = 0;  // 1: the step has written the other half, which commit() makes the active one
};

// Rows of the newest positions: position p is row p % capacity of a half.
struct DeviceRing {
  uint8_t* rows = nullptr;  // [2, capacity, row_bytes]
  RingFlags* flags = nullptr;
  int32_t capacity = 0;
  int32_t row_bytes = 0;
};

struct DeviceLayer {
  uint8_t* window = nullptr;      // [ring, kv_stride], by position % ring
  uint8_t* compressed = nullptr;  // [entries, kv_stride]
  uint8_t* index_rows = nullptr;  // [entries, index_stride]
  DeviceRing tail;                // rows [k | z], F32
  DeviceRing index_tail;
  int32_t ring = 0;
  int32_t entries = 0;
  int32_t ratio = 0;
  int32_t nope = 0;  // dims of a row in E4M3; then `rope` dims in BF16 (lib/base/kv_row.h)
  int32_t rope = 0;
  int32_t kv_stride = 0;
  int32_t index_stride = 0;
};

// A row of the step: whose it is and where it stands. Its run is the rows [first_row, first_row + run_rows).
struct DeviceRow {
  const DeviceLayer* layers = nullptr;  // null: of no sequence
  const DeviceRing* carry = nullptr;
  int32_t position = 0;
  int32_t first_row = 0;
  int32_t run_rows = 0;
  int32_t unused = 0;
};

struct DeviceStep {
  const DeviceRow* rows = nullptr;  // [Limits::rows]; stays where it is from one reserve() to the next
};

// --------------------------------------------------------------------------------------------------- the host's side

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const Gpu& gpu);
  void wait() const;  // returns at once if it was never recorded

 private:
  cudaEvent_t event_ = nullptr;
};

// Rows between host and device through two page-locked pieces: while one is copied, the host packs or unpacks the
// other.
class StateTransfer {
 public:
  explicit StateTransfer(const Gpu& gpu);
  // `count` rows, `stride` bytes apart on the device and dense on the host. Both return when the copy is done.
  void to_host(uint8_t* out, const uint8_t* rows, int64_t row_bytes, int64_t stride, int64_t count);
  void to_device(uint8_t* rows, const uint8_t* in, int64_t row_bytes, int64_t stride, int64_t count);

 private:
  static constexpr int64_t kPiece = 2 << 20;
  uint8_t* piece(int64_t i) const { return pinned_.as<uint8_t>() + i % 2 * kPiece; }

  const Gpu& gpu_;
  PinnedBuffer pinned_;  // [2, kPiece]
  Event copied_[2];
};

class CudaState final : public SequenceState {
 public:
  // kOutOfMemoryDevice; kUnsupported for shapes that the kernels do not take.
  CudaState(const Gpu& gpu, std::shared_ptr<StateTransfer> transfer, const StateShape& shape);
  static size_t bytes_for(const StateShape& shape);

  size_t bytes() const override { return bytes_; }
  void export_rows(int layer, StateRows which, int64_t first, int64_t count, uint8_t* out) const override;
  void import_rows(int layer, StateRows which, int64_t first, int64_t count, const uint8_t* in) override;

  // In device memory.
  const DeviceLayer* layers() const { return memory_.as<const DeviceLayer>(); }
  const DeviceRing* carry() const { return carry_description_; }
  RingFlags* flags() const { return carry_.flags - 2 * layers_.size(); }
  int32_t rings() const { return 2 * static_cast<int32_t>(layers_.size()) + 1; }

 private:
  // Rows of one kind: `capacity` of them in a ring, by position or entry.
  struct Part {
    uint8_t* rows = nullptr;
    int64_t row_bytes = 0;  // packed
    int64_t stride = 0;
    int64_t capacity = 0;
  };
  Part part(int layer, StateRows which) const;
  template <class Move>
  static void each_piece(const Part& part, int64_t first, int64_t count, Move move);

  const Gpu& gpu_;
  std::shared_ptr<StateTransfer> transfer_;
  StateShape shape_;
  std::vector<DeviceLayer> layers_;  // the host's copy of what layers() points at
  DeviceRing carry_;
  const DeviceRing* carry_description_ = nullptr;  // carry_ on the device
  DeviceBuffer memory_;
  size_t bytes_ = 0;
};

inline CudaState& cuda_state(const Run& run) { return static_cast<CudaState&>(*run.state); }

// The rows of the current step on the device.
class StepTable {
 public:
  void reserve(const Gpu& gpu, const Limits& limits);
  // Makes these the step's runs: copied to the device if they are not there already. The result does not change until
  // reserve() grows. Error kInternal while the stream is being recorded and the runs are others than the current ones.
  const DeviceStep& use(std::span<const Run> runs);
  int64_t rows() const { return capacity_; }

 private:
  struct Known {
    Run run;
    const DeviceLayer* layers = nullptr;  // a state that is gone may have left its address to another
  };
  struct Slot {
    PinnedBuffer rows;
    std::unique_ptr<Event> copied;
  };
  static constexpr size_t kSlots = 8;

  bool is_current(std::span<const Run> runs) const;
  void upload(std::span<const Run> runs);

  const Gpu* gpu_ = nullptr;
  DeviceBuffer table_;  // DeviceRow [capacity_]
  DeviceStep step_;
  Slot slots_[kSlots];
  size_t next_ = 0;
  int64_t capacity_ = 0;
  int64_t covered_ = 0;  // rows of the table that may belong to a run
  std::vector<Known> known_;
};

}  // namespace dsv4::cuda
