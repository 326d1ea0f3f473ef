// JSON as a grammar (RFC 8259), in the form that constrained output writes it:
//  - between tokens at most one space, after ',' and ':' only, so that no model can go on with white space for ever;
//  - numbers have at most 18 digits before the point and 18 behind it, and exponents two digits;
//  - \u escapes stand for whole characters (half a surrogate pair is not written), and never for NUL.
// Parts that many schemas need are rules, made once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/grammar.h"
#include "lib/text/regex_grammar.h"

namespace dsv4 {

// Characters inside of a JSON string: what must be escaped is, in the shortest way, everything else is not.
class JsonCharacters final : public CharacterWriter {
 public:
  Grammar::Part write(Grammar& grammar, const CharSet& set) const override;
};

// One character as a JSON string has it: c itself, \n, \u001f.
std::string json_escaped(uint32_t c);
std::string json_quoted(std::string_view utf8);  // with the quotation marks

// Texts of 1 to `most` of `letters` that are none of `taken`.
Grammar::Part text_except(Grammar& grammar, const std::vector<std::string>& taken, const CharSet& letters,
                          int64_t most);

// Of which kinds a value may be. Bits.
enum JsonTypes : uint32_t {
  kTypeNull = 1,
  kTypeBoolean = 2,
  kTypeObject = 4,
  kTypeArray = 8,
  kTypeNumber = 16,  // with integers
  kTypeString = 32,
  kTypeInteger = 64,
  kAnyType = 1 | 2 | 4 | 8 | 16 | 32,
};

class JsonGrammar {
 public:
  explicit JsonGrammar(Grammar& grammar) : grammar_(grammar) {}
  Grammar& grammar() { return grammar_; }

  Grammar::Part comma();                    // "," and perhaps a space
  Grammar::Part colon();
  Grammar::Part value(uint32_t types);      // any value of these types
  Grammar::Part string();
  Grammar::Part object();
  Grammar::Part array();
  Grammar::Part characters(int64_t at_least, int64_t at_most);  // of a string, without the quotation marks
  // A key that is none of `taken`, with its quotation marks.
  Grammar::Part other_key(const std::vector<std::string>& taken);

 private:
  template <class Make>
  Grammar::Part once(Grammar::Rule& rule, Make&& make) {
    if (rule < 0) {
      rule = grammar_.rule();
      grammar_.define(rule, make());
    }
    return grammar_.refer(rule);
  }
  Grammar::Part escape();  // what follows a backslash
  Grammar::Part tail();    // the rest of a string, with the closing quotation mark
  Grammar::Part tail_of_plain_characters();
  Grammar::Part number();

  Grammar& grammar_;
  Grammar::Rule comma_ = -1, colon_ = -1, escape_ = -1, tail_ = -1, number_ = -1, object_ = -1, array_ = -1, any_ = -1;
  Grammar::Rule members_ = -1, items_ = -1, plain_tail_ = -1;
};

}  // namespace dsv4
