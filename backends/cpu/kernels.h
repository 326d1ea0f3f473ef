// The table of inner loops that every instruction set fills: raw pointers in, raw pointers out, no allocation, no
// threads. Files compiled for one instruction set include this header and intrinsics only: an inline function of a
// shared header, compiled there with wider instructions, could be the copy the linker keeps for every machine.
//
// Products: y[m][i] = Σ_c w[i][c] · x[m][c], FP32 sums. An input row is packed once per call into the form its weights
// want (XForm); the columns of a packed row are padded with zeros to a multiple of kPad. Two ways to a product:
//   direct  streams the checkpoint's own bytes past a few input rows, block scales applied to the blocks' FP32 sums;
//   tiled   widens some weight rows once (`widen`: BF16 or FP32, exact, scales folded in) and multiplies the tile with
//           any number of input rows (`dot`).
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsv4::cpu {

enum Format : int { kFormatE4M3, kFormatFP4, kFormatBF16, kFormatF32, kFormats };

// The layouts of a packed input row. An instruction set may lay several out alike.
enum XForm : int {
  kXQuantised,  // quant_e4m3(x, 128), for E4M3 and FP4 weights
  kXRaw,        // x itself, for E4M3 and FP4 weights
  kXPlain,      // x itself, for BF16 weights
  kXF32,        // x itself as FP32, for F32 weights
  kXForms
};

constexpr int64_t kPad = 128;      // packed rows are padded to this many columns
constexpr int kMaxDirect = 8;      // input rows that any `direct` takes
constexpr int64_t kTileRows = 128;   // weight rows of a tile, at most
constexpr int64_t kTileCols = 1024;  // columns of a tile, at most: a multiple of kPad
constexpr int kMaxStreams = 8;     // residual streams the kernels take
constexpr int64_t kKeyTile = 64;   // key/value rows that attention takes at a time, at most
constexpr int64_t kIndexTile = 32;     // keys that the indexer takes at a time
constexpr int64_t kBlockRows = 16;     // input rows of a block
constexpr int64_t kBlockedRows = 512;  // input rows that `dot_blocked` takes at a time, at most
constexpr int64_t kBlockedUnit = 256;  // and weight rows
constexpr int64_t kBlockedScratch = int64_t{640} << 10;  // bytes that it works in

// What a kernel sees of a weight: rows of `row_bytes`, scales as in backend.h's Weight.
struct WeightView {
  const uint8_t* data = nullptr;
  const uint8_t* scale = nullptr;
  int64_t row_bytes = 0;
  int64_t scale_cols = 0;
  int64_t cols = 0;
};

// Memory that is read next, fetched a little at a time while products keep the processor busy. A prefetch of what is
// not ours does nothing.
struct Ahead {
  const uint8_t* data = nullptr;
  int64_t bytes = 0;
};

struct Kernels {
  const char* isa;
  int x_bytes;          // bytes of an element of every form but kXF32: 2 (BF16) or 4 (FP32)
  bool bf16_tiles;      // a widened tile of any format but F32 holds BF16; FP32 otherwise
  int64_t key_tile;     // key/value rows that attention takes at a time, at most kKeyTile
  int max_direct[kFormats];  // input rows that `direct` takes
  int few_rows[kFormats];  // input rows up to which `direct`, several times where they are more, beats a tile

  // --- products
  void (*pack)(XForm form, void* out, const uint16_t* x, int64_t cols);
  void (*direct[kFormats])(float* y, int64_t y_stride, const WeightView& w, int64_t first, int64_t count,
                           const void* const* x, int rows);
  // Rows [first, first + count), columns [col, col + cols) to `out`, rows `stride` elements apart, padded with zeros to
  // a multiple of kPad. False: a scale is too extreme to be folded into a value; use `direct`.
  bool (*widen[kFormats])(void* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                          int64_t cols);
  // y[m * y_stride + i] (+)= Σ_c w[i * w_stride + c] · x[m][col + c]; cols a multiple of kPad.
  void (*dot_bf16)(float* y, int64_t y_stride, const void* w, int64_t w_stride, int64_t count, const void* const* x,
                   int64_t rows, int64_t col, int64_t cols, bool add, const Ahead& ahead);
  void (*dot_f32)(float* y, int64_t y_stride, const void* w, int64_t w_stride, int64_t count, const void* const* x,
                  int64_t rows, int64_t col, int64_t cols, bool add, const Ahead& ahead);

  // --- products with matrix registers, null where a level has none; of any format but F32
  int64_t least_blocked[kXForms];  // input rows from which on they are the fastest
  // Up to kBlockRows packed rows to block `b` of `blocks`, at most kBlockedRows / kBlockRows, in a layout of the kernels';
  // missing rows are zeros. All blocks together take blocks * kBlockRows * cols BF16, cols a multiple of kPad.
  void (*block)(void* out, int64_t b, int64_t blocks, const void* const* x, int64_t rows, int64_t cols);
  // y[m * y_stride + i] = Σ_c w[first + i][c] · x[m][c] for rows that were blocked together. False as of `widen`.
  bool (*dot_blocked)(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                      const void* blocked, int64_t rows, void* scratch, const Ahead& ahead);

  // --- rows of BF16
  void (*store_bf16)(uint16_t* y, const float* x, int64_t n);  // rounds
  double (*sum_squares)(const uint16_t* x, int64_t n);
  // y = x · factor · weight -> BF16; weight BF16, or null for 1
  void (*scale_row)(uint16_t* y, const uint16_t* x, const uint16_t* weight, double factor, int64_t n);
  // x = Σ_j pre[j] · X[j] -> BF16, streams n apart; returns Σ x²
  double (*hc_mix)(uint16_t* x, const uint16_t* X, const float* pre, int m, int64_t n);
  // X[k] = post[k] · y + Σ_j comb[j][k] · X[j] -> BF16
  void (*hc_spread)(uint16_t* X, const uint16_t* y, const float* post, const float* comb, int m, int64_t n);
  void (*add_rows)(uint16_t* y, const uint16_t* a, const uint16_t* b, int64_t n);  // -> BF16
  void (*rope)(uint16_t* x, const float* cos, const float* sin, int64_t pairs, bool inverse);
  void (*hadamard)(float* x, int64_t n);             // in place, unscaled; n a power of two, at least 16
  void (*quant_e2m1)(uint16_t* x, int64_t n);        // to the values used, blocks of 32
  // h = silu(min(g, limit)) · clamp(u, ±limit) · weight -> BF16; g and u are rounded to BF16 first; limit 0: none
  void (*swiglu)(uint16_t* h, const float* g, const float* u, float weight, float limit, int64_t n);
  void (*sum_bf16)(float* y, const uint16_t* x, int64_t n);  // y += x

  // --- attention
  void (*widen_row)(float* out, const uint16_t* x, int64_t n);
  // Up to key_tile key/value rows (lib/base/kv_row.h), and queries of n elements a head, in a layout of the kernels',
  // FP32 or BF16, in which both are exact; rows padded with zeros to `wide` elements, a multiple of 32. They take at most
  // kKeyTile · wide · 4 bytes, and 4 · wide for every head of a multiple of 16.
  void (*unpack_keys)(void* out, const uint8_t* const* rows, int64_t count, int64_t nope, int64_t rope, int64_t wide);
  void (*unpack_queries)(void* out, const uint16_t* x, int64_t heads, int64_t n, int64_t wide);
  void (*unpack_index)(float* out, const uint8_t* row, int64_t dim);
  // scores[h * stride + j] = scale · q[h] · key[j]; overwritten are heads up to a multiple of 16, keys up to one of 32
  void (*scores)(float* scores, int64_t stride, const void* q, int64_t heads, const void* keys, int64_t count,
                 int64_t wide, float scale);
  // One tile of the running softmax of a head: p = exp(s - new max) in place; returns the factor that what was summed
  // so far is to be multiplied by.
  float (*softmax_tile)(float* s, int64_t count, float* max, float* sum);
  // o[h] = o[h] · factor[h] + Σ_j p[h * stride + j] · values[j]; heads up to a multiple of 32 are overwritten
  void (*weigh)(float* o, const float* factor, const float* p, int64_t stride, int64_t heads, const void* values,
                int64_t count, int64_t wide);
  // out[j] = Σ_h w[h] · relu(q_h · key_j) over `heads` (a multiple of 16, padded with zeros);
  // q transposed [dim][heads], keys [count][dim]
  void (*index_scores)(float* out, const float* q, const float* w, int64_t heads, const float* keys, int64_t count,
                       int64_t dim);
  // The same with exact products of codes, null where an instruction set lacks them; dim a multiple of 32, `wide` the
  // heads padded to a multiple of 16, `count` keys `stride` bytes apart as they lie in the state. The packed query takes
  // at most 2 · wide · dim bytes, the scratch memory 4 · (kIndexTile + 1) · dim.
  // False: values that no quantisation to E2M1 gives, of extreme scales, or a dim that it does not take; use
  // index_scores.
  bool (*pack_index_query)(void* out, const uint16_t* q, int64_t heads, int64_t wide, int64_t dim);
  void (*index_code_scores)(float* out, const void* q, const float* w, int64_t wide, const uint8_t* rows,
                            int64_t stride, int64_t count, int64_t dim, void* scratch);
  // out[c] = Σ_i softmax_i(z[i][c] + ape[i][c]) · k[i][c]
  void (*pool)(float* out, const float* const* k, const float* const* z, const float* const* ape, int64_t count,
               int64_t n);
};

const Kernels& scalar_kernels();
// Each in builds for its processors only: see CMakeLists.txt.
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();
const Kernels& amx_kernels();
const Kernels& neon_kernels();
const Kernels& neon_dotprod_kernels();

}  // namespace dsv4::cpu
