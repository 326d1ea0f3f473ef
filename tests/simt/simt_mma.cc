#include "tests/simt/simt_mma.h"

namespace dsv4::simt {
namespace {

float low(uint32_t pair) { return to_float(bf16{static_cast<uint16_t>(pair)}); }
float high(uint32_t pair) { return to_float(bf16{static_cast<uint16_t>(pair >> 16)}); }

}  // namespace

void multiply_fragments(Exchange& all) {
  float A[16][16];
  float B[16][8];
  float D[16][8];
  for (int l = 0; l < kLanes; ++l) {
    Fragments own;
    std::memcpy(&own, all.of[l], sizeof(own));
    const int g = l / 4;
    const int t = l % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + 8 * (i % 2);
      const int column = 2 * t + 8 * (i / 2);
      A[row][column] = low(own.a[i]);
      A[row][column + 1] = high(own.a[i]);
      D[g + 8 * (i / 2)][2 * t + i % 2] = own.d[i];
    }
    for (int i = 0; i < 2; ++i) {
      B[2 * t + 8 * i][g] = low(own.b[i]);
      B[2 * t + 8 * i + 1][g] = high(own.b[i]);
    }
  }
  for (int row = 0; row < 16; ++row) {
    float sum[8] = {};
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) sum[column] += A[row][k] * B[k][column];
    }
    for (int column = 0; column < 8; ++column) D[row][column] += sum[column];
  }
  for (int l = 0; l < kLanes; ++l) {
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = D[l / 4 + 8 * (i / 2)][2 * (l % 4) + i % 2];
    std::memcpy(all.of[l], d, sizeof(d));
  }
}

void load_matrices(Exchange& all, int matrices, bool transposed) {
  uint16_t rows[4][8][8];
  for (int l = 0; l < 8 * matrices; ++l) {
    int offset;
    std::memcpy(&offset, all.of[l], sizeof(offset));
    shared_map.read<16>(offset, rows[l / 8][l % 8]);
  }
  for (int l = 0; l < kLanes; ++l) {
    const int g = l / 4;
    const int t = l % 4;
    uint32_t r[4];
    for (int j = 0; j < matrices; ++j) {
      const uint32_t first = transposed ? rows[j][2 * t][g] : rows[j][g][2 * t];
      const uint32_t second = transposed ? rows[j][2 * t + 1][g] : rows[j][g][2 * t + 1];
      r[j] = first | second << 16;
    }
    std::memcpy(all.of[l], r, sizeof(r[0]) * static_cast<size_t>(matrices));
  }
}

}  // namespace dsv4::simt
