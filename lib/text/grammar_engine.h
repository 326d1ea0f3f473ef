// The one door to xgrammar: a grammar as EBNF text in, masks over a vocabulary out. No header of xgrammar is seen
// outside grammar_engine.cc; grammar_engine_none.cc stands in for it where the build has no xgrammar.
//
// It is handed grammars that lib/text wrote (lib/text/grammar.h), never a stranger's text, so what it throws is our
// mistake (kInternal), with its message.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dsv4 {

class CompiledGrammar;  // immutable; any number of cursors in any threads

class GrammarEngine {
 public:
  static bool available();

  // tokens[id]: its bytes, "" for one that no grammar may ever produce. Ids from tokens.size() up to `vocab` are such.
  // `eos` may come where a text is complete, and nowhere else. Error kUnsupported where there is no engine.
  GrammarEngine(const std::vector<std::string>& tokens, int64_t vocab, int32_t eos);
  ~GrammarEngine();
  GrammarEngine(const GrammarEngine&) = delete;
  GrammarEngine& operator=(const GrammarEngine&) = delete;

  // Looks at every token in some hundred states of the grammar: milliseconds to seconds. Not for two threads at once.
  std::shared_ptr<const CompiledGrammar> compile(const std::string& ebnf);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// How far a text has come in a grammar. Error kUnsupported where that is too ambiguous to be followed in time.
class GrammarCursor {
 public:
  explicit GrammarCursor(std::shared_ptr<const CompiledGrammar> grammar);
  ~GrammarCursor();
  GrammarCursor(const GrammarCursor& other);
  GrammarCursor& operator=(const GrammarCursor& other);
  GrammarCursor(GrammarCursor&&) noexcept;
  GrammarCursor& operator=(GrammarCursor&&) noexcept;

  // [(vocab + 31) / 32]: bit set for each token that may come next. Some microseconds; some milliseconds where no cursor
  // of a large grammar has been before.
  void fill(uint32_t* mask);
  bool accept(int32_t id);       // false: not allowed here, nothing changed. Not for eos
  bool complete() const;         // the text so far is one of the grammar's

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv4
