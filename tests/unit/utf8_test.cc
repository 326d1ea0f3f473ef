// UTF-8: every code point, every malformed kind, and streaming cuts at every byte.
#include <string>

#include <doctest/doctest.h>

#include "lib/base/utf8.h"

namespace dsv4 {
namespace {

std::string encode(uint32_t c) {
  std::string s;
  utf8_append(s, c);
  return s;
}

const std::string kReplacement = "\xEF\xBF\xBD";

}  // namespace

TEST_CASE("utf8: every code point is written, read back and cut only between characters") {
  int wrong = 0;
  for (uint32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    const std::string s = encode(c);
    size_t at = 0;
    wrong += utf8_next(s, at) != c || at != s.size() || !utf8_valid(s) || utf8_complete_prefix(s) != s.size();
    wrong += s.size() != (c < 0x80 ? 1u : c < 0x800 ? 2u : c < 0x10000 ? 3u : 4u);
    for (size_t cut = 1; cut < s.size(); ++cut) {
      const std::string part = "ab" + s.substr(0, cut);
      wrong += utf8_complete_prefix(part) != 2 || utf8_valid(part);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("utf8: malformed bytes are replaced one by one, and never held back") {
  const struct {
    const char* bytes;
    int replaced;
  } cases[] = {
      {"\x80", 1},          {"\xbf", 1},          {"\xc0\x80", 2},          {"\xc1\xbf", 2},
      {"\xe0\x80\x80", 3},  {"\xe0\x9f\xbf", 3},  {"\xed\xa0\x80", 3},      {"\xed\xbf\xbf", 3},
      {"\xf0\x80\x80\x80", 4}, {"\xf0\x8f\xbf\xbf", 4}, {"\xf4\x90\x80\x80", 4}, {"\xf5\x80\x80\x80", 4},
      {"\xff", 1},          {"\xfe\xff", 2},
  };
  for (const auto& c : cases) {
    const std::string s = c.bytes;
    std::string want;
    for (int i = 0; i < c.replaced; ++i) want += kReplacement;
    CHECK(utf8_sanitize(s) == want);
    CHECK_FALSE(utf8_valid(s));
    CHECK(utf8_complete_prefix(s) == s.size());
    CHECK(utf8_sanitize("a" + s + "z") == "a" + want + "z");
  }
  // A sequence broken by another character: its bytes are replaced, the character stays.
  CHECK(utf8_sanitize("\xe4\xbd" "A") == kReplacement + kReplacement + "A");
  CHECK(utf8_complete_prefix("\xe4\xbd" "A") == 3);
  CHECK(utf8_complete_prefix("\xe4\xbd\xe4") == 2);
  CHECK(utf8_sanitize("\xe4\xbd\xa0\xe5") == "\xe4\xbd\xa0" + kReplacement);
}

TEST_CASE("utf8: every pair of bytes is either kept whole or replaced") {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string s = {static_cast<char>(a), static_cast<char>(b)};
      const std::string clean = utf8_sanitize(s);
      REQUIRE(utf8_valid(clean));
      REQUIRE((clean == s) == utf8_valid(s));
      REQUIRE(utf8_complete_prefix(s) <= 2);
      // What is held back can become a character: some continuation makes it valid.
      const size_t whole = utf8_complete_prefix(s);
      bool can_end = whole == 2;
      for (const char* rest : {"\x80", "\xbf", "\x80\x80", "\xbf\xbf", "\x90\x80\x80", "\x80\x80\x80", "\xa0\x80"}) {
        can_end = can_end || utf8_valid(s.substr(whole) + rest);
      }
      REQUIRE(can_end);
    }
  }
  CHECK(utf8_complete_prefix("") == 0);
  CHECK(utf8_valid(""));
  CHECK(utf8_sanitize("") == "");
}

TEST_CASE("utf8: a text streamed byte by byte comes out whole, in whole characters") {
  const std::string text = "na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80!";
  std::string pending, out;
  for (const char c : text) {
    pending += c;
    const size_t n = utf8_complete_prefix(pending);
    CHECK(utf8_valid(pending.substr(0, n)));
    out += pending.substr(0, n);
    pending.erase(0, n);
  }
  CHECK(out == text);
  CHECK(pending.empty());
}

}  // namespace dsv4
