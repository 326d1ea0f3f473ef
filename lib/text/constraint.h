// Constrained output: which tokens may come next, so that an answer is JSON, JSON of a schema, text of a grammar or of
// a regular expression, or a block of tool calls with valid arguments. A ConstraintSpec says what is wanted,
// ConstraintCompiler turns it into a Constraint (seconds at worst, shared between turns), and a ConstraintMatcher
// follows one answer and gives a mask over the logits before each token. Thinking is not constrained: a matcher begins
// with the first token of the answer.
//
// What is promised:
//  - Every answer that ends where the mask allows EOS is one of those that the spec describes. Where the language is
//    cut down (JSON white space is at most one space after ',' and ':'; properties come in the schema's order; numbers
//    have at most 18 digits before and after the point), the header of the part says so: schema_grammar.h for JSON
//    Schema, regex_grammar.h, ebnf_grammar.h.
//  - What cannot be enforced is an error of compile(), never ignored.
//  - Control tokens are never allowed, but for EOS where the answer may end, and ｜DSML｜ at the places where the format
//    of tool calls has it; it is never spelled by other tokens.
//  - Characters from U+100000 up (private use) cannot be written: the code point U+10FFFE stands for ｜DSML｜.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "lib/text/json_value.h"
#include "lib/text/profile.h"
#include "lib/text/tokenizer.h"

namespace dsv4 {

struct ConstraintSpec {
  enum class Kind { kNone, kJsonObject, kJsonSchema, kEbnf, kRegex };
  Kind kind = Kind::kNone;
  std::string text;  // the schema as JSON text, the grammar (its root rule is "root"), or the regular expression

  // kAllowed: the answer is as `kind` says, or a block of calls; with kNone, text and then perhaps a block of calls.
  // kRequired: nothing but a block of calls; `kind` and `text` do not matter.
  enum class Tools { kNone, kAllowed, kRequired };
  Tools tools = Tools::kNone;
  std::vector<Json> functions;        // the `function` objects: {"name", "parameters": a schema, or absent}
  std::string forced_tool;            // one call of this function, and no other; "": one or more calls of any
  bool starts_in_tool_calls = false;  // the prompt ends with "\n\n<｜DSML｜tool_calls>\n" already (kRequired only)
  Profile profile = Profile::kPreview;  // how a call without parameters is written
};

class Constraint;  // a compiled spec: immutable, shared by any number of matchers in any threads

// One per model. Thread-safe; the last few compiled grammars are kept.
class ConstraintCompiler {
 public:
  // `vocab`: rows of the logits; those that have no token are never allowed. Cheap: the vocabulary is prepared at
  // first use (a fraction of a second). The tokenizer must outlive the compiler, but not the constraints.
  ConstraintCompiler(const Tokenizer& tokenizer, int64_t vocab, int32_t eos);
  ~ConstraintCompiler();
  ConstraintCompiler(const ConstraintCompiler&) = delete;
  ConstraintCompiler& operator=(const ConstraintCompiler&) = delete;

  // Errors: kInvalidArgument (not JSON, not a grammar, wrong types, nothing can satisfy it, too large), kUnsupported
  // (a keyword or combination that is not enforced; a build without xgrammar). They name the JSON path or the place.
  std::shared_ptr<const Constraint> compile(const ConstraintSpec& spec);

  static bool available();  // false: this build has no engine, and compile() is kUnsupported

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One answer. Copies are independent of one another (a session that is forked). Not for two threads at once.
class ConstraintMatcher {
 public:
  explicit ConstraintMatcher(std::shared_ptr<const Constraint> constraint);
  ~ConstraintMatcher();
  ConstraintMatcher(const ConstraintMatcher& other);
  ConstraintMatcher& operator=(const ConstraintMatcher& other);
  ConstraintMatcher(ConstraintMatcher&&) noexcept;
  ConstraintMatcher& operator=(ConstraintMatcher&&) noexcept;

  // Bit i % 32 of word i / 32 set: token i may come next. [(vocab + 31) / 32], valid until the next call of a member
  // that is not const. All zero: after EOS was accepted, or where no token of this vocabulary can go on (a grammar of
  // the host's that asks for a character which no token writes); the caller reports that as an error.
  // Error kUnsupported, here and from accept(): a grammar of the host's is so ambiguous that a step would take seconds.
  // The matcher is of no use after that.
  std::span<const uint32_t> mask();
  bool accept(int32_t id);  // false: not allowed, and nothing changed. EOS ends the answer
  bool can_end() const;     // EOS is allowed
  bool must_end();          // nothing but EOS is allowed
  bool ended() const;       // EOS was accepted

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv4
