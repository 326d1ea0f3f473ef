// Saving and restoring a state of a published model's shape, to and from memory: raw and stored bytes, seconds, for
// each level and with one thread and two. The rows are random numbers in the model's own formats, as its norms leave
// them. Fails when the raw state of Flash at 64K tokens takes more than 240 MB, or what was restored is not what was
// saved.
//   snapshot_bench [tokens [flash|pro]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "lib/backend/host_state.h"
#include "lib/base/kv_row.h"
#include "lib/checkpoint/config.h"
#include "lib/model/model.h"
#include "lib/session/snapshot_state.h"

namespace {

using namespace dsv4;
using namespace dsv4::snapshot;

constexpr int64_t kPool = 8192;  // different rows of a kind: many more than a chunk holds, so that none repeats in one

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Rows of one kind, packed.
std::vector<uint8_t> make_rows(const LayerShape& shape, StateRows which, size_t bytes, int64_t count) {
  std::mt19937 random(static_cast<uint32_t>(which) + 1);
  std::normal_distribution<float> normal;
  std::vector<uint8_t> out(bytes * static_cast<size_t>(count));
  std::vector<float> x(std::max<size_t>(bytes, 512) * 2);
  for (int64_t i = 0; i < count; ++i) {
    uint8_t* row = out.data() + static_cast<size_t>(i) * bytes;
    for (float& v : x) v = normal(random);
    if (which == StateRows::kWindow || which == StateRows::kCompressed) {
      KvRowLayout{shape.head_dim - shape.rope_dim, shape.rope_dim}.pack(row, x.data());
    } else if (which == StateRows::kIndex) {
      IndexRowLayout{shape.index_dim}.pack(row, x.data());
    } else {
      std::memcpy(row, x.data(), bytes);
    }
  }
  return out;
}

void fill(HostState& state, const StateShape& shape, int64_t tokens) {
  std::vector<std::vector<uint8_t>> pools(6);
  std::vector<size_t> sizes(6);
  for (const StatePart& part : state_parts(shape, tokens, StateExtent::kAll)) {
    const size_t kind = static_cast<size_t>(part.rows);
    const LayerShape layer = part.layer >= 0 ? shape.layers[static_cast<size_t>(part.layer)] : LayerShape{};
    const bool long_lived = part.rows == StateRows::kCompressed || part.rows == StateRows::kIndex;
    const int64_t pool = long_lived ? kPool : part.count;
    if (sizes[kind] != part.row_bytes || pools[kind].size() < static_cast<size_t>(pool) * part.row_bytes) {
      pools[kind] = make_rows(layer, part.rows, part.row_bytes, pool);
      sizes[kind] = part.row_bytes;
    }
    for (int64_t i = 0; i < part.count; i += pool) {
      state.import_rows(part.layer, part.rows, part.first + i, std::min(pool, part.count - i), pools[kind].data());
    }
  }
}

void export_parts(const HostState& state, std::span<const StatePart> parts, uint8_t* out) {
  for (const StatePart& p : parts) {
    state.export_rows(p.layer, p.rows, p.first, p.count, out);
    out += p.bytes();
  }
}

void import_parts(HostState& state, std::span<const StatePart> parts, const uint8_t* in) {
  for (const StatePart& p : parts) {
    state.import_rows(p.layer, p.rows, p.first, p.count, in);
    in += p.bytes();
  }
}

bool same(const HostState& a, const HostState& b, const std::vector<StateChunk>& chunks) {
  std::vector<uint8_t> x(2 * kChunkBytes), y(2 * kChunkBytes);
  for (const StateChunk& chunk : chunks) {
    export_parts(a, chunk, x.data());
    export_parts(b, chunk, y.data());
    if (std::memcmp(x.data(), y.data(), total_bytes(chunk)) != 0) return false;
  }
  return true;
}

struct Times {
  double save = 1e9, restore = 1e9;
  size_t bytes = 0;
  bool same = true;
};

Times measure(const HostState& state, const StateShape& shape, const SnapshotHeader& header,
              const SnapshotOptions& options, int rounds) {
  const std::vector<StateChunk> chunks = state_chunks(shape, static_cast<int64_t>(header.evaluated));
  Times t;
  std::vector<uint8_t> memory(header.state_bytes + (size_t{16} << 20));
  for (int round = 0; round < rounds; ++round) {
    size_t size = 0;
    const ByteSink sink = [&](const void* data, size_t n) {
      std::memcpy(memory.data() + size, data, n);
      size += n;
    };
    const auto start = std::chrono::steady_clock::now();
    SectionWriter writer(sink, header);
    write_state(writer, chunks, [&](auto parts, uint8_t* out) { export_parts(state, parts, out); }, options);
    writer.end();
    t.save = std::min(t.save, seconds_since(start));
    t.bytes = size;

    size_t at = 0;
    const ByteSource source{[&](void* data, size_t n) {
                              n = std::min(n, size - at);
                              std::memcpy(data, memory.data() + at, n);
                              at += n;
                              return n;
                            },
                            "memory", false};
    const auto begin = std::chrono::steady_clock::now();
    HostState back(shape);
    std::vector<uint8_t> bytes;
    read_header(source, bytes);
    StateReader reader(source, chunks, [&](auto parts, const uint8_t* in) { import_parts(back, parts, in); },
                       options.threads);
    for (size_t i = 0; i < chunks.size(); ++i) {
      SectionBytes head;
      SectionHeader section;
      read_exactly(source, head.data(), head.size(), "a section");
      if (decode(head, section)) reader.take(section);
    }
    reader.finish();
    t.restore = std::min(t.restore, seconds_since(begin));
    t.same = t.same && same(state, back, chunks);
  }
  return t;
}

int run(int64_t tokens, const std::string& name) {
  const Config config = published_config(name);
  const StateShape shape = Model::state_shape(config, tokens, 512, true);
  HostState state(shape);
  fill(state, shape, tokens);
  SnapshotHeader header;
  header.tokens = header.evaluated = header.context = static_cast<uint64_t>(tokens);
  header.state_bytes = total_bytes(state_parts(shape, tokens, StateExtent::kAll));
  header.vocab = static_cast<uint32_t>(config.vocab);
  header.window = static_cast<uint32_t>(shape.window);
  header.carry = static_cast<uint32_t>(shape.carry);
  header.layers = shape.layers;
  std::printf("%s, %lld tokens, with the draft head: %.1f MB of state\n", name.c_str(), static_cast<long long>(tokens),
              static_cast<double>(header.state_bytes) / 1e6);
  std::printf("%10s %8s %12s %10s %10s\n", "level", "threads", "stored MB", "save s", "restore s");
  bool good = true;
  for (const int level : {0, -5, -1, 1, 3}) {  // 0: not compressed
    for (const int threads : {1, 2}) {
      SnapshotOptions options;
      options.compress = level != 0;
      options.level = level;
      options.threads = threads;
      const Times t = measure(state, shape, header, options, 3);
      std::printf("%10s %8d %12.1f %10.3f %10.3f%s\n", level == 0 ? "off" : std::to_string(level).c_str(), threads,
                  static_cast<double>(t.bytes) / 1e6, t.save, t.restore, t.same ? "" : "  NOT THE SAME");
      good = good && t.same;
    }
  }
  if (name == "flash" && tokens == 65536) good = good && header.state_bytes <= 240'000'000;
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? std::atoll(argv[1]) : 65536, argc > 2 ? argv[2] : "flash");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "snapshot_bench: %s\n", error.what());
    return 1;
  }
}
