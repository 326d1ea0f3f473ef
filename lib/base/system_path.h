// Paths are UTF-8 in every interface of the house. This is what they are to the operating system.
#pragma once

#include <string>
#include <string_view>

namespace dsv4 {

#ifdef _WIN32

using SystemPath = std::wstring;

// Absolute and in UTF-16, as the ...W functions take it; a long one with the prefix that lifts their limit of 260
// characters. Error kInvalidArgument: not UTF-8.
SystemPath system_path(const std::string& path);

std::string utf8_from_wide(std::wstring_view text);  // what is no character becomes U+FFFD

#else

using SystemPath = std::string;

inline const SystemPath& system_path(const std::string& path) { return path; }

#endif

}  // namespace dsv4
