// Regular expressions as grammars: ECMA-262's (what JSON Schema's `pattern` and hosts write), of which everything that
// describes a regular language by itself is read:
//   literals, escapes (\n \t \r \f \v \0 \cX \xHH \uHHHH \u{H} and escaped punctuation), . \d \D \w \W \s \S,
//   classes with ranges and negation, groups (plain, named, (?:)), |, * + ? {n} {n,} {n,m} with or without a lazy ?,
//   ^ at the beginning and $ at the end of the whole or of an alternative of the whole.
// Look-around, back references, \b, \p and flags are errors (kUnsupported), not ignored.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/char_set.h"
#include "lib/text/grammar.h"

namespace dsv4 {

struct RegexNode {
  enum class Kind : uint8_t { kSet, kSequence, kChoice, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;  // an empty sequence matches the empty text
  CharSet set;
  std::vector<RegexNode> parts;
  int64_t at_least = 0;
  int64_t at_most = 0;  // -1: no limit
};

inline constexpr size_t kMaxRegexBytes = 16'384;
inline constexpr int kMaxRegexDepth = 64;
inline constexpr int64_t kMaxRegexRepeat = 4'096;

// Errors: kInvalidArgument (not an expression, too large), kUnsupported; both begin with `what` and name the place.
RegexNode parse_regex(std::string_view pattern, std::string_view what);

// How many characters a match has: [least, most], most -1 for no limit. Of the expression as a match of the whole.
struct RegexLength {
  int64_t least = 0;
  int64_t most = 0;
};
RegexLength regex_length(const RegexNode& node);

// How one character of a set is written in the text that is constrained: as itself, or as in a JSON string.
class CharacterWriter {
 public:
  virtual ~CharacterWriter() = default;
  virtual Grammar::Part write(Grammar& grammar, const CharSet& set) const = 0;
};
class PlainCharacters final : public CharacterWriter {
 public:
  Grammar::Part write(Grammar& grammar, const CharSet& set) const override { return grammar.set(set); }
};

// kWhole: the text is one match. kSearch: the text contains a match, so what is not anchored may be anywhere in it.
enum class RegexMatch { kWhole, kSearch };
Grammar::Part regex_grammar(Grammar& grammar, const RegexNode& node, RegexMatch match, const CharacterWriter& writer,
                            std::string_view what);

// As kSearch reads it: ^…$ around the whole.
bool regex_is_anchored(const RegexNode& node);
// The repetition in ^S{n,m}$ of one set S, else nullptr: bounds on the length can be put into it.
RegexNode* regex_single_repeat(RegexNode& node);

}  // namespace dsv4
