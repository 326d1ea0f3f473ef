#include "lib/session/snapshot_chunks.h"

#include <algorithm>
#include <atomic>
#include <new>

#include <zstd.h>

namespace dsv4::snapshot {
namespace {

constexpr size_t kChunksPerThread = 8;  // a thread that is started for less is not worth it
constexpr size_t kMostThreads = 8;

int team_size(size_t chunks, int threads) {
  if (threads > 0) return threads;
  const size_t worth = std::clamp<size_t>(chunks / kChunksPerThread, 1, kMostThreads);
  return static_cast<int>(std::min(worth, static_cast<size_t>(usable_cores())));
}

// One whole frame and nothing else, of today's format: zstd itself would also take older ones, and several.
bool is_one_frame(std::span<const uint8_t> bytes) {
  constexpr uint8_t kFrame[] = {0x28, 0xb5, 0x2f, 0xfd};
  if (bytes.size() < sizeof kFrame || !std::equal(std::begin(kFrame), std::end(kFrame), bytes.begin())) return false;
  return ZSTD_findFrameCompressedSize(bytes.data(), bytes.size()) == bytes.size();
}

}  // namespace

void Packer::Free::operator()(ZSTD_CCtx_s* p) const { ZSTD_freeCCtx(p); }
void Packer::Free::operator()(ZSTD_DCtx_s* p) const { ZSTD_freeDCtx(p); }

Packer::Packer() : compressor_(ZSTD_createCCtx()), decompressor_(ZSTD_createDCtx()) {
  if (compressor_ == nullptr || decompressor_ == nullptr) throw std::bad_alloc();
}

void Packer::pack(Section& section, const SnapshotOptions& options) {
  section.header.flags &= ~static_cast<uint32_t>(kCompressed);
  section.header.raw = section.header.stored = section.raw.size();
  if (options.compress && section.raw.size() > 1) {
    // Room for less than the raw bytes: what does not fit is not worth it, and neither is what memory forbids.
    section.stored.resize(section.raw.size() - 1);
    const size_t size = ZSTD_compressCCtx(compressor_.get(), section.stored.data(), section.stored.size(),
                                          section.raw.data(), section.raw.size(), options.level);
    if (ZSTD_isError(size) == 0) {
      section.stored.resize(size);
      section.header.stored = size;
      section.header.flags |= kCompressed;
    }
  }
  const auto bytes = section.stored_bytes();
  section.header.checksum = checksum(bytes.data(), bytes.size());
}

const char* Packer::unpack(Section& section) {
  const auto bytes = section.stored_bytes();
  if (section.header.checksum != checksum(bytes.data(), bytes.size())) return "its checksum does not fit";
  if ((section.header.flags & kCompressed) == 0) return nullptr;
  section.raw.resize(section.header.raw);
  if (!is_one_frame(bytes)) return "not one zstd frame";
  const size_t size = ZSTD_decompressDCtx(decompressor_.get(), section.raw.data(), section.raw.size(), bytes.data(),
                                          bytes.size());
  if (ZSTD_isError(size) != 0) return ZSTD_getErrorName(size);
  return size == section.raw.size() ? nullptr : "it unpacks to another size";
}

Team::Team(size_t chunks, int threads) : pool_(team_size(chunks, threads)) {
  packers_.reserve(static_cast<size_t>(pool_.size()));
  for (int i = 0; i < pool_.size(); ++i) packers_.emplace_back();
}

void Team::each(std::span<Section> sections, const std::function<void(Packer&, Section&)>& work) {
  std::atomic<size_t> next{0};
  pool_.run([&](int thread) {
    for (size_t i; (i = next.fetch_add(1)) < sections.size();) work(packers_[static_cast<size_t>(thread)], sections[i]);
  });
}

// A job of the pool must not throw: all room is made before it starts.

void Team::pack(std::span<Section> sections, const SnapshotOptions& options) {
  for (Section& s : sections) s.stored.reserve(s.raw.size());
  each(sections, [&](Packer& packer, Section& s) { packer.pack(s, options); });
}

const char* Team::unpack(std::span<Section> sections) {
  for (Section& s : sections) s.raw.reserve(s.header.raw);
  std::atomic<const char*> wrong{nullptr};
  each(sections, [&](Packer& packer, Section& s) {
    const char* why = packer.unpack(s);
    if (why != nullptr) wrong.store(why);
  });
  return wrong.load();
}

}  // namespace dsv4::snapshot
