// Products with AMX's tile registers, for more than a few input rows, attention and the indexer; everything else is
// avx512-bf16's table, its widened tiles included. Compiled with wider instructions than the rest: see kernels.h before
// including.
//
// A product of tiles: C[16 weight rows][16 input rows] += A[16 weight rows][32 columns] · B[16 pairs of columns][16
// input rows][2]. A is a widened weight as it lies; B is what `block` makes of packed rows, whose order of columns is
// that of the widened weight, so that it does not matter here. C is FP32; operands that are subnormal count as zero, as
// in vdpbf16ps. Tiles are set up and given back in every call: a host's thread is left as it was.
#include "backends/cpu/kernels.h"

#include <immintrin.h>

namespace dsv4::cpu {
namespace {

constexpr int64_t kTile = 1024;       // bytes of a tile register
constexpr int64_t kTall = 32;         // weight rows that go together: two tiles
constexpr int64_t kCols = 256;        // columns of a piece: two such pieces, and what they meet, fit the first cache
constexpr int64_t kCached = int64_t{1} << 20;  // bytes of blocks that stay in the second cache beside what streams
constexpr int64_t kStride = kCols * 2 + 64;  // bytes between its rows: not a power of two

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig kTileConfig;

class Tiles {
 public:
  Tiles() { _tile_loadconfig(&kTileConfig); }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

template <class T>
constexpr T least_of(T a, T b) {
  return a < b ? a : b;
}

constexpr uint8_t kLowestFoldable = 10, kHighestFoldable = 246;  // as vec_products.inl has them for BF16
#include "backends/cpu/avx512bf16_tables.inl"

// A square of 16 x 16 dwords, turned over.
[[gnu::always_inline]] inline void turn(__m512i (&v)[16]) {
  __m512i u[4][4];  // [rows 4g ..][c]: columns 4l + c of four rows, l the lane
  for (int g = 0; g < 4; ++g) {
    const __m512i a = _mm512_unpacklo_epi32(v[4 * g], v[4 * g + 1]), b = _mm512_unpackhi_epi32(v[4 * g], v[4 * g + 1]);
    const __m512i c = _mm512_unpacklo_epi32(v[4 * g + 2], v[4 * g + 3]),
                  d = _mm512_unpackhi_epi32(v[4 * g + 2], v[4 * g + 3]);
    u[g][0] = _mm512_unpacklo_epi64(a, c), u[g][1] = _mm512_unpackhi_epi64(a, c);
    u[g][2] = _mm512_unpacklo_epi64(b, d), u[g][3] = _mm512_unpackhi_epi64(b, d);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(u[0][c], u[1][c], 0x88), b = _mm512_shuffle_i32x4(u[2][c], u[3][c], 0x88);
    const __m512i p = _mm512_shuffle_i32x4(u[0][c], u[1][c], 0xdd), q = _mm512_shuffle_i32x4(u[2][c], u[3][c], 0xdd);
    v[c] = _mm512_shuffle_i32x4(a, b, 0x88), v[8 + c] = _mm512_shuffle_i32x4(a, b, 0xdd);
    v[4 + c] = _mm512_shuffle_i32x4(p, q, 0x88), v[12 + c] = _mm512_shuffle_i32x4(p, q, 0xdd);
  }
}

// Turned over, from memory and to it.
[[gnu::always_inline]] inline void load_turned(__m512i (&v)[16], const float* from) {
  for (int k = 0; k < 16; ++k) v[k] = load(from + 16 * k);
  turn(v);
}
[[gnu::always_inline]] inline void store_turned(uint8_t* to, __m512i (&v)[16]) {
  turn(v);
  for (int k = 0; k < 16; ++k) _mm512_storeu_si512(to + 64 * k, v[k]);
}

// The first n of sixteen lanes; none for n below one.
inline __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? __mmask16{0xffff} : n > 0 ? static_cast<__mmask16>((1u << n) - 1u) : __mmask16{0};
}

struct alignas(64) EverySecond {
  uint16_t lane[32] = {};  // the even words of two vectors; the odd ones are one further on
  constexpr EverySecond() {
    for (int i = 0; i < 32; ++i) lane[i] = static_cast<uint16_t>(2 * i);
  }
};
constexpr EverySecond kEverySecond;
inline __m512i every_second(int odd) {
  return _mm512_add_epi16(load(kEverySecond.lane), _mm512_set1_epi16(static_cast<short>(odd)));
}

// Blocks lie by kCols columns: those of all blocks that a piece meets are side by side, where no two share sets of the
// second cache.
inline const uint8_t* block_at(const void* blocked, int64_t b, int64_t blocks, int64_t col, int64_t wide) {
  const int64_t begin = col / kCols * kCols, cols = least_of(kCols, wide - begin);
  return static_cast<const uint8_t*>(blocked) + (begin * blocks + cols * b + col - begin) * 32;
}

void block_rows(void* to, int64_t b, int64_t blocks, const void* const* x, int64_t rows, int64_t cols) {
  for (int64_t c = 0; c < cols; c += 32) {
    uint8_t* out = const_cast<uint8_t*>(block_at(to, b, blocks, c, cols));
    __m512i v[16];
    for (int m = 0; m < 16; ++m) {
      v[m] = m < rows ? load(static_cast<const uint16_t*>(x[m]) + c) : _mm512_setzero_si512();
    }
    store_turned(out, v);
  }
}

// What one call multiplies, and where its sums go.
struct Call {
  float* y;
  int64_t y_stride;
  const WeightView& w;
  int64_t first, count;
  const uint8_t* blocked;
  int64_t rows, wide;  // wide: the columns of a blocked row
  int64_t blocks() const { return (rows + kBlockRows - 1) / kBlockRows; }
  const uint8_t* block(int64_t b, int64_t col) const { return block_at(blocked, b, blocks(), col, wide); }
};

// FP4 by bytes: on processors with AMX vpermw takes the shuffles' port twice, and vpermb once. A byte of two codes is
// doubled to a word, whose halves then look up both halves of a value. Values are those of the largest scale, less what
// the real one lacks, by a subtraction that leaves zeros alone; their sign is of no use.
struct alignas(64) Fp4Lookup {
  uint8_t table[64] = {}, twice[64] = {}, spread[4][64] = {};
  constexpr Fp4Lookup() {
    constexpr uint16_t kMagnitude[8] = {0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0};
    for (int i = 0; i < 16; ++i) {
      const int v = i % 8 == 0 ? 0 : kMagnitude[i % 8] + (kHighestFoldable - 127) * 128 + (i >= 8 ? 0x8000 : 0);
      table[i] = static_cast<uint8_t>(v & 0xff), table[16 + i] = static_cast<uint8_t>(v >> 8);
    }
    for (int i = 0; i < 64; ++i) {
      twice[i] = static_cast<uint8_t>(i / 2);
      for (int k = 0; k < 4; ++k) spread[k][i] = static_cast<uint8_t>(4 * k + i / 32 * 2 + i % 2);
    }
  }
};
constexpr Fp4Lookup kFp4Lookup;

struct Fp4Bytes {
  const __m512i table = load(kFp4Lookup.table), twice = load(kFp4Lookup.twice);
  const __m512i nibble = _mm512_set1_epi16(0x0f0f), upper = _mm512_set1_epi16(0x1000);

  // What the scales of eight blocks lack, in every lane of 128 bits.
  inline __m512i lacks(uint64_t scales) const {
    const __m128i e = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(scales)));
    return _mm512_broadcast_i32x4(_mm_slli_epi16(_mm_sub_epi16(_mm_set1_epi16(kHighestFoldable), e), 7));
  }
  // 64 codes of the k-th pair of blocks.
  inline void widen(uint16_t* y, __m256i codes, __m512i lack, int k) const {
    const __m512i pair = _mm512_shuffle_epi8(lack, load(kFp4Lookup.spread[k]));
    const __m512i x = _mm512_permutexvar_epi8(twice, _mm512_castsi256_si512(codes));
    const __m512i even = _mm512_permutexvar_epi8(and_or(x, nibble, upper), table);
    const __m512i odd = _mm512_permutexvar_epi8(and_or(_mm512_srli_epi16(x, 4), nibble, upper), table);
    _mm512_storeu_si512(y, _mm512_subs_epu16(even, pair));
    _mm512_storeu_si512(y + 32, _mm512_subs_epu16(odd, pair));
  }
  inline void row(uint16_t* y, const uint8_t* p, const uint8_t* s, int64_t cols) const {
    int64_t c = 0;
    uint64_t scales = 0;
    for (; c + 256 <= cols; c += 256, y += 256, p += 128) {
      __builtin_memcpy(&scales, s + c / 32, 8);
      const __m512i lack = lacks(scales);
      for (int k = 0; k < 4; ++k) {
        widen(y + 64 * k, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * k)), lack, k);
      }
    }
    if (c == cols) return;
    __builtin_memcpy(&scales, s + c / 32, static_cast<size_t>((cols - c) / 32));
    const __m512i lack = lacks(scales);
    const int64_t pairs = (cols - c + kPad - 1) / kPad * kPad / 64;
    for (int k = 0; k < pairs; ++k) {
      const int64_t left = (cols - c) / 2 - 32 * k;
      widen(y + 64 * k, load_part32(p + 32 * k, left > 0 ? left : 0), lack, k);
    }
  }
};

// Formats: rows(..) as in avx512bf16_tables.inl, and whether all scales of some weight rows can be folded in.
struct E4M3Weights {
  static void rows(uint16_t* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                   int64_t cols) {
    widened_e4m3(out, stride, w, first, count, col, cols);
  }
  static bool fine(const WeightView& w, int64_t first, int64_t count) {
    return e4m3_foldable(w, first, count, 0, w.cols);
  }
  static constexpr bool kScalesOfRows = false;
};
struct Fp4Weights {
  static void rows(uint16_t* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                   int64_t cols) {
    const Fp4Bytes table;
    for (int64_t i = 0; i < count; ++i) {
      table.row(out + i * stride, w.data + (first + i) * w.row_bytes + col / 2,
                w.scale + (first + i) * w.scale_cols + col / 32, cols);
    }
  }
  static bool fine(const WeightView& w, int64_t first, int64_t count) {
    return scales_foldable(w.scale + first * w.scale_cols, count * w.scale_cols);
  }
  static constexpr bool kScalesOfRows = true;
};
struct Bf16Weights {
  static void rows(uint16_t* out, int64_t stride, const WeightView& w, int64_t first, int64_t count, int64_t col,
                   int64_t cols) {
    widened_bf16(out, stride, w, first, count, col, cols);
  }
  static bool fine(const WeightView&, int64_t, int64_t) { return true; }
  static constexpr bool kScalesOfRows = false;
};

// A tile of sums to y; of the last ones only what there is.
void put(const Call& call, int64_t i, int64_t m, const float* sums) {
  __m512i v[16];
  load_turned(v, sums);
  const int64_t some = least_of<int64_t>(16, call.rows - m);
  const __mmask16 these = first_lanes(call.count - i);
  for (int64_t r = 0; r < some; ++r) _mm512_mask_storeu_epi32(call.y + (m + r) * call.y_stride + i, these, v[r]);
}

// gcc is not told by its own intrinsic that a tile load reads memory: what was stored before has to be there.
inline void settle() { __asm__ volatile("" ::: "memory"); }

// Sums 0 and 1 (and 2 and 3) are those of 32 weight rows with the first (and second) block; 32 columns of them.
template <int kBlocks>
inline void multiply_step(const uint8_t* a, int64_t stride, const uint8_t* b0, const uint8_t* b1) {
  settle();
  _tile_loadd(6, b0, 64);
  _tile_loadd(4, a, stride);
  _tile_loadd(5, a + 16 * stride, stride);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 5, 6);
  if constexpr (kBlocks == 2) {
    _tile_loadd(7, b1, 64);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
}

template <int kBlocks>
inline void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kBlocks == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
}

// Thirty-two rows of `cols` columns with blocks of as many, all of them.
template <int kBlocks>
inline void multiply_rows(const uint8_t* rows, const uint8_t* blocks, int64_t cols) {
  clear_sums<kBlocks>();
  for (int64_t c = 0; c < cols; c += 32) {
    multiply_step<kBlocks>(rows + 2 * c, 2 * cols, blocks + 32 * c, blocks + (kBlocks - 1) * 32 * cols + 32 * c);
  }
}

template <int kBlocks>
inline void store_sums(float* to) {
  _tile_stored(0, to, 64);
  _tile_stored(1, to + 256, 64);
  if constexpr (kBlocks == 2) {
    _tile_stored(2, to + 512, 64);
    _tile_stored(3, to + 768, 64);
  }
}

template <int kBlocks>
inline void load_sums(const float* from) {
  _tile_loadd(0, from, 64);
  _tile_loadd(1, from + 256, 64);
  if constexpr (kBlocks == 2) {
    _tile_loadd(2, from + 512, 64);
    _tile_loadd(3, from + 768, 64);
  }
}

template <int kBlocks>
void put_sums(const Call& call, int64_t i, int64_t m, const float* sums) {
  for (int b = 0; b < kBlocks; ++b) {
    for (int r = 0; r < 2; ++r) {
      if (i + 16 * r < call.count) put(call, i + 16 * r, m + 16 * b, sums + 512 * b + 256 * r);
    }
  }
}

// A weight in pieces of kTall rows and kCols columns, widened one ahead, some rows at a time between products of the one
// before: matrix and vector units work side by side, and what was just stored cannot be loaded into a tile before it has
// left for the cache. With every row the same part of the row kTall further on is fetched, to the second cache: rows lie
// on pages of their own, whose addresses are thus looked up side by side; line after line is half as fast.
template <class Weights>
class Pieces {
 public:
  struct Piece {
    int64_t i, col;
    uint8_t* to;
  };
  Pieces(const Call& call, uint8_t* scratch, const Ahead& then) : call_(call), scratch_(scratch), then_(then.data) {}

  // Pieces take turns in two places: `number` counts them.
  Piece at(int64_t i, int64_t col, int64_t number) const {
    return {i, col, scratch_ + number % 2 * (kTall * kStride)};
  }
  // Part `step` of `steps` of a piece.
  void widen(const Piece& p, int64_t step, int64_t steps) const {
    const int64_t row = kTall * step / steps, left = least_of(kTall * (step + 1) / steps, call_.count - p.i) - row;
    if (left <= 0) return;
    const WeightView& w = call_.w;
    const int64_t cols = least_of(kCols, w.cols - p.col), first = call_.first + p.i + row;
    const bool last = p.i + kTall >= call_.count;  // what comes next is another weight
    if (!last || then_ != nullptr) {
      const uint8_t* next = (last ? then_ + row * w.row_bytes : w.data + (first + kTall) * w.row_bytes) +
                            p.col * w.row_bytes / w.cols;
      for (int64_t r = 0; r < left; ++r, next += w.row_bytes) {
        for (int64_t b = 0; b < cols * w.row_bytes / w.cols; b += 64) fetch(next + b);
      }
    }
    if (Weights::kScalesOfRows && p.col == 0) {
      const uint8_t* next = w.scale + (first + kTall) * w.scale_cols;
      for (int64_t b = 0; b < left * w.scale_cols; b += 64) fetch(next + b);
    }
    Weights::rows(reinterpret_cast<uint16_t*>(p.to + row * kStride), kStride / 2, w, first, left, p.col, cols);
  }

 private:
  static void fetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

  const Call& call_;
  uint8_t* const scratch_;
  const uint8_t* const then_;
};

// Few input rows: sums stay in the tile registers for whole weight rows.
template <class Weights, int kBlocks>
bool few(const Call& call, uint8_t* scratch, const Ahead& then) {
  alignas(64) float sums[kBlocks * 512];
  const Pieces<Weights> pieces(call, scratch, then);
  const Tiles tiles;
  int64_t number = 0;
  auto piece = pieces.at(0, 0, number++);
  pieces.widen(piece, 0, 1);
  for (int64_t i = 0; i < call.count; i += kTall) {
    clear_sums<kBlocks>();
    for (int64_t col = 0; col < call.wide; col += kCols) {
      const bool ends = col + kCols >= call.wide;
      const auto next = ends ? pieces.at(i + kTall, 0, number++) : pieces.at(i, col + kCols, number++);
      const int64_t steps = least_of(kCols, call.wide - col) / 32;
      const uint8_t* b0 = call.block(0, col);
      const uint8_t* b1 = call.block(kBlocks - 1, col);
      for (int64_t k = 0; k < steps; ++k) {
        multiply_step<kBlocks>(piece.to + 64 * k, kStride, b0 + kTile * k, b1 + kTile * k);
        pieces.widen(next, k, steps);
      }
      piece = next;
    }
    store_sums<kBlocks>(sums);
    put_sums<kBlocks>(call, i, 0, sums);
  }
  return true;
}

// Many: a piece meets all blocks, and sums wait in memory for the next columns.
template <int kBlocks>
void meet_blocks(const Call& call, const uint8_t* piece, int64_t i, int64_t b, int64_t col, float* sums) {
  const int64_t cols = least_of(kCols, call.wide - col);
  const uint8_t* b0 = call.block(b, col);
  const uint8_t* b1 = call.block(b + kBlocks - 1, col);
  if (col == 0) {
    clear_sums<kBlocks>();
  } else {
    load_sums<kBlocks>(sums);
  }
  for (int64_t c = 0; c < cols; c += 32) multiply_step<kBlocks>(piece + 2 * c, kStride, b0 + 32 * c, b1 + 32 * c);
  store_sums<kBlocks>(sums);
  if (col + kCols >= call.wide) put_sums<kBlocks>(call, i, 16 * b, sums);
}

template <class Weights>
void meet(const Call& call, const Pieces<Weights>& pieces, int64_t i, int64_t col, int64_t number, float* sums) {
  const auto piece = pieces.at(i, col, number);
  pieces.widen(piece, 0, 1);
  int64_t b = 0;
  for (; b + 2 <= call.blocks(); b += 2, sums += 1024) meet_blocks<2>(call, piece.to, i, b, col, sums);
  if (b < call.blocks()) meet_blocks<1>(call, piece.to, i, b, col, sums);
}

// Where all blocks fit the second cache the weight streams, row by row; else those of some columns stay there while these
// columns of all weight rows pass.
template <class Weights>
bool many(const Call& call, uint8_t* scratch, const Ahead& then) {
  const Pieces<Weights> pieces(call, scratch, then);
  const Tiles tiles;
  float* sums = reinterpret_cast<float*>(scratch + 2 * kTall * kStride);
  int64_t number = 0;
  if (call.blocks() * kBlockRows * call.wide * 2 <= kCached) {
    for (int64_t i = 0; i < call.count; i += kTall) {
      for (int64_t col = 0; col < call.wide; col += kCols) meet(call, pieces, i, col, number++, sums);
    }
    return true;
  }
  for (int64_t col = 0; col < call.wide; col += kCols) {
    for (int64_t i = 0; i < call.count; i += kTall) {
      meet(call, pieces, i, col, number++, sums + i / kTall * call.blocks() * 512);
    }
  }
  return true;
}

template <class Weights>
bool multiply(const Call& call, uint8_t* scratch, const Ahead& then) {
  if (!Weights::fine(call.w, call.first, call.count)) return false;
  if (call.rows <= 16) return few<Weights, 1>(call, scratch, then);
  if (call.rows <= 32) return few<Weights, 2>(call, scratch, then);
  return many<Weights>(call, scratch, then);
}

#include "backends/cpu/amx_attention.inl"
#include "backends/cpu/amx_index.inl"

bool dot_blocked(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                 const void* blocked, int64_t rows, void* scratch, const Ahead& then) {
  const Call call{y,    y_stride, w, first, count, static_cast<const uint8_t*>(blocked),
                  rows, (w.cols + kPad - 1) / kPad * kPad};
  uint8_t* in = static_cast<uint8_t*>(scratch);
  if (format == kFormatE4M3) return multiply<E4M3Weights>(call, in, then);
  if (format == kFormatFP4) return multiply<Fp4Weights>(call, in, then);
  return multiply<Bf16Weights>(call, in, then);
}

static_assert(kBlockRows == 16);
static_assert(kBlockedScratch >= 2 * kTall * kStride + kBlockedUnit * kBlockedRows * 4);

}  // namespace

const Kernels& amx_kernels() {
  static const Kernels table = [] {
    Kernels t = avx512_bf16_kernels();
    t.isa = "amx";
    for (int64_t& rows : t.least_blocked) rows = 4;
    t.least_blocked[kXPlain] = 8;  // vdpbf16ps keeps up with memory for longer where nothing is widened
    t.block = block_rows;
    t.dot_blocked = dot_blocked;
    t.key_tile = kKeyTile;
    t.unpack_keys = unpack_keys_tiles;
    t.unpack_queries = unpack_queries_tiles;
    t.scores = scores_tiles;
    t.weigh = weigh_tiles;
    t.pack_index_query = pack_index_query_tiles;
    t.index_code_scores = index_scores_tiles;
    return t;
  }();
  return table;
}

}  // namespace dsv4::cpu
