// A context-free grammar over Unicode characters, built by the parts that understand schemas, regular expressions and
// the format of tool calls, and written out as the EBNF that GrammarEngine reads.
//
// Parts are bottom-up: a Part is an index into one Grammar. Rules may refer to one another before they are defined.
// What can never be finished (a schema that contains itself without end, an empty choice) is cut out when the grammar
// is written, so that no answer is led into it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/char_set.h"

namespace dsv4 {

// Stands for the token ｜DSML｜ in grammars. No other token may contain its first byte.
inline constexpr uint32_t kDsmlMark = 0x10fffe;
inline constexpr char kDsmlMarkFirstByte = '\xf4';

class Grammar {
 public:
  using Part = int32_t;
  using Rule = int32_t;
  // Bounds on what one constraint may cost. Positions are about the states that the engine makes of it.
  static constexpr int64_t kMaxParts = 400'000;
  static constexpr int64_t kMaxPositions = 250'000;
  static constexpr int64_t kMaxRepeat = 4'096;

  Grammar();
  Part empty() const { return 0; }
  Part never() const { return 1; }                  // matches nothing, not even the empty text
  Part text(std::string_view utf8);                 // may contain kDsmlMark
  Part set(const CharSet& characters);
  Part sequence(const std::vector<Part>& parts);
  Part choice(const std::vector<Part>& parts);
  Part optional(Part part) { return choice({part, empty()}); }
  Part repeat(Part part, int64_t at_least, int64_t at_most);  // at_most -1: no limit
  Part many(Part part) { return repeat(part, 0, -1); }

  Rule rule();                                      // to be defined
  void define(Rule rule, Part part);
  Part refer(Rule rule);

  // Error kInvalidArgument when nothing can satisfy `root` ("{what}: nothing can satisfy it"), or it is too large.
  std::string ebnf(Part root, std::string_view what) const;

 private:
  enum class Kind : uint8_t { kEmpty, kNever, kText, kSet, kSequence, kChoice, kRepeat, kRule };
  struct Item {
    Kind kind = Kind::kEmpty;
    std::string text;
    CharSet set;
    std::vector<Part> parts;
    int64_t at_least = 0;
    int64_t at_most = 0;
    Rule rule = -1;
  };
  class Writer;
  Part add(Item item);

  std::vector<Item> items_;
  std::vector<Part> rules_;  // -1: not defined
};

}  // namespace dsv4
