// Kernels of the verbs that treat every row by itself: embedding, norms, rotary angles, queries, the residual streams
// with their hyper-connections, and routing. Each function queues its kernels on the device's stream, at most two.
// Shapes were checked at load; reserve() refuses those that the kernels have no room for.
//   stream_kernels.cu   X [rows, m·n]: hyper-connections
//   row_kernels.cu      embedding, norm, merge, rope
//   query_kernels.cu    heads of queries
//   route_kernels.cu    scores of the experts, the best of them
#pragma once

#include <cstdint>

#include "backends/cuda/gpu.h"
#include "lib/backend/backend.h"

namespace dsv4::cuda {

constexpr int64_t kMaxStreams = 8;
constexpr int64_t kMaxExperts = 512;
constexpr int64_t kMaxPicks = 16;  // experts of a token
constexpr int64_t kMaxHeadDim = 512;

struct RowScratch {
  DeviceBuffer sums;    // F32 [rows, mixes + 1, slices]: fn · X and X², a slice of X's columns at a time
  DeviceBuffer scores;  // F32 [rows, experts]: of the gate
  void reserve(const Gpu& gpu, const Limits& limits);  // kUnsupported: shapes beyond the above
};

// --- row_kernels.cu
void embed_rows(const Gpu& gpu, const Mat& X, const Mat& tokens, const Weight& table);
void norm_rows(const Gpu& gpu, const Mat& y, const Mat& x, const Weight& weight, float eps);
void merge_streams(const Gpu& gpu, const Mat& X, const Mat& e, const Mat& h);
void rope_angles(const Gpu& gpu, const Mat& table, const Mat& positions, const Mat& frequencies);

// --- query_kernels.cu
void turn_queries(const Gpu& gpu, const Mat& q, const Mat& rope, const Query& options);

// --- stream_kernels.cu
// hc_pre, or hc_post_pre if `y` is not empty: then `mix` is read before it is written.
void mix_streams(const Gpu& gpu, const RowScratch& scratch, const Mat& x, const Mat& mix, const Mat& X, const Mat& y,
                 const HyperConnection& hc);
void head_streams(const Gpu& gpu, const RowScratch& scratch, const Mat& x, const Mat& X, const HyperConnection& head);
void spread_streams(const Gpu& gpu, const Mat& X, const Mat& y, const Mat& mix);  // hc_post
int64_t stream_sums(const Gpu& gpu, const Limits& limits);                        // floats that RowScratch::sums holds

// --- route_kernels.cu
void route_rows(const Gpu& gpu, const RowScratch& scratch, const Route& out, const Mat& x, const Mat& tokens,
                const Gate& gate);
int64_t gate_scores(const Gpu& gpu, const Limits& limits);  // floats that RowScratch::scores holds

}  // namespace dsv4::cuda
