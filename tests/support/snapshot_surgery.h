// Changes to the bytes of a snapshot that keep its checksums right: what damage never does, and a stranger may.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/session/snapshot_format.h"

namespace dsv4::snapshot {

using Bytes = std::vector<uint8_t>;

struct Place {
  size_t at = 0;  // of the section's header
  SectionHeader header;
};

// The sections as far as the bytes go; the last is END where there is one.
std::vector<Place> find_sections(const Bytes& bytes);
// Makes the header, every section and the END say what the bytes are.
void fix_checksums(Bytes& bytes);
void put_number(Bytes& bytes, size_t at, uint64_t value, size_t size);
// A section before the END, which counts it.
void add_section(Bytes& bytes, uint32_t type, uint32_t flags, const Bytes& content);

}  // namespace dsv4::snapshot
