#include "lib/text/ebnf_grammar.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {

namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

class EbnfParser {
 public:
  EbnfParser(Grammar& grammar, std::string_view text) : g_(grammar), s_(text) {}

  Grammar::Part parse() {
    if (s_.size() > kMaxEbnfBytes) {
      fail(Status::kInvalidArgument, "grammar: {} bytes, at most {} expected", s_.size(), kMaxEbnfBytes);
    }
    if (!utf8_valid(s_)) fail(Status::kInvalidArgument, "grammar: not valid UTF-8");
    skip();
    while (more()) {
      const size_t begin = at_;
      const std::string_view name = take_name();
      skip();
      if (name.empty() || !take("::=")) {
        at_ = begin;
        wrong("a rule expected: name ::= …");
      }
      Entry& rule = entry(name, begin);
      if (rule.defined) {
        at_ = begin;
        wrong("the rule is defined twice");
      }
      rule.defined = true;
      const Grammar::Rule id = rule.id;
      g_.define(id, choice(0));
      if (more() && peek() == ')') wrong("')' without '('");
    }
    for (const auto& [name, rule] : rules_) {
      if (rule.defined) continue;
      at_ = rule.first_use;
      fail(Status::kInvalidArgument, "grammar: {}: the rule {} is not defined", place(), name);
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) fail(Status::kInvalidArgument, "grammar: there is no rule named root");
    return g_.refer(root->second.id);
  }

 private:
  struct Entry {
    Grammar::Rule id;
    size_t first_use;
    bool defined = false;
  };

  std::string place() const {
    size_t line = 1, column = 1;
    for (const char c : s_.substr(0, at_)) {
      line += c == '\n' ? 1 : 0;
      column = c == '\n' ? 1 : column + 1;
    }
    return fmt::format("line {}, column {}", line, column);
  }
  [[noreturn]] void wrong(std::string_view why) const {
    fail(Status::kInvalidArgument, "grammar: {}: {}", place(), why);
  }

  bool more() const { return at_ < s_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < s_.size() ? s_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (s_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }
  void skip() {
    while (more()) {
      if (peek() == '#') {
        at_ = std::min(s_.find('\n', at_), s_.size());
      } else if (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') {
        ++at_;
      } else {
        return;
      }
    }
  }
  std::string_view take_name() {
    const size_t begin = at_;
    while (is_name_character(peek())) ++at_;
    return s_.substr(begin, at_ - begin);
  }
  Entry& entry(std::string_view name, size_t at) {
    const auto [found, is_new] = rules_.try_emplace(std::string(name));
    if (is_new) found->second = {g_.rule(), at};
    return found->second;
  }
  // What stands here begins the next rule.
  bool at_next_rule() {
    const size_t begin = at_;
    const bool named = !take_name().empty();
    skip();
    const bool next = named && s_.substr(at_, 3) == "::=";
    at_ = begin;
    return next;
  }

  Grammar::Part choice(int depth);
  Grammar::Part sequence(int depth);
  Grammar::Part element(int depth);
  Grammar::Part repeated(Grammar::Part part);
  int64_t number();
  uint32_t hex(int digits);
  uint32_t character(std::string_view ends);
  Grammar::Part literal();
  Grammar::Part char_class();

  Grammar& g_;
  std::string_view s_;
  size_t at_ = 0;
  std::unordered_map<std::string, Entry> rules_;
};

Grammar::Part EbnfParser::choice(int depth) {
  if (depth > kMaxEbnfDepth) wrong("groups are nested too deeply");
  std::vector<Grammar::Part> parts = {sequence(depth)};
  while (take("|")) parts.push_back(sequence(depth));
  return g_.choice(parts);
}

Grammar::Part EbnfParser::sequence(int depth) {
  std::vector<Grammar::Part> parts;
  for (skip(); more() && peek() != '|' && peek() != ')' && !at_next_rule(); skip()) {
    parts.push_back(repeated(element(depth)));
  }
  return g_.sequence(parts);
}

Grammar::Part EbnfParser::element(int depth) {
  const char c = peek();
  if (c == '"') return literal();
  if (c == '[') return char_class();
  if (c == '.') {
    ++at_;
    return g_.set(CharSet(0x0a, 0x0a).add(0x0d).complement());
  }
  if (c == '(') {
    if (peek(1) == '=' || peek(1) == '!') wrong("look-ahead is not supported");
    ++at_;
    const Grammar::Part part = choice(depth + 1);
    if (!take(")")) wrong("'(' without ')'");
    return part;
  }
  const size_t begin = at_;
  const std::string_view name = take_name();
  if (name.empty()) wrong("a literal, a class, a rule's name or '(' expected");
  if (peek() == '[' || peek() == '(') {
    // name[...] are attributes and name(...) macros of xgrammar's; a class or group follows a name after a space.
    wrong("a rule's name is followed by a space");
  }
  return g_.refer(entry(name, begin).id);
}

int64_t EbnfParser::number() {
  int64_t value = 0;
  const size_t begin = at_;
  while (peek() >= '0' && peek() <= '9') {
    value = std::min<int64_t>(value * 10 + (peek() - '0'), kMaxEbnfRepeat + 1);
    ++at_;
  }
  if (at_ == begin) wrong("a number expected");
  if (value > kMaxEbnfRepeat) {
    at_ = begin;
    fail(Status::kInvalidArgument, "grammar: {}: repeated more than {} times", place(), kMaxEbnfRepeat);
  }
  return value;
}

Grammar::Part EbnfParser::repeated(Grammar::Part part) {
  const size_t begin = at_;
  skip();
  if (take("*")) return g_.many(part);
  if (take("+")) return g_.repeat(part, 1, -1);
  if (take("?")) return g_.optional(part);
  if (!take("{")) {
    at_ = begin;
    return part;
  }
  skip();
  const int64_t least = number();
  int64_t most = least;
  skip();
  if (take(",")) {
    skip();
    most = peek() == '}' ? -1 : number();
    skip();
  }
  if (!take("}")) wrong("'}' expected");
  if (most >= 0 && most < least) wrong("the numbers of {} are out of order");
  return g_.repeat(part, least, most);
}

uint32_t EbnfParser::hex(int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i, ++at_) {
    const char c = peek();
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) wrong("a hexadecimal digit expected");
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  return value;
}

// One character of a literal or a class.
uint32_t EbnfParser::character(std::string_view ends) {
  if (!more() || peek() == '\n' || peek() == '\r') {
    fail(Status::kInvalidArgument, "grammar: {}: {} expected before the end of the line", place(), ends);
  }
  uint32_t c = 0;
  const size_t begin = at_;
  if (peek() != '\\') {
    c = utf8_next(s_, at_);
  } else {
    ++at_;
    const char letter = peek();
    ++at_;
    switch (letter) {
      case 'n': c = '\n'; break;
      case 'r': c = '\r'; break;
      case 't': c = '\t'; break;
      case 'x': c = hex(2); break;
      case 'u': c = hex(4); break;
      case 'U': c = hex(8); break;
      default:
        if (std::string_view("\\\"'[]-^/.").find(letter) == std::string_view::npos) {
          at_ = begin;
          wrong("an escape sequence that is not known");
        }
        c = static_cast<uint8_t>(letter);
    }
  }
  if (!CharSet::all().contains(c)) {
    at_ = begin;
    wrong("a character outside of U+0001..U+FFFFF");
  }
  return c;
}

Grammar::Part EbnfParser::literal() {
  ++at_;
  std::string text;
  while (peek() != '"') utf8_append(text, character("'\"'"));
  ++at_;
  return g_.text(text);
}

Grammar::Part EbnfParser::char_class() {
  ++at_;
  CharSet set;
  const bool negated = take("^");
  while (peek() != ']') {
    const uint32_t first = character("']'");
    uint32_t last = first;
    if (peek() == '-' && peek(1) != ']') {
      ++at_;
      last = character("']'");
      if (last < first) wrong("the ends of a range are out of order");
    }
    set.add(first, last);
  }
  ++at_;
  return g_.set(negated ? set.complement() : set);
}

}  // namespace

Grammar::Part ebnf_grammar(Grammar& grammar, std::string_view text) { return EbnfParser(grammar, text).parse(); }

}  // namespace dsv4
