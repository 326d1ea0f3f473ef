#include "lib/session/snapshot_format.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"

namespace dsv4::snapshot {
namespace {

constexpr size_t kChecksumBytes = 8;
constexpr size_t kHeaderSize(size_t layers) { return kFixedBytes + layers * kLayerBytes + kChecksumBytes; }
constexpr uint64_t kMostDim = 1 << 20;  // of any size in the layout: products of two stay far from wrapping

// What a checksum cannot find: a writer's mistake, or malice. Later code relies on all of it.
void check_header(const SnapshotHeader& h, const std::string& name) {
  const auto need = [&](bool ok, const char* field, uint64_t found) {
    if (!ok) fail(Status::kCorrupt, "{}: {} of the header: {} found", name, field, found);
  };
  constexpr uint64_t kMostTokens = uint64_t{1} << 40;
  need(h.tokens <= kMostTokens, "tokens", h.tokens);
  need(h.evaluated <= h.tokens, "evaluated tokens", h.evaluated);
  need(h.context >= h.tokens && h.context <= kMostTokens, "context", h.context);
  need(h.vocab > 0, "vocabulary", h.vocab);
  need(h.profile == Profile::kPreview || h.profile == Profile::k0731, "profile", static_cast<uint64_t>(h.profile));
  const auto drive = static_cast<uint32_t>(h.drive);
  need(drive <= static_cast<uint32_t>(Session::Drive::kTokens), "drive", drive);
  need(h.window > 0 && h.window <= kMostDim, "window", h.window);
}

void check_layer(const LayerShape& s, uint32_t kv_bytes, uint32_t index_bytes, const std::string& name, size_t index) {
  const auto in_range = [](int64_t v) { return v >= 0 && static_cast<uint64_t>(v) <= kMostDim; };
  const bool sizes = in_range(s.ratio) && in_range(s.head_dim) && in_range(s.rope_dim) && in_range(s.index_dim) &&
                     s.rope_dim <= s.head_dim;
  if (!sizes || kv_bytes != row_bytes(s, StateRows::kWindow) || index_bytes != row_bytes(s, StateRows::kIndex)) {
    fail(Status::kCorrupt, "{}: layer {} of the header: sizes that do not go together", name, index);
  }
}

}  // namespace

void read_exactly(const ByteSource& source, void* data, size_t size, const char* what) {
  uint8_t* p = static_cast<uint8_t*>(data);
  size_t have = 0;
  while (have < size) {
    const size_t n = source.read(p + have, size - have);
    if (n == 0) {
      fail(Status::kCorrupt, "{}: cut short: {} of the {} bytes of {} are there", source.name, have, size, what);
    }
    have += n;
  }
}

SectionBytes encode(const SectionHeader& section) {
  std::vector<uint8_t> out;
  out.reserve(kSectionBytes);
  Encoder e(out);
  e.u32(section.type);
  e.u32(section.flags);
  e.u64(section.raw);
  e.u64(section.stored);
  e.u64(section.checksum);
  e.u64(checksum(out.data(), out.size()));
  SectionBytes bytes;
  std::copy(out.begin(), out.end(), bytes.begin());
  return bytes;
}

bool decode(const SectionBytes& bytes, SectionHeader& section) {
  Decoder d(bytes);
  section.type = d.u32();
  section.flags = d.u32();
  section.raw = d.u64();
  section.stored = d.u64();
  section.checksum = d.u64();
  return d.u64() == checksum(bytes.data(), kSectionBytes - kChecksumBytes);
}

std::vector<uint8_t> encode(const SnapshotHeader& h) {
  std::vector<uint8_t> out(kMagic.begin(), kMagic.end());
  Encoder e(out);
  e.u32(kVersion);
  e.u32(kHeaderSize(h.layers.size()));
  e.u64(h.fingerprint);
  e.u64(h.tokens);
  e.u64(h.evaluated);
  e.u64(h.context);
  e.u64(h.state_bytes);
  e.u32(h.vocab);
  e.u32(static_cast<uint32_t>(h.profile));
  e.u32(static_cast<uint32_t>(h.drive));
  e.u32(h.window);
  e.u32(h.carry);
  e.u32(h.layers.size());
  e.u64(kChunkBytes);
  e.u32(h.open_turn ? kOpenTurn : 0);
  e.u32(0);  // reserved
  for (const LayerShape& s : h.layers) {
    e.u32(static_cast<uint32_t>(s.ratio));
    e.u32(static_cast<uint32_t>(s.head_dim));
    e.u32(static_cast<uint32_t>(s.rope_dim));
    e.u32(static_cast<uint32_t>(s.index_dim));
    e.u32(row_bytes(s, StateRows::kWindow));
    e.u32(row_bytes(s, StateRows::kIndex));
  }
  e.u64(checksum(out.data(), out.size()));
  return out;
}

SnapshotHeader read_header(const ByteSource& source, std::vector<uint8_t>& bytes) {
  bytes.resize(kHeadBytes);
  read_exactly(source, bytes.data(), kHeadBytes, "the header");
  if (!std::equal(kMagic.begin(), kMagic.end(), bytes.begin())) {
    fail(Status::kCorrupt, "{}: not a snapshot of libdsv4", source.name);
  }
  Decoder head(std::span<const uint8_t>(bytes).subspan(kMagic.size()));
  const uint32_t version = head.u32();
  const size_t size = head.u32();
  if (size < kHeadBytes + kChecksumBytes || size > kHeaderSize(kMostLayers)) {
    fail(Status::kCorrupt, "{}: the header's size: {} bytes found", source.name, size);
  }
  bytes.resize(size);
  read_exactly(source, bytes.data() + kHeadBytes, size - kHeadBytes, "the header");
  // In every version the last 8 bytes are the checksum: damage is told from another version.
  if (Decoder(std::span(bytes).last(kChecksumBytes)).u64() != checksum(bytes.data(), size - kChecksumBytes)) {
    fail(Status::kCorrupt, "{}: the header is damaged: its checksum does not fit", source.name);
  }
  if (version != kVersion) {
    fail(Status::kUnsupported, "{}: format version {}: this library reads version {}", source.name, version, kVersion);
  }
  if (size < kHeaderSize(0)) fail(Status::kCorrupt, "{}: the header's size: {} bytes found", source.name, size);
  Decoder d(std::span<const uint8_t>(bytes).subspan(kHeadBytes));
  SnapshotHeader h;
  h.fingerprint = d.u64();
  h.tokens = d.u64();
  h.evaluated = d.u64();
  h.context = d.u64();
  h.state_bytes = d.u64();
  h.vocab = d.u32();
  h.profile = static_cast<Profile>(d.u32());
  h.drive = static_cast<Session::Drive>(d.u32());
  h.window = d.u32();
  h.carry = d.u32();
  const size_t layers = d.u32();
  const uint64_t chunk = d.u64();
  h.open_turn = (d.u32() & kOpenTurn) != 0;
  d.u32();
  check_header(h, source.name);
  if (layers == 0 || layers > kMostLayers || size != kHeaderSize(layers) || chunk != kChunkBytes) {
    fail(Status::kCorrupt, "{}: {} layers, chunks of {} bytes and a header of {} bytes do not go together", source.name,
         layers, chunk, size);
  }
  for (size_t i = 0; i < layers; ++i) {
    LayerShape s;
    s.ratio = static_cast<int>(d.u32());
    s.head_dim = d.u32();
    s.rope_dim = d.u32();
    s.index_dim = d.u32();
    const uint32_t kv_bytes = d.u32(), index_bytes = d.u32();
    check_layer(s, kv_bytes, index_bytes, source.name, i);
    h.layers.push_back(s);
  }
  return h;
}

std::vector<StateChunk> state_chunks(const StateShape& shape, int64_t positions) {
  std::vector<StateChunk> chunks;
  size_t room = 0;
  for (StatePart part : state_parts(shape, positions, StateExtent::kAll)) {
    for (int64_t left = part.count; left > 0;) {
      if (room < part.row_bytes) {
        chunks.emplace_back();
        room = std::max(kChunkBytes, part.row_bytes);
      }
      part.count = std::min(left, static_cast<int64_t>(room / part.row_bytes));
      chunks.back().push_back(part);
      room -= part.bytes();
      left -= part.count;
      part.first += part.count;
    }
  }
  return chunks;
}

}  // namespace dsv4::snapshot
