// The state's sections, to a sink and from a source: apart from Session, so that a state of any shape will do.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/session/snapshot_chunks.h"

namespace dsv4::snapshot {

// Writes sections one after the other, and the END.
class SectionWriter {
 public:
  // Writes the header.
  SectionWriter(const ByteSink& sink, const SnapshotHeader& header);
  void write(SectionType type, const Section& section, uint32_t flags = kCritical);
  void end();

 private:
  const ByteSink& sink_;
  Checksum headers_;
  uint64_t count_ = 0;
};

using ExportRows = std::function<void(std::span<const StatePart> parts, uint8_t* out)>;
using ImportRows = std::function<void(std::span<const StatePart> parts, const uint8_t* in)>;

void write_state(SectionWriter& writer, std::span<const StateChunk> chunks, const ExportRows& rows,
                 const SnapshotOptions& options);

// Takes the chunks as they come, several at once.
class StateReader {
 public:
  StateReader(const ByteSource& source, std::vector<StateChunk> chunks, ImportRows rows, int threads = 0);
  // The next chunk, whose header has been read. Error kCorrupt.
  void take(const SectionHeader& header);
  // No more come. Error kCorrupt: some are missing, or damaged.
  void finish();

 private:
  void flush();

  const ByteSource& source_;
  std::vector<StateChunk> chunks_;
  ImportRows rows_;
  Team team_;
  std::vector<Section> batch_;
  size_t waiting_ = 0;  // in batch_
  size_t done_ = 0;     // chunks brought in
};

// Reads the stored bytes of a section whose content has `raw` bytes. Error kCorrupt.
void read_stored(const ByteSource& source, const SectionHeader& header, uint64_t raw, const char* what, Section& out);

}  // namespace dsv4::snapshot
