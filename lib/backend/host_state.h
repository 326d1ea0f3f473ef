// The state of one sequence in host memory, in the model's own format: for every backend whose memory is the host's.
//
// Per layer: a ring of window rows; compressed rows and index rows, by entry; and for each compressor a *tail*, the raw
// k and z of the newest tokens, out of which unfinished groups are completed later. For the draft head: the newest
// residual rows.
//
// A step must leave no trace until it is committed, and up to kRollback committed positions can be taken back. The
// window ring has room for both beside the window, and entries past the last finished one are never read, so these are
// simply written. Tail and residual rows are small rings with room for kRollback positions to be taken back after a
// step of up to kRollback rows was dropped; a longer step writes a second, staged ring, which commit() swaps in.
// A step that begins before the newest committed position takes the later ones back for good, committed or not.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/base/kv_row.h"

namespace dsv4 {

// Rows of the newest positions of a sequence. `span` is how far back of its first row a step may look.
class RecentRows {
 public:
  static int64_t capacity(int64_t span) { return span + 2 * kRollback; }
  static int64_t bytes(int64_t span, int64_t row_bytes) { return 2 * capacity(span) * row_bytes; }
  void init(uint8_t* memory, int64_t span, int64_t row_bytes);

  // Row of a position before the step: among the newest `span` of them.
  const uint8_t* row(int64_t position) const { return active_ + position % capacity_ * row_bytes_; }
  // Where a step of `rows` rows from `position` puts its own; begin() first. Rows before kept() need not be written.
  void begin(int64_t position, int64_t rows);
  int64_t kept(int64_t end) const { return end > capacity_ ? end - capacity_ : 0; }
  uint8_t* put(int64_t position) { return (has_staged_ ? staged_ : active_) + position % capacity_ * row_bytes_; }
  void commit();

 private:
  uint8_t* active_ = nullptr;
  uint8_t* staged_ = nullptr;
  bool has_staged_ = false;
  int64_t capacity_ = 0;
  int64_t row_bytes_ = 0;
};

// Raw F32 rows [k | z] of the newest tokens of one compressor.
class Tail {
 public:
  static int64_t bytes(int64_t span, int64_t width) { return RecentRows::bytes(span, 8 * width); }
  // `span`: positions that unfinished groups can reach back to; `width`: of k, and of z.
  void init(uint8_t* memory, int64_t span, int64_t width);

  int64_t width() const { return width_; }
  // Row of a position before the step.
  const float* k(int64_t position) const { return reinterpret_cast<const float*>(rows_.row(position)); }
  const float* z(int64_t position) const { return k(position) + width_; }
  const uint8_t* row(int64_t position) const { return rows_.row(position); }
  // Takes the step's rows: position .. position + rows - 1. Call after the groups they finish have been read.
  void store(int64_t position, const Mat& k, const Mat& z);
  void commit() { rows_.commit(); }

 private:
  RecentRows rows_;
  int64_t width_ = 0;
};

struct HostLayer {
  LayerShape shape;
  KvRowLayout kv;
  IndexRowLayout index;
  int64_t ring = 0;     // window rows the ring holds
  int64_t entries = 0;  // compressed rows there is room for
  uint8_t* window = nullptr;
  uint8_t* compressed = nullptr;
  uint8_t* index_rows = nullptr;
  Tail tail;        // of the compressor
  Tail index_tail;  // of the indexer's compressor

  uint8_t* window_row(int64_t position) const { return window + position % ring * kv.stride(); }
  uint8_t* compressed_row(int64_t entry) const { return compressed + entry * kv.stride(); }
  uint8_t* index_row(int64_t entry) const { return index_rows + entry * index.stride(); }
};

class HostState final : public SequenceState {
 public:
  explicit HostState(const StateShape& shape);  // Error kOutOfMemoryHost
  static size_t bytes_for(const StateShape& shape);

  size_t bytes() const override { return bytes_; }
  void export_rows(int layer, StateRows which, int64_t first, int64_t count, uint8_t* out) const override;
  void import_rows(int layer, StateRows which, int64_t first, int64_t count, const uint8_t* in) override;

  HostLayer& layer(int i) { return layers_[static_cast<size_t>(i)]; }
  const HostLayer& layer(int i) const { return layers_[static_cast<size_t>(i)]; }
  // The residual row of a position before the step (the newest, or the newest after a rollback); zeros for -1.
  const bf16* carried(int64_t position) const;
  // Takes the residual rows of a step: X has the rows of this sequence only, from `position` on.
  void store_carry(int64_t position, const Mat& X);
  void commit();

 private:
  const uint8_t* row(int layer, StateRows which, int64_t at) const;
  size_t row_bytes(int layer, StateRows which) const;

  std::vector<HostLayer> layers_;
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
  size_t bytes_ = 0;
  RecentRows carry_;
  int64_t carry_width_ = 0;
  const bf16* no_carry_ = nullptr;  // a row of zeros
};

inline HostState& host_state(const Run& run) { return static_cast<HostState&>(*run.state); }

}  // namespace dsv4
