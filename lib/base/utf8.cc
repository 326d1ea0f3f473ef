#include "lib/base/utf8.h"

namespace dsv4 {
namespace {

// Result of looking at one sequence: its length when it is whole, 0 when bytes are missing, -1 when it is malformed.
int sequence_length(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t b = byte(0);
  if (b < 0x80) return 1;
  const int length = b >= 0xc2 && b <= 0xdf ? 2 : b >= 0xe0 && b <= 0xef ? 3 : b >= 0xf0 && b <= 0xf4 ? 4 : -1;
  if (length < 0) return -1;
  // The second byte's range excludes overlong forms, surrogates and values over U+10FFFF.
  const uint8_t lo = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
  const uint8_t hi = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
  for (size_t i = 1; i < static_cast<size_t>(length); ++i) {
    if (i >= s.size()) return 0;
    if (byte(i) < (i == 1 ? lo : 0x80) || byte(i) > (i == 1 ? hi : 0xbf)) return -1;
  }
  return length;
}

}  // namespace

size_t utf8_complete_prefix(std::string_view s) {
  const size_t from = s.size() > 3 ? s.size() - 3 : 0;
  for (size_t i = from; i < s.size(); ++i) {
    if (static_cast<uint8_t>(s[i]) >= 0xc2 && sequence_length(s.substr(i)) == 0) return i;
  }
  return s.size();
}

uint32_t utf8_next(std::string_view s, size_t& at) {
  const int length = sequence_length(s.substr(at));
  if (length <= 0) {
    ++at;
    return 0xfffd;
  }
  const auto byte = [&](int i) { return static_cast<uint8_t>(s[at + static_cast<size_t>(i)]); };
  uint32_t c = length == 1 ? byte(0) : byte(0) & (0x7fu >> length);
  for (int i = 1; i < length; ++i) c = c << 6 | (byte(i) & 0x3fu);
  at += static_cast<size_t>(length);
  return c;
}

void utf8_append(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t b) { out.push_back(static_cast<char>(b)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

std::string utf8_sanitize(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (size_t at = 0; at < s.size();) utf8_append(out, utf8_next(s, at));
  return out;
}

bool utf8_valid(std::string_view s) {
  for (size_t at = 0; at < s.size();) {
    const int length = sequence_length(s.substr(at));
    if (length <= 0) return false;
    at += static_cast<size_t>(length);
  }
  return true;
}

}  // namespace dsv4
