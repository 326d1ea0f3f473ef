#include "lib/session/snapshot_state.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"

namespace dsv4::snapshot {
namespace {

size_t bytes_of(const StateChunk& chunk) {
  size_t bytes = 0;
  for (const StatePart& part : chunk) bytes += part.bytes();
  return bytes;
}

}  // namespace

SectionWriter::SectionWriter(const ByteSink& sink, const SnapshotHeader& header) : sink_(sink) {
  const std::vector<uint8_t> bytes = encode(header);
  headers_.add(bytes.data(), bytes.size());
  sink_(bytes.data(), bytes.size());
}

void SectionWriter::write(SectionType type, const Section& section, uint32_t flags) {
  SectionHeader header = section.header;
  header.type = static_cast<uint32_t>(type);
  header.flags |= flags;
  const SectionBytes head = encode(header);
  headers_.add(head.data(), head.size());
  ++count_;
  sink_(head.data(), head.size());
  const auto bytes = section.stored_bytes();
  if (!bytes.empty()) sink_(bytes.data(), bytes.size());
}

void SectionWriter::end() {
  SectionHeader header;
  header.type = static_cast<uint32_t>(SectionType::kEnd);
  header.flags = kCritical;
  header.raw = count_;
  header.checksum = headers_.value();
  const SectionBytes head = encode(header);
  sink_(head.data(), head.size());
}

void write_state(SectionWriter& writer, std::span<const StateChunk> chunks, const ExportRows& rows,
                 const SnapshotOptions& options) {
  Team team(chunks.size(), options.threads);
  std::vector<Section> batch(std::min(team.batch(), chunks.size()));
  for (size_t first = 0; first < chunks.size(); first += batch.size()) {
    const size_t count = std::min(batch.size(), chunks.size() - first);
    for (size_t i = 0; i < count; ++i) {
      batch[i].raw.resize(bytes_of(chunks[first + i]));
      rows(chunks[first + i], batch[i].raw.data());
    }
    team.pack(std::span(batch).first(count), options);
    for (size_t i = 0; i < count; ++i) writer.write(SectionType::kState, batch[i]);
  }
}

void read_stored(const ByteSource& source, const SectionHeader& header, uint64_t raw, const char* what, Section& out) {
  const bool compressed = (header.flags & kCompressed) != 0;
  // Compressed means smaller: so whatever the file says, no more is allocated than the content takes.
  if (header.raw != raw || (compressed ? header.stored >= raw : header.stored != raw)) {
    fail(Status::kCorrupt, "{}: {}: {} bytes, stored as {}: {} expected", source.name, what, header.raw, header.stored,
         raw);
  }
  out.header = header;
  std::vector<uint8_t>& bytes = compressed ? out.stored : out.raw;
  bytes.resize(header.stored);
  read_exactly(source, bytes.data(), bytes.size(), what);
}

StateReader::StateReader(const ByteSource& source, std::vector<StateChunk> chunks, ImportRows rows, int threads)
    : source_(source),
      chunks_(std::move(chunks)),
      rows_(std::move(rows)),
      team_(chunks_.size(), threads),
      batch_(std::min(team_.batch(), chunks_.size())) {}

void StateReader::take(const SectionHeader& header) {
  const size_t index = done_ + waiting_;
  if (index >= chunks_.size()) {
    fail(Status::kCorrupt, "{}: more than the {} chunks of state that belong to it", source_.name, chunks_.size());
  }
  read_stored(source_, header, bytes_of(chunks_[index]), "a chunk of the state", batch_[waiting_]);
  ++waiting_;
  if (waiting_ == batch_.size()) flush();
}

void StateReader::flush() {
  const auto sections = std::span(batch_).first(waiting_);
  const char* wrong = team_.unpack(sections);
  if (wrong != nullptr) {
    fail(Status::kCorrupt, "{}: a chunk of the state, {} to {}, is damaged: {}", source_.name, done_,
         done_ + waiting_ - 1, wrong);
  }
  for (const Section& section : sections) rows_(chunks_[done_++], section.raw.data());
  waiting_ = 0;
}

void StateReader::finish() {
  if (waiting_ != 0) flush();
  if (done_ != chunks_.size()) {
    fail(Status::kCorrupt, "{}: {} of {} chunks of the state are there", source_.name, done_, chunks_.size());
  }
}

}  // namespace dsv4::snapshot
