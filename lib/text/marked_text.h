// Marked text: the model's output with the control tokens that structure it as single bytes that UTF-8 never has, so
// that a control token and text that merely spells it stay apart, and a reader needs to look at bytes only.
// Everything else in it is whole UTF-8 characters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/text/detokenizer.h"
#include "lib/text/tokenizer.h"

namespace dsv4 {

inline constexpr char kDsmlByte = '\xff';
inline constexpr char kThinkEndByte = '\xfe';
// `marked` with its marks spelled out.
std::string spell_marks(std::string_view marked);

// From tokens. Control tokens that have no meaning in an output are left out.
class TokenMarker {
 public:
  explicit TokenMarker(const Tokenizer& tokenizer);

  // Appends what this token makes certain. True when it ends the turn (EOS).
  bool push(int32_t id, std::string& marked);
  // Appends what is left of an unfinished character, as U+FFFD.
  void flush(std::string& marked) { utf8_.flush(marked); }
  bool mid_character() const { return !utf8_.empty(); }

 private:
  const Tokenizer& tokenizer_;
  const int32_t eos_, think_end_, dsml_;
  Utf8Stream utf8_;
};

// From text, in which </think>, ｜DSML｜ and EOS stand for the tokens that they spell: a log, a test, another engine.
class TextMarker {
 public:
  bool push(std::string_view bytes, std::string& marked);  // true: the text has ended the turn; the rest is dropped
  void flush(std::string& marked);

 private:
  bool convert(bool at_end, std::string& marked);
  Utf8Stream utf8_;
  std::string held_;  // may be the beginning of a control token
};

}  // namespace dsv4
