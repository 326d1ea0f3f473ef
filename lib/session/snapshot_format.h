// The bytes of a snapshot (SNAPSHOT.md): the header, the headers of sections, and how the state is cut into chunks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/backend/state_parts.h"
#include "lib/base/checksum.h"
#include "lib/session/snapshot.h"

namespace dsv4::snapshot {

inline constexpr std::array<uint8_t, 8> kMagic = {0x89, 'D', 'S', 'V', '4', '\r', '\n', 0x1a};
inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kHeadBytes = 16;  // magic, version, size of the header: the same in every version
inline constexpr size_t kFixedBytes = 96;
inline constexpr size_t kLayerBytes = 24;
inline constexpr size_t kMostLayers = 1024;
inline constexpr size_t kChunkBytes = 1 << 20;
inline constexpr size_t kSectionBytes = 40;
inline constexpr uint64_t kMostPlainBytes = uint64_t{256} << 20;
inline constexpr uint64_t kMostUnknownSections = 1024;

enum class SectionType : uint32_t {
  kTokens = 1,
  kState = 2,
  kLogits = 3,
  kConversation = 4,
  kMark = 5,
  kTurn = 6,
  kEnd = 0xffffffff
};
inline constexpr uint32_t kOpenTurn = 1;  // of the header's flags
enum SectionFlags : uint32_t { kCritical = 1, kCompressed = 2 };

struct SectionHeader {
  uint32_t type = 0;
  uint32_t flags = 0;
  uint64_t raw = 0;       // bytes of the content; END: how many sections there were
  uint64_t stored = 0;    // bytes that follow
  uint64_t checksum = 0;  // of the stored bytes; END: of the header and of all section headers

  bool is(SectionType t) const { return type == static_cast<uint32_t>(t); }
};
using SectionBytes = std::array<uint8_t, kSectionBytes>;
SectionBytes encode(const SectionHeader& section);
// False: damaged.
bool decode(const SectionBytes& bytes, SectionHeader& section);

std::vector<uint8_t> encode(const SnapshotHeader& header);
// Reads and checks the header; `bytes` receives it. Error kCorrupt, kUnsupported.
SnapshotHeader read_header(const ByteSource& source, std::vector<uint8_t>& bytes);
// Reads exactly `size` bytes. Error kCorrupt: `what` is cut short.
void read_exactly(const ByteSource& source, void* data, size_t size, const char* what);

// The state of so many positions: its rows in the order of state_parts, cut into chunks of as many whole rows as fit
// into kChunkBytes (at least one).
using StateChunk = std::vector<StatePart>;
std::vector<StateChunk> state_chunks(const StateShape& shape, int64_t positions);

// Little-endian numbers, one after the other.
class Encoder {
 public:
  explicit Encoder(std::vector<uint8_t>& out) : out_(out) {}
  void u32(uint64_t v) { put(v, 4); }
  void u64(uint64_t v) { put(v, 8); }

 private:
  void put(uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<uint8_t>(v >> 8 * i));
  }
  std::vector<uint8_t>& out_;
};

// The caller has checked that there are as many bytes.
class Decoder {
 public:
  explicit Decoder(std::span<const uint8_t> in) : in_(in) {}
  uint32_t u32() { return static_cast<uint32_t>(get(4)); }
  uint64_t u64() { return get(8); }
  size_t left() const { return in_.size(); }
  std::span<const uint8_t> bytes(size_t count) {
    const auto taken = in_.first(count);
    in_ = in_.subspan(count);
    return taken;
  }

 private:
  uint64_t get(size_t count) {
    uint64_t v = 0;
    const auto from = bytes(count);
    for (size_t i = 0; i < count; ++i) v |= uint64_t{from[i]} << 8 * i;
    return v;
  }
  std::span<const uint8_t> in_;
};

}  // namespace dsv4::snapshot
