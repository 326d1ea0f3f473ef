// UTF-8: whole characters only. Malformed bytes are data, not errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dsv4 {

// Length of the longest prefix of `s` that holds no unfinished sequence at its end: what may be streamed now.
// A byte that can never become part of a valid character counts as finished.
size_t utf8_complete_prefix(std::string_view s);
// `s` with every byte that is not part of a valid character replaced by U+FFFD.
std::string utf8_sanitize(std::string_view s);
bool utf8_valid(std::string_view s);
// Appends the UTF-8 form of a code point (<= 0x10ffff).
void utf8_append(std::string& out, uint32_t code_point);
// Reads one character at `at` and moves past it. Returns 0xfffd and moves one byte past a malformed one.
uint32_t utf8_next(std::string_view s, size_t& at);

}  // namespace dsv4
