#include "lib/base/system_error.h"

#include <cerrno>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "lib/base/error.h"
#include "lib/base/system_path.h"
#include "lib/base/windows_api.h"

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

bool is_missing(unsigned long error) {
  return error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND || error == ERROR_DIRECTORY ||
         error == ERROR_INVALID_NAME ||  // no file has such a name
         error == ERROR_INVALID_DRIVE || error == ERROR_BAD_NETPATH || error == ERROR_BAD_NET_NAME;
}

std::string system_message(unsigned long error) {
  wchar_t text[512];
  const DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
  const DWORD length = FormatMessageW(flags, nullptr, error, 0, text, static_cast<DWORD>(std::size(text)), nullptr);
  std::string message = utf8_from_wide({text, length});
  while (!message.empty() && (message.back() == ' ' || message.back() == '.')) message.pop_back();
  return message.empty() ? fmt::format("system error {}", error) : message;
}

void fail_system(const std::string& path, const char* what, unsigned long error) {
  const bool memory = error == ERROR_NOT_ENOUGH_MEMORY || error == ERROR_OUTOFMEMORY || error == ERROR_COMMITMENT_LIMIT;
  const Status status = is_missing(error) ? Status::kNotFound : memory ? Status::kOutOfMemoryHost : Status::kIo;
  fail(status, "{}: {}: {}", path, what, system_message(error));
}

#endif

}  // namespace dsv4
