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
#include <span>
#include <string>
#include <vector>

#include "lib/backend/host_state.h"
#include "lib/backend/synthetic_state.h"
#include "lib/checkpoint/config.h"
#include "lib/model/model.h"
#include "lib/session/snapshot_state.h"

namespace {

using namespace dsv4;
using namespace dsv4::snapshot;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
  fill_with_noise(state, shape, tokens);
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
