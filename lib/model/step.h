// Step: the working memory of one evaluation. Every buffer is a Mat over the rows of the step; a row is a token.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/checkpoint/config.h"

namespace dsv4 {

// Shapes with n = hidden, m = streams, H = heads, d = head_dim. BF16 where nothing else is said.
struct Buffers {
  Mat tokens;     // I32 [rows, 1]
  Mat positions;  // I32 [rows, 1]
  Mat rope[2];    // F32 [rows, rope_dim]: cosines, sines; layers without, and with, a compressor
  Mat X;          // [rows, m * n]          residual streams
  Mat x;          // [rows, n]              input of a sub-layer
  Mat y;          // [rows, n]              its output
  Mat mix;        // F32 [rows, m + m * m]
  Mat qr;         // [rows, q_rank]
  Mat q;          // [rows, H * d]
  Mat kv;         // [rows, d]
  Mat ck, cz;     // F32 [rows, 2 * d]      compressor's k and z; HCA uses the first d columns
  Mat iq;         // [rows, index_heads * index_dim]
  Mat iw;         // [rows, index_heads]
  Mat ik, iz;     // F32 [rows, 2 * index_dim]
  Mat top;        // I32 [rows, index_topk]
  Mat o;          // [rows, H * d]
  Mat low;        // [rows, groups * o_rank]
  Route route;    // I32, F32 [rows, experts_per_token]
  Mat previous;   // [rows, m * n]          draft: X one token earlier
  Mat streams;    // [rows, m * n]          draft: h_proj of it
  Mat logits;     // F32 [kLogitRows, vocab]
};

constexpr int64_t kLogitRows = 16;  // rows of the head computed at once: a vocabulary is wide

struct Step {
  std::vector<Run> runs;
  Buffers b;                                     // views cut to the rows of this step
  std::vector<const std::atomic<bool>*> cancel;  // any of them ends the step; looked at between layers

  int64_t rows() const { return b.X.rows; }
  bool is_cancelled() const {
    return std::any_of(cancel.begin(), cancel.end(), [](const auto* c) { return c->load(std::memory_order_relaxed); });
  }
};

// The memory behind steps of at most `max_rows` rows.
class Workspace {
 public:
  // `config` must outlive it.
  Workspace(const Config& config, int64_t max_rows, Backend& backend);
  static size_t bytes_for(const Config& config, int64_t max_rows);

  int64_t max_rows() const { return max_rows_; }
  // Views of `rows` rows; runs and contents are the caller's.
  Step step(int64_t rows) const;

 private:
  const Config& config_;
  int64_t max_rows_;
  Buffers full_;
  std::unique_ptr<Memory> memory_;
};

}  // namespace dsv4
