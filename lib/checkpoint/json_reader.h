// A pull parser for the JSON of a checkpoint: config.json, the index, safetensors headers. All of it is untrusted.
//
// Nothing is built: the caller asks for what it expects, so 69,187 tensors cost no tree and a hostile file allocates
// nothing. Nesting is bounded; strings must be UTF-8. Every error is kCorrupt and names the file and the byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dsv4 {

class JsonReader {
 public:
  enum class Kind { kObject, kArray, kString, kNumber, kTrue, kFalse, kNull };
  static constexpr int kMaxDepth = 32;

  // `file` is used in messages only; both must outlive the reader.
  JsonReader(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  Kind kind();  // of the next value; consumes white space only

  // enter_object(); while (next_key(key)) { read or skip() the value }       and likewise for arrays.
  // A key lies in the text, or in a buffer that the next string overwrites; in_text() tells.
  void enter_object();
  bool next_key(std::string_view& key);
  void enter_array();
  bool next_item();

  std::string_view string();
  std::string_view number();   // its text, checked against the grammar
  int64_t integer();           // 12, not 12.0
  std::string_view skip();     // any value; returns its text
  void finish();               // nothing but white space may follow

  bool in_text(std::string_view s) const { return s.data() >= text_.data() && s.data() < text_.data() + text_.size(); }
  size_t position() const { return at_; }
  [[noreturn]] void error(const char* what) const;

 private:
  void skip_space();
  void expect(char c, const char* what);
  void enter(char open, const char* what);
  bool next(char close);
  bool take_word(std::string_view word);
  std::string_view unescape(size_t begin);
  uint32_t hex4();

  std::string_view text_;
  std::string_view file_;
  size_t at_ = 0;
  int depth_ = 0;
  bool first_ = true;  // no value yet in the innermost container; a nested one leaves it false for its parent
  std::string buffer_;
};

// Parses all of `text` as a number: false if it is not one of the kind asked for, or out of range.
bool parse_integer(std::string_view text, int64_t& value);
bool parse_double(std::string_view text, double& value);
// `s` fit for a message: cut to `limit` bytes, valid UTF-8, no control characters.
std::string printable(std::string_view s, size_t limit = 80);

}  // namespace dsv4
