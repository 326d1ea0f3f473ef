// The one exception type of the library, and the status codes that the C header pins.
// Thrown on cold paths only; lib/api turns it into a dsv4_status and a message.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace dsv4 {

// The values are those of dsv4_status in include/dsv4.h; lib/api asserts that they agree.
enum class Status : int32_t {
  kOk = 0,
  kInvalidArgument = 1,
  kUnsupported = 2,
  kNotFound = 3,
  kIo = 4,
  kCorrupt = 5,
  kIncompatible = 6,
  kOutOfMemoryHost = 7,
  kOutOfMemoryDevice = 8,
  kDeviceLost = 9,
  kBusy = 10,
  kContextFull = 11,
  kCancelled = 12,
  kInternal = 13,
};

const char* status_name(Status status);  // "DSV4_E_CORRUPT"

class Error : public std::runtime_error {
 public:
  Error(Status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  Status status() const { return status_; }

 private:
  Status status_;
};

// fail(Status::kCorrupt, "{}: tensor {}: {} bytes expected, {} found", path, name, a, b)
template <class... Args>
[[noreturn]] void fail(Status status, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(status, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace dsv4
