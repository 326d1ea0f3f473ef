// What reads and writes snapshots: callables, adapters for streams of the standard library, and a look at the header.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <dsv4/types.hpp>

namespace dsv4 {

// A writer takes all of (const void* data, size_t size) and returns true, or false to give up. A reader puts up to
// `size` bytes into `data` and returns how many: 0, there are no more; negative, it gives up.

// For anything with write(const char*, n), such as std::ostream (open it with std::ios::binary).
template <class Stream>
auto to_stream(Stream& stream) {
  return [&stream](const void* data, std::size_t size) {
    stream.write(static_cast<const char*>(data), static_cast<std::ptrdiff_t>(size));
    return static_cast<bool>(stream);
  };
}

// For anything with read(char*, n) and gcount(), such as std::istream.
template <class Stream>
auto from_stream(Stream& stream) {
  return [&stream](void* data, std::size_t size) {
    stream.read(static_cast<char*>(data), static_cast<std::ptrdiff_t>(size));
    return static_cast<std::int64_t>(stream.gcount());
  };
}

namespace detail {

template <class F>
class WriteCall {
 public:
  explicit WriteCall(F& write) noexcept : write_(&write) {}
  static std::int32_t call(void* user, const void* data, std::size_t size) noexcept {
    auto& self = *static_cast<WriteCall*>(user);
    return self.caught_.run(std::int32_t{1}, [&]() -> std::int32_t { return (*self.write_)(data, size) ? 0 : 1; });
  }
  void rethrow() { caught_.rethrow(); }

 private:
  F* write_;
  Caught caught_;
};

template <class F>
class ReadCall {
 public:
  explicit ReadCall(F& read) noexcept : read_(&read) {}
  static std::int64_t call(void* user, void* data, std::size_t size) noexcept {
    auto& self = *static_cast<ReadCall*>(user);
    return self.caught_.run(std::int64_t{-1},
                            [&]() -> std::int64_t { return static_cast<std::int64_t>((*self.read_)(data, size)); });
  }
  void rethrow() { caught_.rethrow(); }

 private:
  F* read_;
  Caught caught_;
};

}  // namespace detail

// What the snapshot's header says; nothing behind it is read or checked.
inline Result<SnapshotInfo> peek_path(const std::string& path) {
  return detail::filled<SnapshotInfo>(
      [&](auto* info, auto** error) { return dsv4_snapshot_peek_path(path.c_str(), info, error); });
}

template <class Reader>
Result<SnapshotInfo> peek(Reader&& reader) {
  detail::ReadCall<std::remove_reference_t<Reader>> call(reader);
  auto info = detail::filled<SnapshotInfo>(
      [&](auto* out, auto** error) { return dsv4_snapshot_peek(call.call, &call, out, error); });
  call.rethrow();
  return info;
}

}  // namespace dsv4
