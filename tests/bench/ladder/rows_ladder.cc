// Products of a weight with few input rows, between a vector and a matrix, rung by rung on one thread:
//   direct  the checkpoint's bytes stream past the rows, some at a time
//   tiled   some weight rows are widened to BF16 or FP32 once, then all input rows meet them
//   blocked matrix registers, where the level has them: some rows are widened, then all blocks of input rows meet them
//   rows_ladder [ISA [MB]]     (default: the best instruction set; 0.5 MB of weights, in the second cache; try 512)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/cpu_isa.h"

using namespace dsv4;
using namespace dsv4::cpu;

namespace {

constexpr int64_t kCols = 4096, kUnit = 256, kMostRows = 512;

// Vectors that begin on a cache line, as the backend's memory does.
template <class T>
struct Aligned {
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{4096})); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t{4096}); }
  bool operator==(const Aligned&) const { return true; }
};
template <class T>
using Lines = std::vector<T, Aligned<T>>;

struct Rung {
  const Kernels& k;
  Format format;
  Lines<uint8_t> weights, scales, packed;
  std::vector<const void*> x;
  Lines<float> y, tile;
  Lines<uint8_t> blocked;
  int64_t weight_rows;

  Rung(const Kernels& kernels, Format f, int64_t bytes) : k(kernels), format(f) {
    const int64_t row = row_bytes();
    weight_rows = std::max(bytes / row / kUnit, int64_t{1}) * kUnit;
    weights.resize(static_cast<size_t>(weight_rows * row));
    std::mt19937_64 random(7);
    for (size_t i = 0; i + 8 <= weights.size(); i += 8) {
      const uint64_t v = (random() & 0xb7b7b7b7b7b7b7b7ull) | 0x2020202020202020ull;
      std::memcpy(weights.data() + i, &v, 8);
    }
    scales.assign(static_cast<size_t>(weight_rows * kCols / 32), 120);
    const int64_t distance = (kCols + kPad) * k.x_bytes;
    packed.resize(static_cast<size_t>(distance * kMostRows));
    std::vector<uint16_t> plain(kCols);
    for (int64_t m = 0; m < kMostRows; ++m) {
      for (uint16_t& v : plain) v = static_cast<uint16_t>(0x3f00 | (random() & 0x80ff));
      x.push_back(packed.data() + m * distance);
      k.pack(format == kFormatBF16 ? kXPlain : kXRaw, packed.data() + m * distance, plain.data(), kCols);
    }
    y.resize(static_cast<size_t>(kMostRows * kUnit));
    tile.resize(static_cast<size_t>(std::max(kTileRows * kTileCols * 4, kBlockedScratch) / 4));
    if (k.block == nullptr) return;
    blocked.resize(static_cast<size_t>(kMostRows * kCols * 2));
  }
  void block(int64_t rows) {
    const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
    for (int64_t b = 0; b < blocks && k.block != nullptr; ++b) {
      k.block(blocked.data(), b, blocks, x.data() + b * kBlockRows, std::min(kBlockRows, rows - b * kBlockRows), kCols);
    }
  }
  int64_t row_bytes() const { return format == kFormatFP4 ? kCols / 2 : format == kFormatBF16 ? kCols * 2 : kCols; }

  void direct(const WeightView& w, int64_t first, int64_t rows) {
    const int64_t most = k.max_direct[format], parts = (rows + most - 1) / most;
    for (int64_t m = 0, part = 0; part < parts; ++part) {
      const int64_t some = (rows - m + parts - part - 1) / (parts - part);
      k.direct[format](y.data() + m * kUnit, kUnit, w, first, kUnit, x.data() + m, static_cast<int>(some));
      m += some;
    }
  }
  void tiled(const WeightView& w, int64_t first, int64_t rows) {
    const auto dot = k.bf16_tiles ? k.dot_bf16 : k.dot_f32;
    for (int64_t i = 0; i < kUnit; i += 8) {
      for (int64_t col = 0; col < kCols; col += kTileCols) {
        const int64_t part = kTileCols * 8 * w.row_bytes / kCols;
        const Ahead ahead{w.data + (first + i + 8) * w.row_bytes + col / kTileCols * part, part};
        k.widen[format](tile.data(), kTileCols, w, first + i, 8, col, kTileCols);
        dot(y.data() + i, kUnit, tile.data(), kTileCols, 8, x.data(), rows, col, kTileCols, col > 0, ahead);
      }
    }
  }
  void matrix(const WeightView& w, int64_t first, int64_t rows) {
    const Ahead ahead{w.data + (first + kUnit) * w.row_bytes, 32 * w.row_bytes};
    k.dot_blocked(y.data(), kUnit, w, format, first, kUnit, blocked.data(), rows, tile.data(), ahead);
  }
  template <class Body>
  double gflops(int64_t rows, Body&& body) {
    const WeightView w{weights.data(), scales.data(), row_bytes(), format == kFormatFP4 ? kCols / 32 : kCols / 128,
                       kCols};
    double best = 0;
    const double work = 2.0 * static_cast<double>(rows * weight_rows * kCols);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(150);
    for (int run = 0; run < 3 || std::chrono::steady_clock::now() < end; ++run) {
      const auto start = std::chrono::steady_clock::now();
      for (int64_t first = 0; first < weight_rows; first += kUnit) body(w, first, rows);
      const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = std::max(best, work / s / 1e9);
    }
    return best;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const Kernels& k = choose_kernels(argc > 1 && std::strcmp(argv[1], "best") != 0 ? argv[1] : "");
  const auto bytes = static_cast<int64_t>((argc > 2 ? std::atof(argv[2]) : 0.5) * 1048576.0);
  std::printf("%s, %lld KB of weights, GFLOP/s (and GB/s of weights) by input rows\n", k.isa,
              static_cast<long long>(bytes >> 10));
  const struct {
    Format format;
    const char* name;
  } formats[] = {{kFormatE4M3, "FP8"}, {kFormatFP4, "FP4"}, {kFormatBF16, "BF16"}};
  for (const auto& f : formats) {
    Rung rung(k, f.format, bytes);
    const auto line = [&](const char* name, auto body) {
      std::printf("%-5s%-8s", f.name, name);
      for (const int64_t rows : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 512}) {
        rung.block(rows);
        const double g = rung.gflops(rows, body);
        const double gb = g / 2 / static_cast<double>(rows) * static_cast<double>(rung.row_bytes()) / kCols;
        std::printf(" %lld:%4.0f(%4.1f)", static_cast<long long>(rows), g, gb);
        std::fflush(stdout);
      }
      std::printf("\n");
    };
    line("direct", [&](const WeightView& w, int64_t first, int64_t rows) { rung.direct(w, first, rows); });
    if (k.dot_blocked != nullptr) {
      line("blocked", [&](const WeightView& w, int64_t first, int64_t rows) { rung.matrix(w, first, rows); });
    }
    line("tiled", [&](const WeightView& w, int64_t first, int64_t rows) { rung.tiled(w, first, rows); });
  }
  return 0;
}
