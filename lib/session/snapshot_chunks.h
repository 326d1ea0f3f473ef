// Sections as they are stored: compressed where that makes them smaller, with a checksum; and the state's chunks, many
// of which are packed and unpacked at once by a team of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/session/snapshot_format.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace dsv4::snapshot {

// The content of one section on its way out or in.
struct Section {
  SectionHeader header;
  std::vector<uint8_t> raw;
  std::vector<uint8_t> stored;  // compressed; empty where the raw bytes are stored

  std::span<const uint8_t> stored_bytes() const { return (header.flags & kCompressed) != 0 ? stored : raw; }
};

// One thread's means. Made where throwing is allowed; pack and unpack do not throw but for memory at first use.
class Packer {
 public:
  Packer();  // Error std::bad_alloc
  // Fills in header (but for the type) and `stored` from raw.
  void pack(Section& section, const SnapshotOptions& options);
  // What is wrong with the stored bytes, or nullptr; fills in raw, header.raw bytes of it.
  const char* unpack(Section& section);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* p) const;
    void operator()(ZSTD_DCtx_s* p) const;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> compressor_;
  std::unique_ptr<ZSTD_DCtx_s, Free> decompressor_;
};

// Packs or unpacks several sections at once.
class Team {
 public:
  // For `chunks` of them. threads 0: as many as that is worth.
  Team(size_t chunks, int threads);
  size_t batch() const { return 4 * packers_.size(); }
  void pack(std::span<Section> sections, const SnapshotOptions& options);
  // What is wrong with the first that is damaged, or nullptr.
  const char* unpack(std::span<Section> sections);

 private:
  void each(std::span<Section> sections, const std::function<void(Packer&, Section&)>& work);

  ThreadPool pool_;
  std::vector<Packer> packers_;
};

}  // namespace dsv4::snapshot
