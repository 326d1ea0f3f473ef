#include "lib/base/system_path.h"

#include "lib/base/error.h"
#include "lib/base/system_error.h"
#include "lib/base/utf8.h"
#include "lib/base/windows_api.h"

#ifdef _WIN32

namespace dsv4 {
namespace {

constexpr size_t kLongPath = MAX_PATH - 12;  // folders end earlier than files: room for a name of 8.3

std::wstring wide(const std::string& text) {
  if (text.empty()) return {};
  if (text.size() > 32767) fail(Status::kInvalidArgument, "a path of {} bytes; at most 32767 expected", text.size());
  const int size = static_cast<int>(text.size());
  const int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text.data(), size, nullptr, 0);
  if (length <= 0) fail(Status::kInvalidArgument, "{}: a path that is not UTF-8", utf8_sanitize(text));
  std::wstring out(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), size, out.data(), length);
  return out;
}

// Absolute, with backslashes, without "." and "..": with the prefix the system does none of this itself.
std::wstring full_path(const std::wstring& path) {
  std::wstring out(MAX_PATH, L'\0');
  for (;;) {
    const DWORD length = GetFullPathNameW(path.c_str(), static_cast<DWORD>(out.size()), out.data(), nullptr);
    if (length == 0) return path;  // whoever uses it will be told what is wrong
    const bool fits = length < out.size();
    out.resize(length);
    if (fits) return out;
  }
}

}  // namespace

SystemPath system_path(const std::string& path) {
  const std::wstring given = wide(path);
  if (given.empty() || given.starts_with(L"\\\\?\\") || given.starts_with(L"\\\\.\\")) return given;
  const std::wstring full = full_path(given);
  if (full.size() < kLongPath || full.starts_with(L"\\\\?\\") || full.starts_with(L"\\\\.\\")) return full;
  return full.starts_with(L"\\\\") ? L"\\\\?\\UNC" + full.substr(1) : L"\\\\?\\" + full;
}

std::string utf8_from_wide(std::wstring_view text) {
  if (text.empty()) return {};
  const int size = static_cast<int>(text.size());
  const int length = WideCharToMultiByte(CP_UTF8, 0, text.data(), size, nullptr, 0, nullptr, nullptr);
  std::string out(static_cast<size_t>(length > 0 ? length : 0), '\0');
  WideCharToMultiByte(CP_UTF8, 0, text.data(), size, out.data(), length, nullptr, nullptr);
  return out;
}

}  // namespace dsv4

#endif
