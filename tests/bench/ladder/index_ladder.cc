// The indexer's scores, rung by rung: FP32 against integer codes, by instruction set, on one thread.
//   index_ladder [KEYS]     (default 262144: a million tokens of context, 64 heads of 128)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/cpu_isa.h"
#include "lib/base/kv_row.h"

using namespace dsv4;

namespace {

constexpr int64_t kHeads = 64, kDim = 128, kTile = cpu::kIndexTile;

struct Problem {
  std::vector<uint8_t> rows;
  std::vector<uint16_t> queries;  // [heads][dim]
  std::vector<float> turned;      // [dim][heads]
  std::vector<float> weights;
};

Problem make_problem(int64_t keys) {
  Problem p;
  const IndexRowLayout layout{kDim};
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  p.rows.resize(static_cast<size_t>(keys * layout.stride()));
  std::vector<float> x(kDim);
  for (int64_t j = 0; j < keys; ++j) {
    for (float& v : x) v = normal(random);
    layout.pack(p.rows.data() + j * layout.stride(), x.data());
  }
  p.queries.resize(kHeads * kDim);
  p.turned.resize(kHeads * kDim);
  for (int64_t h = 0; h < kHeads; ++h) {
    std::vector<uint8_t> row(static_cast<size_t>(layout.stride()));
    for (float& v : x) v = normal(random);
    layout.pack(row.data(), x.data());
    layout.unpack(x.data(), row.data());
    for (int64_t d = 0; d < kDim; ++d) {
      p.queries[static_cast<size_t>(h * kDim + d)] = to_bf16(x[static_cast<size_t>(d)]).bits;
      p.turned[static_cast<size_t>(d * kHeads + h)] = x[static_cast<size_t>(d)];
    }
  }
  p.weights.assign(kHeads, 0.01f);
  return p;
}

template <class Body>
double best_of(int runs, Body&& body) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

void print(const char* isa, const char* rung, double seconds, int64_t keys) {
  std::printf("%-12s %-14s %8.2f ms %7.1f ns a key %7.1f G products/s\n", isa, rung, seconds * 1e3,
              seconds * 1e9 / static_cast<double>(keys), static_cast<double>(keys * kHeads * kDim) / seconds / 1e9);
}

void climb(const char* isa, const Problem& p, int64_t keys) {
  const cpu::Kernels& k = cpu::choose_kernels(isa);
  const IndexRowLayout layout{kDim};
  std::vector<float> scores(static_cast<size_t>(keys)), again(static_cast<size_t>(keys));
  alignas(64) static float tile[(kTile + 1) * kDim];
  print(isa, "FP32", best_of(3, [&] {
          for (int64_t j = 0; j < keys; j += kTile) {
            for (int64_t i = 0; i < kTile; ++i)
              k.unpack_index(tile + i * kDim, p.rows.data() + (j + i) * layout.stride(), kDim);
            k.index_scores(scores.data() + j, p.turned.data(), p.weights.data(), kHeads, tile, kTile, kDim);
          }
        }), keys);
  if (k.pack_index_query == nullptr) return;
  alignas(64) static uint8_t query[kHeads * kDim * 2];
  print(isa, "codes", best_of(5, [&] {
          if (!k.pack_index_query(query, p.queries.data(), kHeads, kHeads, kDim)) std::abort();
          k.index_code_scores(again.data(), query, p.weights.data(), kHeads, p.rows.data(), layout.stride(), keys,
                              kDim, tile);
        }), keys);
  double worst = 0, most = 0;
  for (size_t j = 0; j < scores.size(); ++j) {
    worst = std::max(worst, static_cast<double>(std::abs(scores[j] - again[j])));
    most = std::max(most, static_cast<double>(std::abs(scores[j])));
  }
  std::printf("%-12s codes against FP32: largest difference %.1e of %.1e\n", isa, worst, most);
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t keys = std::max<int64_t>(argc > 1 ? std::atol(argv[1]) : 262144, kTile) / kTile * kTile;
  const Problem p = make_problem(keys);
  for (const std::string& isa : cpu_isa_levels()) climb(isa.c_str(), p, keys);
  return 0;
}
