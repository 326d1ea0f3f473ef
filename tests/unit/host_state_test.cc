// HostState against a model that remembers everything: random histories of steps that are committed, dropped, and taken
// back, with every row that a step may look at compared.
#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "lib/backend/host_state.h"
#include "lib/base/error.h"

namespace dsv4 {
namespace {

constexpr int64_t kWidth = 3;

// What a step `salt` has at a position: distinct, and exact in FP32 with eighths added.
constexpr int64_t kSalts = 64;
float truth(int64_t position, int64_t salt) { return static_cast<float>(position * kSalts + salt); }

// k and z rows of a step, as compress() hands them over.
struct Rows {
  Rows(int64_t position, int64_t rows, int64_t salt) {
    for (int64_t p = position; p < position + rows; ++p) {
      for (int64_t i = 0; i < kWidth; ++i) {
        k_data.push_back(truth(p, salt) + static_cast<float>(i) / 8);
        z_data.push_back(-truth(p, salt) - static_cast<float>(i) / 8);
      }
    }
    k = {k_data.data(), DType::kF32, rows, kWidth, kWidth};
    z = {z_data.data(), DType::kF32, rows, kWidth, kWidth};
  }
  std::vector<float> k_data, z_data;
  Mat k, z;
};

bool holds(const Tail& tail, int64_t position, int64_t salt) {
  for (int64_t i = 0; i < kWidth; ++i) {
    const float want = truth(position, salt) + static_cast<float>(i) / 8;
    if (tail.k(position)[i] != want || tail.z(position)[i] != -want) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("tail: committed rows survive dropped steps of 1 to 600 rows and a rollback of up to kRollback") {
  for (const int64_t span : {int64_t{8}, int64_t{128}}) {
    std::vector<uint8_t> memory(static_cast<size_t>(Tail::bytes(span, kWidth)));
    Tail tail;
    tail.init(memory.data(), span, kWidth);
    std::mt19937 random(static_cast<uint32_t>(span));
    std::vector<int64_t> salts;  // of the committed positions
    int64_t newest = 0, salt = 0, wrong = 0, checked = 0;
    for (int i = 0; i < 4000; ++i) {
      const int64_t end = static_cast<int64_t>(salts.size());
      // Long steps often; short ones mostly, as in decoding.
      const int64_t rows = 1 + static_cast<int64_t>(random() % (random() % 3 == 0 ? 600 : 20));
      const bool rewind = random() % 3 == 0;
      const int64_t back = rewind ? static_cast<int64_t>(random() % (kRollback + 1)) : 0;
      const int64_t from = std::max<int64_t>({end - back, newest - kRollback, 0});
      if (from < end) salts.resize(static_cast<size_t>(from));
      for (int64_t p = std::max<int64_t>(from - span, 0); p < from; ++p, ++checked) {
        wrong += !holds(tail, p, salts[static_cast<size_t>(p)]);
      }
      const Rows step(from, rows, ++salt % kSalts);
      tail.store(from, step.k, step.z);
      for (int64_t p = std::max<int64_t>(from - span, 0); p < from; ++p) {
        wrong += !holds(tail, p, salts[static_cast<size_t>(p)]);
      }
      if (random() % 2 == 0) {
        tail.commit();
        salts.resize(static_cast<size_t>(from + rows), salt % kSalts);
        newest = std::max(newest, from + rows);
      }
      if (salts.size() > 4000) {  // a new sequence in the same memory; floats stay exact
        salts.clear();
        newest = 0;
        const Rows none(0, 1, 0);
        tail.store(0, none.k, none.z);
        tail.commit();
        salts.push_back(0);
        newest = 1;
      }
    }
    CHECK(wrong == 0);
    CHECK(checked > 10000);
  }
}

TEST_CASE("host state: sizes follow the shape, parts do not overlap, and memory starts as zeros") {
  StateShape shape;
  shape.layers = {{0, 128, 64, 0}, {4, 128, 64, 64}, {128, 192, 64, 0}};
  shape.window = 64;
  shape.max_rows = 100;
  shape.context = 1000;
  shape.carry = 256;
  HostState state(shape);
  CHECK(state.bytes() == HostState::bytes_for(shape));
  CHECK(state.layer(0).entries == 0);
  CHECK(state.layer(1).entries == 250);
  CHECK(state.layer(2).entries == 7);
  CHECK(state.layer(0).ring >= shape.window + shape.max_rows);
  CHECK(std::all_of(state.carried(-1), state.carried(-1) + shape.carry, [](bf16 v) { return v.bits == 0; }));

  // Every row of every part gets its own pattern, and has it still when all are written.
  std::map<uint8_t*, int64_t> rows;
  const auto fill = [&](uint8_t* row, int64_t bytes) {
    CHECK(std::all_of(row, row + bytes, [](uint8_t b) { return b == 0; }));
    std::memset(row, static_cast<int>(rows.size() % 251) + 1, static_cast<size_t>(bytes));
    rows[row] = bytes;
  };
  for (int l = 0; l < 3; ++l) {
    HostLayer& layer = state.layer(l);
    for (int64_t p = 0; p < layer.ring; ++p) fill(layer.window_row(p), layer.kv.bytes());
    for (int64_t e = 0; e < layer.entries; ++e) fill(layer.compressed_row(e), layer.kv.bytes());
    for (int64_t e = 0; e < layer.entries && layer.shape.index_dim != 0; ++e) {
      fill(layer.index_row(e), layer.index.bytes());
    }
  }
  uint8_t* end = nullptr;
  for (const auto& [row, bytes] : rows) {
    CHECK(row >= end);
    end = row + bytes;
  }
  // Tails and residual rows lie outside all of these.
  std::vector<float> k(static_cast<size_t>(256), 1.0f);
  std::map<uint8_t*, std::vector<uint8_t>> before;
  for (const auto& [row, bytes] : rows) before[row] = std::vector<uint8_t>(row, row + bytes);
  for (int64_t p = 0; p < 300; ++p) {
    for (const int l : {1, 2}) {
      Tail& tail = state.layer(l).tail;
      const Mat m{k.data(), DType::kF32, 1, tail.width(), tail.width()};
      tail.store(p, m, m);
    }
    const Mat m{k.data(), DType::kF32, 1, state.layer(1).index_tail.width(), state.layer(1).index_tail.width()};
    state.layer(1).index_tail.store(p, m, m);
    std::vector<bf16> x(256, to_bf16(1.0f));
    state.store_carry(p, {x.data(), DType::kBF16, 1, 256, 256});
    state.commit();
  }
  for (const auto& [row, bytes] : before) CHECK(std::memcmp(row, bytes.data(), bytes.size()) == 0);
}

TEST_CASE("host state: the window ring holds the window beside a dropped step and a rollback") {
  StateShape shape;
  shape.layers = {{0, 128, 64, 0}};
  shape.window = 64;
  shape.max_rows = 40;
  shape.context = 4096;
  HostState state(shape);
  const auto write = [&](int64_t from, int64_t rows, uint8_t salt) {
    for (int64_t p = from; p < from + rows; ++p) {
      std::memset(state.layer(0).window_row(p), static_cast<int>((p * 7 + salt) % 256), 16);
    }
  };
  const auto holds_window = [&](int64_t t) {
    std::vector<uint8_t> row(static_cast<size_t>(state.layer(0).kv.bytes()));
    for (int64_t p = std::max<int64_t>(t - shape.window + 1, 0); p < t; ++p) {
      state.export_rows(0, StateRows::kWindow, p, 1, row.data());
      if (row[0] != static_cast<uint8_t>(p * 7 % 256)) return false;
    }
    return true;
  };
  for (int64_t at = 0; at < 1000; at += 40) {
    write(at, 40, 0);
    state.commit();
    write(at + 40, 40, 99);                 // dropped
    CHECK(holds_window(at + 40));
    CHECK(holds_window(at + 40 - std::min<int64_t>(kRollback, at)));
    write(at + 40 - kRollback, 40, 55);     // after a rollback: takes the newest 16 back for good …
    CHECK(holds_window(at + 40 - kRollback));
    write(at + 40 - kRollback, kRollback, 0);  // … until they are computed again
  }
}

TEST_CASE("host state: one that cannot fit in memory is an error, not a crash") {
  StateShape shape;
  shape.layers.assign(64, {4, 512, 64, 128});
  shape.window = 128;
  shape.max_rows = 512;
  shape.context = int64_t{1} << 61;  // bytes beyond what 64 bits can count
  try {
    HostState state(shape);
    FAIL("allocated");
  } catch (const Error& e) {
    CHECK(e.status() == Status::kOutOfMemoryHost);
    CHECK(std::string(e.what()).find("session state") != std::string::npos);
  }
}

}  // namespace dsv4
