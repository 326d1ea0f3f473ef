// The grammar of RFC 8259, nothing more. See json_reader.h.
#include "lib/checkpoint/json_reader.h"

#include <charconv>
#include <cmath>

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {
namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool parse_integer(std::string_view text, int64_t& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

bool parse_double(std::string_view text, double& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size() && std::isfinite(value);
}

std::string printable(std::string_view s, size_t limit) {
  std::string text = utf8_sanitize(s.substr(0, limit));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return s.size() > limit ? text + "…" : text;
}

void JsonReader::error(const char* what) const {
  fail(Status::kCorrupt, "{}: JSON, byte {}: {}", file_, at_, what);
}

void JsonReader::skip_space() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
}

void JsonReader::expect(char c, const char* what) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != c) error(what);
  ++at_;
}

JsonReader::Kind JsonReader::kind() {
  skip_space();
  if (at_ >= text_.size()) error("a value expected, the end found");
  switch (text_[at_]) {
    case '{': return Kind::kObject;
    case '[': return Kind::kArray;
    case '"': return Kind::kString;
    case 't': return Kind::kTrue;
    case 'f': return Kind::kFalse;
    case 'n': return Kind::kNull;
    default: break;
  }
  if (text_[at_] == '-' || is_digit(text_[at_])) return Kind::kNumber;
  error("a value expected");
}

void JsonReader::enter(char open, const char* what) {
  expect(open, what);
  if (++depth_ > kMaxDepth) error("nested too deeply");
  first_ = true;
}

void JsonReader::enter_object() { enter('{', "an object expected"); }
void JsonReader::enter_array() { enter('[', "an array expected"); }

bool JsonReader::next(char close) {
  skip_space();
  if (at_ < text_.size() && text_[at_] == close) {
    ++at_;
    --depth_;
    first_ = false;
    return false;
  }
  if (!first_) expect(',', "a comma or the closing bracket expected");
  first_ = false;
  return true;
}

bool JsonReader::next_key(std::string_view& key) {
  if (!next('}')) return false;
  key = string();
  expect(':', "a colon expected after a key");
  return true;
}

bool JsonReader::next_item() { return next(']'); }

std::string_view JsonReader::string() {
  expect('"', "a string expected");
  const size_t begin = at_;
  bool ascii = true;
  for (; at_ < text_.size(); ++at_) {
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      const std::string_view s = text_.substr(begin, at_ - begin);
      if (!ascii && !utf8_valid(s)) error("a string that is not UTF-8");
      ++at_;
      return s;
    }
    if (c == '\\') return unescape(begin);
    if (c < 0x20) error("a control character in a string");
    if (c >= 0x80) ascii = false;
  }
  error("a string without an end");
}

uint32_t JsonReader::hex4() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const int digit = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) error("four hexadecimal digits expected after \\u");
    value = value << 4 | static_cast<uint32_t>(digit);
  }
  return value;
}

// The slow way for the rare string with a backslash: at_ stands on the first one.
std::string_view JsonReader::unescape(size_t begin) {
  buffer_.assign(text_.substr(begin, at_ - begin));
  while (at_ < text_.size()) {
    const char c = text_[at_++];
    if (c == '"') {
      if (!utf8_valid(buffer_)) error("a string that is not UTF-8");
      return buffer_;
    }
    if (static_cast<unsigned char>(c) < 0x20) error("a control character in a string");
    if (c != '\\') {
      buffer_.push_back(c);
      continue;
    }
    const char e = at_ < text_.size() ? text_[at_++] : '\0';
    switch (e) {
      case '"': case '\\': case '/': buffer_.push_back(e); break;
      case 'b': buffer_.push_back('\b'); break;
      case 'f': buffer_.push_back('\f'); break;
      case 'n': buffer_.push_back('\n'); break;
      case 'r': buffer_.push_back('\r'); break;
      case 't': buffer_.push_back('\t'); break;
      case 'u': {
        uint32_t code = hex4();
        if (code >= 0xd800 && code <= 0xdbff && text_.substr(at_, 2) == "\\u") {
          at_ += 2;
          const uint32_t low = hex4();
          if (low < 0xdc00 || low > 0xdfff) error("half a surrogate pair");
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        } else if (code >= 0xd800 && code <= 0xdfff) {
          error("half a surrogate pair");
        }
        utf8_append(buffer_, code);
        break;
      }
      default: error("an unknown escape in a string");
    }
  }
  error("a string without an end");
}

std::string_view JsonReader::number() {
  skip_space();
  const size_t begin = at_;
  const auto digits = [&] {
    const size_t from = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ - from;
  };
  const auto take = [&](char c) { return at_ < text_.size() && text_[at_] == c ? (++at_, true) : false; };
  take('-');
  if (take('0')) {
    if (at_ < text_.size() && is_digit(text_[at_])) error("a number with a leading zero");
  } else if (digits() == 0) {
    error("a number expected");
  }
  if (take('.') && digits() == 0) error("digits expected after the point");
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    if (digits() == 0) error("digits expected in the exponent");
  }
  return text_.substr(begin, at_ - begin);
}

int64_t JsonReader::integer() {
  int64_t value = 0;
  if (!parse_integer(number(), value)) error("a 64-bit integer expected");
  return value;
}

bool JsonReader::take_word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return false;
  at_ += word.size();
  return true;
}

std::string_view JsonReader::skip() {
  const Kind k = kind();
  const size_t begin = at_;
  std::string_view key;
  switch (k) {
    case Kind::kObject:  // recursion is bounded by kMaxDepth
      enter_object();
      while (next_key(key)) skip();
      break;
    case Kind::kArray:
      enter_array();
      while (next_item()) skip();
      break;
    case Kind::kString: string(); break;
    case Kind::kNumber: number(); break;
    case Kind::kTrue:
      if (!take_word("true")) error("a value expected");
      break;
    case Kind::kFalse:
      if (!take_word("false")) error("a value expected");
      break;
    case Kind::kNull:
      if (!take_word("null")) error("a value expected");
      break;
  }
  return text_.substr(begin, at_ - begin);
}

void JsonReader::finish() {
  skip_space();
  if (at_ != text_.size()) error("the end expected");
}

}  // namespace dsv4
