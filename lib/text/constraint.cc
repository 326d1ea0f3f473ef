#include "lib/text/constraint.h"

#include <algorithm>
#include <bit>
#include <list>
#include <mutex>
#include <string_view>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/ebnf_grammar.h"
#include "lib/text/grammar.h"
#include "lib/text/grammar_engine.h"
#include "lib/text/json_grammar.h"
#include "lib/text/protocol_text.h"
#include "lib/text/regex_grammar.h"
#include "lib/text/schema_grammar.h"
#include "lib/text/tool_grammar.h"

namespace dsv4 {

namespace {

// One grammar that an answer may follow. An answer of which two are allowed (JSON, or a block of calls) follows both
// until one of them ends: exact, and neither grammar has to know the other's characters.
struct Branch {
  std::string ebnf;
  bool has_calls = false;  // ｜DSML｜ may occur
};

std::string answer_grammar(const ConstraintSpec& spec) {
  Grammar grammar;
  switch (spec.kind) {
    case ConstraintSpec::Kind::kNone: break;
    case ConstraintSpec::Kind::kJsonObject:
      return grammar.ebnf(JsonGrammar(grammar).object(), "response_format");
    case ConstraintSpec::Kind::kJsonSchema: {
      const SchemaDocument document(spec.text, "schema");
      JsonGrammar json(grammar);
      return grammar.ebnf(schema_grammar(json, document), "schema");
    }
    case ConstraintSpec::Kind::kEbnf: return grammar.ebnf(ebnf_grammar(grammar, spec.text), "grammar");
    case ConstraintSpec::Kind::kRegex: {
      const RegexNode node = parse_regex(spec.text, "regex");
      return grammar.ebnf(regex_grammar(grammar, node, RegexMatch::kWhole, PlainCharacters(), "regex"), "regex");
    }
  }
  return {};
}

std::vector<Branch> branches_of(const ConstraintSpec& spec) {
  using Tools = ConstraintSpec::Tools;
  if (spec.tools != Tools::kRequired && spec.starts_in_tool_calls) {
    fail(Status::kInvalidArgument, "constrained output: an answer that starts inside a block of calls must be one");
  }
  std::vector<Branch> out;
  if (spec.tools != Tools::kRequired && spec.kind != ConstraintSpec::Kind::kNone) {
    out.push_back({answer_grammar(spec), false});
  }
  if (spec.tools != Tools::kNone) {
    ToolGrammarOptions options;
    options.forced_tool = spec.forced_tool;
    options.starts_inside = spec.starts_in_tool_calls;
    options.after_text = spec.tools == Tools::kAllowed && spec.kind == ConstraintSpec::Kind::kNone;
    options.profile = spec.profile;
    Grammar grammar;
    out.push_back({grammar.ebnf(tool_grammar(grammar, spec.functions, options), "tools"), true});
  }
  if (out.empty()) fail(Status::kInvalidArgument, "constrained output: the answer is not constrained at all");
  return out;
}

}  // namespace

class Constraint {
 public:
  struct Part {
    std::shared_ptr<const CompiledGrammar> grammar;
    bool has_calls;
  };
  std::vector<Part> parts;
  int64_t vocab = 0;
  int32_t eos = -1;
  int32_t dsml = -1;
};

struct ConstraintCompiler::Impl {
  static constexpr size_t kKept = 32;  // grammars; a compiled one is some hundred KB to some MB

  Impl(const Tokenizer& t, int64_t rows, int32_t end) : tokenizer(t), vocab(rows), eos(end) {}

  void prepare() {
    if (engine != nullptr) return;
    dsml = tokenizer.find(protocol::kDsml);
    if (!tokenizer.is_special(dsml) || dsml >= vocab) dsml = -1;
    std::vector<std::string> tokens(static_cast<size_t>(std::min(vocab, tokenizer.vocab_size())));
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      // Nothing but ｜DSML｜ itself may write a byte of the mark that stands for it.
      const std::string_view bytes = tokenizer.bytes(id);
      if (!tokenizer.is_special(id) && bytes.find(kDsmlMarkFirstByte) == std::string_view::npos) tokens[i] = bytes;
    }
    if (dsml >= 0) utf8_append(tokens[static_cast<size_t>(dsml)], kDsmlMark);
    engine = std::make_unique<GrammarEngine>(tokens, vocab, eos);
  }

  std::shared_ptr<const CompiledGrammar> compiled(const std::string& ebnf) {
    const auto found = std::find_if(kept.begin(), kept.end(), [&](const auto& entry) { return entry.first == ebnf; });
    if (found != kept.end()) {
      kept.splice(kept.begin(), kept, found);
      return found->second;
    }
    prepare();
    kept.emplace_front(ebnf, engine->compile(ebnf));
    if (kept.size() > kKept) kept.pop_back();
    return kept.front().second;
  }

  const Tokenizer& tokenizer;
  const int64_t vocab;
  const int32_t eos;
  int32_t dsml = -1;
  std::mutex mutex;  // of all below
  std::unique_ptr<GrammarEngine> engine;
  std::list<std::pair<std::string, std::shared_ptr<const CompiledGrammar>>> kept;  // most recently used first
};

bool ConstraintCompiler::available() { return GrammarEngine::available(); }

ConstraintCompiler::ConstraintCompiler(const Tokenizer& tokenizer, int64_t vocab, int32_t eos) {
  if (vocab <= 0 || eos < 0 || eos >= vocab) {
    fail(Status::kInvalidArgument, "constrained output: the end token {} is none of {} tokens", eos, vocab);
  }
  impl_ = std::make_unique<Impl>(tokenizer, vocab, eos);
}

ConstraintCompiler::~ConstraintCompiler() = default;

std::shared_ptr<const Constraint> ConstraintCompiler::compile(const ConstraintSpec& spec) {
  const std::vector<Branch> branches = branches_of(spec);  // what is wrong with a spec is said in every build
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  auto out = std::make_shared<Constraint>();
  for (const Branch& branch : branches) {
    out->parts.push_back({impl_->compiled(branch.ebnf), branch.has_calls});
    if (branch.has_calls && impl_->dsml < 0) {
      fail(Status::kUnsupported, "constrained output: the tokenizer has no control token {}", protocol::kDsml);
    }
  }
  out->vocab = impl_->vocab;
  out->eos = impl_->eos;
  out->dsml = impl_->dsml;
  return out;
}

struct ConstraintMatcher::Impl {
  struct Follower {
    GrammarCursor cursor;
    bool has_calls;
  };

  explicit Impl(std::shared_ptr<const Constraint> c) : constraint(std::move(c)) {
    for (const Constraint::Part& part : constraint->parts) {
      followers.push_back({GrammarCursor(part.grammar), part.has_calls});
    }
    mask.resize(static_cast<size_t>((constraint->vocab + 31) / 32));
    scratch.resize(followers.size() > 1 ? mask.size() : 0);
  }

  void clear_bit(std::vector<uint32_t>& words, int32_t id) const {
    if (id >= 0) words[static_cast<size_t>(id) / 32] &= ~(uint32_t{1} << (id % 32));
  }
  void fill(Follower& follower, std::vector<uint32_t>& words) {
    follower.cursor.fill(words.data());
    if (!follower.has_calls) clear_bit(words, constraint->dsml);
    clear_bit(words, constraint->eos);
    // The engine decides about EOS; asked here, so that mask() and can_end() cannot differ.
    if (follower.cursor.complete()) {
      words[static_cast<size_t>(constraint->eos) / 32] |= uint32_t{1} << (constraint->eos % 32);
    }
    if (constraint->vocab % 32 != 0) words.back() &= (uint32_t{1} << (constraint->vocab % 32)) - 1;
  }

  void make_mask() {
    if (mask_is_made) return;
    std::fill(mask.begin(), mask.end(), 0);
    if (!ended) {
      for (size_t i = 0; i < followers.size(); ++i) {
        std::vector<uint32_t>& words = i == 0 ? mask : scratch;
        fill(followers[i], words);
        if (i > 0) std::transform(mask.begin(), mask.end(), words.begin(), mask.begin(), std::bit_or<uint32_t>());
      }
    }
    mask_is_made = true;
  }

  std::shared_ptr<const Constraint> constraint;
  std::vector<Follower> followers;  // those that the answer still agrees with
  std::vector<uint32_t> mask, scratch;
  bool mask_is_made = false;
  bool ended = false;
};

ConstraintMatcher::ConstraintMatcher(std::shared_ptr<const Constraint> constraint)
    : impl_(std::make_unique<Impl>(std::move(constraint))) {}
ConstraintMatcher::~ConstraintMatcher() = default;
ConstraintMatcher::ConstraintMatcher(const ConstraintMatcher& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}
ConstraintMatcher& ConstraintMatcher::operator=(const ConstraintMatcher& other) {
  if (this != &other) impl_ = std::make_unique<Impl>(*other.impl_);
  return *this;
}
ConstraintMatcher::ConstraintMatcher(ConstraintMatcher&&) noexcept = default;
ConstraintMatcher& ConstraintMatcher::operator=(ConstraintMatcher&&) noexcept = default;

std::span<const uint32_t> ConstraintMatcher::mask() {
  impl_->make_mask();
  return impl_->mask;
}

bool ConstraintMatcher::accept(int32_t id) {
  Impl& m = *impl_;
  if (m.ended || id < 0 || id >= m.constraint->vocab) return false;
  if (id == m.constraint->eos) {
    if (!can_end()) return false;
    m.ended = true;
    m.mask_is_made = false;
    return true;
  }
  std::vector<bool> agrees;
  for (Impl::Follower& follower : m.followers) {
    const bool barred = id == m.constraint->dsml && !follower.has_calls;
    agrees.push_back(!barred && follower.cursor.accept(id));
  }
  if (std::find(agrees.begin(), agrees.end(), true) == agrees.end()) return false;
  size_t kept = 0;
  for (size_t i = 0; i < agrees.size(); ++i) {
    if (!agrees[i]) continue;
    if (kept != i) m.followers[kept] = std::move(m.followers[i]);
    ++kept;
  }
  m.followers.erase(m.followers.begin() + static_cast<std::ptrdiff_t>(kept), m.followers.end());
  m.mask_is_made = false;
  return true;
}

bool ConstraintMatcher::can_end() const {
  return !impl_->ended && std::any_of(impl_->followers.begin(), impl_->followers.end(),
                                      [](const Impl::Follower& f) { return f.cursor.complete(); });
}

bool ConstraintMatcher::must_end() {
  if (!can_end()) return false;
  int64_t allowed = 0;
  for (const uint32_t word : mask()) allowed += std::popcount(word);
  return allowed == 1;
}

bool ConstraintMatcher::ended() const { return impl_->ended; }

}  // namespace dsv4
