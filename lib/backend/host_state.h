// The state of one sequence in host memory, in the model's own format: for every backend whose memory is the host's.
//
// Per layer: a ring of window rows; compressed rows and index rows, by entry; and for each compressor a *tail*, the raw
// k and z of the newest tokens, out of which unfinished groups are completed later.
//
// A step must leave no trace until it is committed. The window ring has room for a whole step beside the window, and
// entries past the last finished one are never read, so both are simply written. The tail is a small ring: a step of
// up to kRollback rows fits beside what is needed; a longer one writes a second, staged copy, which commit() swaps in.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/base/kv_row.h"

namespace dsv4 {

// Raw F32 rows [k | z] of the newest tokens of one compressor.
class Tail {
 public:
  void init(float* memory, int64_t span, int64_t width);
  static int64_t floats(int64_t span, int64_t width) { return 2 * (span + kRollback) * 2 * width; }

  int64_t width() const { return width_; }
  // Row of an already committed position (among the newest `span` of them).
  const float* k(int64_t position) const { return active_ + slot(position) * 2 * width_; }
  const float* z(int64_t position) const { return k(position) + width_; }
  // Takes the step's rows: position .. position + rows - 1. Call after the groups they finish have been read.
  void store(int64_t position, const Mat& k, const Mat& z);
  void commit();

 private:
  int64_t slot(int64_t position) const { return position % capacity_; }
  void put(float* ring, int64_t position, const float* k, const float* z);

  float* active_ = nullptr;
  float* staged_ = nullptr;
  bool has_staged_ = false;
  int64_t span_ = 0;      // positions that unfinished groups can reach back to
  int64_t capacity_ = 0;  // span + kRollback
  int64_t width_ = 0;     // of k, and of z
};

struct HostLayer {
  LayerShape shape;
  KvRowLayout kv;
  IndexRowLayout index;
  int64_t ring = 0;        // window rows the ring holds
  int64_t entries = 0;     // compressed rows there is room for
  uint8_t* window = nullptr;
  uint8_t* compressed = nullptr;
  uint8_t* index_rows = nullptr;
  Tail tail;               // of the compressor
  Tail index_tail;         // of the indexer's compressor

  uint8_t* window_row(int64_t position) const { return window + position % ring * kv.stride(); }
  uint8_t* compressed_row(int64_t entry) const { return compressed + entry * kv.stride(); }
  uint8_t* index_row(int64_t entry) const { return index_rows + entry * index.stride(); }
};

class HostState final : public SequenceState {
 public:
  explicit HostState(const StateShape& shape);  // Error kOutOfMemoryHost
  ~HostState() override;
  static size_t bytes_for(const StateShape& shape);

  size_t bytes() const override { return bytes_; }
  void export_rows(int layer, StateRows which, int64_t first, int64_t count, uint8_t* out) const override;

  HostLayer& layer(int i) { return layers_[static_cast<size_t>(i)]; }
  const HostLayer& layer(int i) const { return layers_[static_cast<size_t>(i)]; }
  // The residual row of the newest committed position, and where a step puts its own last one.
  bf16* carried() { return carry_[carry_active_]; }
  bf16* carry_next() {
    carry_written_ = true;
    return carry_[1 - carry_active_];
  }
  void commit();

 private:
  std::vector<HostLayer> layers_;
  uint8_t* memory_ = nullptr;
  size_t bytes_ = 0;
  bf16* carry_[2] = {nullptr, nullptr};
  int carry_active_ = 0;
  bool carry_written_ = false;
};

inline HostState& host_state(const Run& run) { return static_cast<HostState&>(*run.state); }

}  // namespace dsv4
