// Saving to memory and restoring from it, in tests of snapshots.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/support/api_session.h"
#include "tests/support/snapshot_surgery.h"

namespace dsv4::api_test {

using snapshot::Bytes;

struct Collector {
  Bytes bytes;
  int64_t calls_left = -1;  // gives up at the call after so many
  static int32_t write(void* user, const void* data, size_t size) {
    Collector& c = *static_cast<Collector*>(user);
    if (c.calls_left == 0) return 7;
    if (c.calls_left > 0) --c.calls_left;
    const uint8_t* p = static_cast<const uint8_t*>(data);
    c.bytes.insert(c.bytes.end(), p, p + size);
    return 0;
  }
};

struct Feeder {
  const Bytes& bytes;
  size_t size;              // as if the bytes ended there
  size_t most = SIZE_MAX;   // bytes at once; short reads of odd sizes below
  int64_t calls_left = -1;  // gives up at the call after so many
  size_t at = 0;
  explicit Feeder(const Bytes& b) : bytes(b), size(b.size()) {}
  static int64_t read(void* user, void* data, size_t size) {
    Feeder& f = *static_cast<Feeder*>(user);
    if (f.calls_left == 0) return -3;
    if (f.calls_left > 0) --f.calls_left;
    const size_t n = std::min({size, f.size - f.at, f.most});
    if (n != 0) std::memcpy(data, f.bytes.data() + f.at, n);
    f.at += n;
    return static_cast<int64_t>(n);
  }
};

inline Bytes save(dsv4_session* session, bool compress = true, int32_t level = 0) {
  dsv4_snapshot_options o = DSV4_SNAPSHOT_OPTIONS_INIT;
  o.uncompressed = !compress;
  o.level = level;
  Collector c;
  Failure f;
  const dsv4_status status = dsv4_session_save(session, Collector::write, &c, &o, &f.error);
  INFO(f.text());
  REQUIRE(status == DSV4_OK);
  return c.bytes;
}

inline dsv4_status restore(dsv4_session* session, const Bytes& bytes, Failure* failure = nullptr) {
  Feeder feeder(bytes);
  return dsv4_session_restore(session, Feeder::read, &feeder, failure != nullptr ? &failure->error : nullptr);
}

inline dsv4_session_info session_info(dsv4_session* s) {
  dsv4_session_info info{};
  info.struct_size = sizeof info;
  REQUIRE(dsv4_session_info_get(s, &info, nullptr) == DSV4_OK);
  return info;
}

inline std::vector<float> logits_of(dsv4_session* s) {
  size_t n = 0;
  REQUIRE(dsv4_session_logits(s, nullptr, 0, &n, nullptr) == DSV4_OK);
  std::vector<float> out(n);
  REQUIRE(dsv4_session_logits(s, out.data(), n, &n, nullptr) == DSV4_OK);
  return out;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace dsv4::api_test
