// Grammars that a host writes, in the notation that GBNF and xgrammar share:
//   # comment
//   root ::= "yes" | "no" (", " reason)?         rules; the answer is `root`
//   reason ::= [a-zA-Z ]{1,80}                   literals "…", classes […] and [^…], . (any character but a line's end)
// with groups, * + ? {n} {n,} {n,m}, and the escapes \n \r \t \\ \" \' \] \[ \- \^ \xHH \uHHHH \UHHHHHHHH. A rule goes on
// over line ends until the next `name ::=`. Anything else is an error that names line and column: nothing is ignored.
// A grammar may be recursive in every way; what can never end is cut out, and an error if nothing is left.
#pragma once

#include <string_view>

#include "lib/text/grammar.h"

namespace dsv4 {

inline constexpr size_t kMaxEbnfBytes = 65'536;
inline constexpr int kMaxEbnfDepth = 64;
inline constexpr int64_t kMaxEbnfRepeat = 4'096;

// Error kInvalidArgument.
Grammar::Part ebnf_grammar(Grammar& grammar, std::string_view text);

}  // namespace dsv4
