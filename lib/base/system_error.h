// What the operating system says of a failed call, as an Error. For the files of lib/base that make such calls.
#pragma once

#include <string>

namespace dsv4 {

#ifndef _WIN32

// kNotFound where a file or its folder is not there, kOutOfMemoryHost where the system has no memory, else kIo:
// "PATH: WHAT: the system's reason".
[[noreturn]] void fail_errno(const std::string& path, const char* what, int error);

#else

bool is_missing(unsigned long error);              // a file or its folder is not there
std::string system_message(unsigned long error);  // UTF-8, without a full stop

[[noreturn]] void fail_system(const std::string& path, const char* what, unsigned long error);

#endif

}  // namespace dsv4
