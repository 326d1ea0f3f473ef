#include "lib/base/system_error.h"

#include <cerrno>
#include <cstring>
#include <type_traits>

#include "lib/base/error.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

namespace dsv4 {

#ifndef _WIN32

void fail_errno(const std::string& path, const char* what, int error) {
  const Status status = error == ENOENT || error == ENOTDIR ? Status::kNotFound
                        : error == ENOMEM                   ? Status::kOutOfMemoryHost
                                                            : Status::kIo;
  char buffer[128] = "";
  // strerror_r of glibc returns the text, POSIX's fills the buffer: take whichever this one is.
  auto text = [&](auto result) -> const char* {
    if constexpr (std::is_pointer_v<decltype(result)>) return result;
    return buffer;
  };
  fail(status, "{}: {}: {}", path, what, text(strerror_r(error, buffer, sizeof buffer)));
}

#else

void fail_system(const std::string& path, const char* what, unsigned long error) {
  const bool missing = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND;
  fail(missing ? Status::kNotFound : Status::kIo, "{}: {}: system error {}", path, what, error);
}

#endif

}  // namespace dsv4
