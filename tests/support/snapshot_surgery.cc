#include "tests/support/snapshot_surgery.h"

#include <algorithm>
#include <span>

namespace dsv4::snapshot {
namespace {

uint64_t number(const Bytes& bytes, size_t at, size_t size) {
  uint64_t v = 0;
  for (size_t i = 0; i < size; ++i) v |= uint64_t{bytes[at + i]} << 8 * i;
  return v;
}

// Of the header, checksum included; as much of it as there is.
size_t header_size(const Bytes& bytes) {
  if (bytes.size() < kHeadBytes) return bytes.size();
  return std::min<size_t>(std::max<uint64_t>(number(bytes, 12, 4), kHeadBytes + 8), bytes.size());
}

}  // namespace

void put_number(Bytes& bytes, size_t at, uint64_t value, size_t size) {
  for (size_t i = 0; i < size && at + i < bytes.size(); ++i) bytes[at + i] = static_cast<uint8_t>(value >> 8 * i);
}

std::vector<Place> find_sections(const Bytes& bytes) {
  std::vector<Place> places;
  for (size_t at = header_size(bytes); at + kSectionBytes <= bytes.size();) {
    SectionBytes head;
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), kSectionBytes, head.begin());
    Place place{at, {}};
    decode(head, place.header);
    places.push_back(place);
    const size_t left = bytes.size() - at - kSectionBytes;
    if (place.header.is(SectionType::kEnd) || place.header.stored > left) break;
    at += kSectionBytes + place.header.stored;
  }
  return places;
}

void fix_checksums(Bytes& bytes) {
  const size_t header = header_size(bytes);
  if (header < kHeadBytes + 8) return;
  put_number(bytes, header - 8, checksum(bytes.data(), header - 8), 8);
  Checksum all;
  all.add(bytes.data(), header);
  for (Place& place : find_sections(bytes)) {
    SectionHeader& h = place.header;
    const uint8_t* stored = bytes.data() + place.at + kSectionBytes;
    const size_t left = bytes.size() - place.at - kSectionBytes;
    h.checksum = h.is(SectionType::kEnd) ? all.value() : checksum(stored, std::min<uint64_t>(h.stored, left));
    const SectionBytes head = encode(h);
    std::copy(head.begin(), head.end(), bytes.begin() + static_cast<std::ptrdiff_t>(place.at));
    all.add(head.data(), head.size());
  }
}

void add_section(Bytes& bytes, uint32_t type, uint32_t flags, const Bytes& content) {
  SectionHeader h;
  h.type = type;
  h.flags = flags;
  h.raw = h.stored = content.size();
  const SectionBytes head = encode(h);
  const Place end = find_sections(bytes).back();
  Bytes added(head.begin(), head.end());
  added.insert(added.end(), content.begin(), content.end());
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(end.at), added.begin(), added.end());
  put_number(bytes, end.at + added.size() + 8, end.header.raw + 1, 8);
  fix_checksums(bytes);
}

}  // namespace dsv4::snapshot
