// The fields of a section whose length is its own affair, read one after the other. Nothing is taken that is not there,
// and no room is made for more than the bytes that are: every error is kCorrupt and names file and section.
#pragma once

#include <bit>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/session/snapshot_format.h"

namespace dsv4::snapshot {

class FieldReader {
 public:
  FieldReader(std::span<const uint8_t> bytes, std::string_view file, std::string_view section)
      : in_(bytes), place_(std::string(file) + ": " + std::string(section)) {}

  uint32_t u32() {
    need(4);
    return in_.u32();
  }
  uint64_t u64() {
    need(8);
    return in_.u64();
  }
  double f64() { return std::bit_cast<double>(u64()); }
  float f32() { return std::bit_cast<float>(u32()); }
  // A number that must lie between two others.
  uint64_t u64(uint64_t low, uint64_t high, const char* field) { return within(u64(), low, high, field); }
  uint32_t u32(uint32_t low, uint32_t high, const char* field) {
    return static_cast<uint32_t>(within(u32(), low, high, field));
  }
  // A count of things of at least `each` bytes, which must be there.
  size_t count(size_t each) {
    const uint64_t count = u64();
    if (count > in_.left() / each)
      fail(Status::kCorrupt, "{}: a count of {} with {} bytes left", place_, count, in_.left());
    return count;
  }
  std::string string() {
    const auto bytes = in_.bytes(count(1));
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::vector<int32_t> ids(int64_t vocab) {
    std::vector<int32_t> out(count(4));
    for (int32_t& id : out) id = static_cast<int32_t>(u32(0, static_cast<uint32_t>(vocab - 1), "token id"));
    return out;
  }
  void end() const {
    if (in_.left() != 0) fail(Status::kCorrupt, "{}: {} bytes too many", place_, in_.left());
  }
  const std::string& place() const { return place_; }  // "FILE: SECTION"

 private:
  void need(size_t bytes) const {
    if (in_.left() < bytes) fail(Status::kCorrupt, "{} ends too early", place_);
  }
  uint64_t within(uint64_t value, uint64_t low, uint64_t high, const char* field) const {
    if (value < low || value > high) {
      fail(Status::kCorrupt, "{}: {} {}: {} to {} expected", place_, field, value, low, high);
    }
    return value;
  }

  Decoder in_;
  std::string place_;
};

}  // namespace dsv4::snapshot
