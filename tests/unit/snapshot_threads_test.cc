// The state's chunks: every row once, none too large, and the same bytes and rows however many threads pack them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "lib/backend/host_state.h"
#include "lib/base/error.h"
#include "lib/session/snapshot_state.h"

using namespace dsv4;
using namespace dsv4::snapshot;

namespace {

StateShape make_shape(int64_t context) {
  StateShape shape;
  shape.layers = {{0, 512, 64, 0}, {4, 512, 64, 128}, {128, 512, 64, 0}, {4, 128, 64, 64}, {0, 512, 64, 0}};
  shape.window = 128;
  shape.max_rows = 32;
  shape.context = context;
  shape.carry = 4 * 256;
  return shape;
}

void for_each_part(std::span<const StatePart> parts, uint8_t* at, auto&& body) {
  for (const StatePart& p : parts) {
    body(p, at);
    at += p.bytes();
  }
}

void fill(HostState& state, const StateShape& shape, int64_t positions) {
  std::mt19937 random(7);
  std::vector<uint8_t> rows;
  for (const StatePart& p : state_parts(shape, positions, StateExtent::kAll)) {
    rows.resize(p.bytes());
    for (uint8_t& b : rows) b = static_cast<uint8_t>(random() % 50);
    state.import_rows(p.layer, p.rows, p.first, p.count, rows.data());
  }
}

std::vector<uint8_t> all_rows(const HostState& state, const StateShape& shape, int64_t positions) {
  const std::vector<StatePart> parts = state_parts(shape, positions, StateExtent::kAll);
  std::vector<uint8_t> out(total_bytes(parts));
  for_each_part(parts, out.data(), [&](const StatePart& p, uint8_t* at) {
    state.export_rows(p.layer, p.rows, p.first, p.count, at);
  });
  return out;
}

SnapshotHeader header_for(const StateShape& shape, int64_t positions) {
  SnapshotHeader h;
  h.tokens = h.evaluated = h.context = static_cast<uint64_t>(positions);
  h.vocab = 10;
  h.window = static_cast<uint32_t>(shape.window);
  h.carry = static_cast<uint32_t>(shape.carry);
  h.layers = shape.layers;
  return h;
}

std::vector<uint8_t> write(const HostState& state, const StateShape& shape, int64_t positions,
                           const SnapshotOptions& options) {
  std::vector<uint8_t> out;
  const ByteSink sink = [&](const void* data, size_t size) {
    const uint8_t* p = static_cast<const uint8_t*>(data);
    out.insert(out.end(), p, p + size);
  };
  SectionWriter writer(sink, header_for(shape, positions));
  const auto rows = [&](std::span<const StatePart> parts, uint8_t* to) {
    for_each_part(parts, to, [&](const StatePart& p, uint8_t* at) {
      state.export_rows(p.layer, p.rows, p.first, p.count, at);
    });
  };
  write_state(writer, state_chunks(shape, positions), rows, options);
  writer.end();
  return out;
}

void read(HostState& state, const StateShape& shape, const std::vector<uint8_t>& bytes, int64_t positions,
          int threads) {
  size_t at = 0;
  const ByteSource source{[&](void* data, size_t size) {
                            const size_t n = std::min(size, bytes.size() - at);
                            if (n != 0) std::memcpy(data, bytes.data() + at, n);
                            at += n;
                            return n;
                          },
                          "memory", false};
  std::vector<uint8_t> head;
  read_header(source, head);
  StateReader reader(
      source, state_chunks(shape, positions),
      [&](std::span<const StatePart> parts, const uint8_t* in) {
        for_each_part(parts, const_cast<uint8_t*>(in), [&](const StatePart& p, const uint8_t* from) {
          state.import_rows(p.layer, p.rows, p.first, p.count, from);
        });
      },
      threads);
  for (;;) {
    SectionBytes section;
    SectionHeader header;
    read_exactly(source, section.data(), section.size(), "a section");
    REQUIRE(decode(section, header));
    if (header.is(SectionType::kEnd)) break;
    reader.take(header);
  }
  reader.finish();
}

}  // namespace

TEST_CASE("chunks are the parts in their order, cut at rows") {
  for (const int64_t positions : {0, 1, 2, 127, 129, 2000, 20000}) {
    CAPTURE(positions);
    const StateShape shape = make_shape(20000);
    std::vector<StatePart> joined;
    for (const StateChunk& chunk : state_chunks(shape, positions)) {
      CHECK(total_bytes(chunk) <= kChunkBytes);
      REQUIRE_FALSE(chunk.empty());
      for (const StatePart& p : chunk) {
        CHECK(p.count > 0);
        const bool goes_on = !joined.empty() && joined.back().layer == p.layer && joined.back().rows == p.rows;
        if (!goes_on) {
          joined.push_back(p);
          continue;
        }
        CHECK(joined.back().first + joined.back().count == p.first);
        joined.back().count += p.count;
      }
    }
    const std::vector<StatePart> want = state_parts(shape, positions, StateExtent::kAll);
    REQUIRE(joined.size() == want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      CHECK(joined[i].layer == want[i].layer);
      CHECK(joined[i].rows == want[i].rows);
      CHECK(joined[i].first == want[i].first);
      CHECK(joined[i].count == want[i].count);
    }
  }
}

TEST_CASE("a row larger than a chunk is a chunk") {
  StateShape shape;
  shape.layers = {{4, 1 << 17, 64, 0}};
  shape.window = 4;
  shape.context = shape.max_rows = 16;
  const std::vector<StateChunk> chunks = state_chunks(shape, 6);
  size_t rows = 0;
  for (const StateChunk& chunk : chunks) {
    if (total_bytes(chunk) <= kChunkBytes) continue;
    CHECK(chunk.size() == 1);
    CHECK(chunk.front().count == 1);
    ++rows;
  }
  CHECK(rows == 6);  // the tail: 16 bytes for each of 131072 dims, positions 0 to 5
}

TEST_CASE("with any number of threads the same bytes, and the same rows back") {
  constexpr int64_t kPositions = 20000;
  const StateShape shape = make_shape(kPositions);
  HostState state(shape);
  fill(state, shape, kPositions);
  const std::vector<uint8_t> rows = all_rows(state, shape, kPositions);
  for (const bool compress : {false, true}) {
    std::vector<uint8_t> first;
    for (const int threads : {1, 2, 3}) {
      CAPTURE(threads);
      SnapshotOptions options;
      options.compress = compress;
      options.threads = threads;
      const std::vector<uint8_t> bytes = write(state, shape, kPositions, options);
      if (first.empty()) first = bytes;
      CHECK((bytes == first));
      CHECK((bytes.size() < rows.size()) == compress);
      HostState back(shape);
      read(back, shape, bytes, kPositions, threads);
      CHECK((all_rows(back, shape, kPositions) == rows));
    }
    // One damaged chunk among those that are unpacked at once is found, whichever thread has it.
    first[first.size() / 2] ^= 16;
    HostState back(shape);
    CHECK_THROWS_AS(read(back, shape, first, kPositions, 2), Error);
  }
}
