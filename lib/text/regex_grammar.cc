#include "lib/text/regex_grammar.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {

namespace {

CharSet digits() { return CharSet('0', '9'); }
CharSet word_characters() { return CharSet('0', '9').add('A', 'Z').add('a', 'z').add('_'); }
CharSet white_space() {  // ECMA-262: WhiteSpace and LineTerminator
  return CharSet(0x09, 0x0d).add(0x20).add(0xa0).add(0x1680).add(0x2000, 0x200a).add(0x2028, 0x2029).add(0x202f)
      .add(0x205f).add(0x3000).add(0xfeff);
}
CharSet line_ends() { return CharSet(0x0a, 0x0a).add(0x0d).add(0x2028, 0x2029); }

class RegexParser {
 public:
  RegexParser(std::string_view pattern, std::string_view what) : s_(pattern), what_(what) {}

  RegexNode parse() {
    if (s_.size() > kMaxRegexBytes) {
      fail(Status::kInvalidArgument, "{}: a regular expression of {} bytes, at most {} expected", what_, s_.size(),
           kMaxRegexBytes);
    }
    if (!utf8_valid(s_)) fail(Status::kInvalidArgument, "{}: the regular expression is not valid UTF-8", what_);
    RegexNode node = choice(0);
    if (at_ < s_.size()) wrong("')' without '('");
    return node;
  }

 private:
  [[noreturn]] void wrong(std::string_view why) const {
    fail(Status::kInvalidArgument, "{}: regular expression, byte {}: {}", what_, at_, why);
  }
  [[noreturn]] void unsupported(std::string_view feature) const {
    fail(Status::kUnsupported, "{}: regular expression, byte {}: {} not supported", what_, at_, feature);
  }
  bool more() const { return at_ < s_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < s_.size() ? s_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (s_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  static RegexNode of(CharSet set) {
    RegexNode node;
    node.kind = RegexNode::Kind::kSet;
    node.set = std::move(set);
    return node;
  }
  static RegexNode anchor(RegexNode::Kind kind) {
    RegexNode node;
    node.kind = kind;
    return node;
  }

  RegexNode choice(int depth);
  RegexNode sequence(int depth);
  RegexNode group(int depth);
  RegexNode atom(int depth);
  void quantifier(RegexNode& node);
  int64_t number();
  uint32_t hex(int digits);
  uint32_t unicode_escape();
  bool class_escape(char c, CharSet& out) const;
  uint32_t character_escape(bool in_class);
  CharSet char_class();
  bool class_member(CharSet& out, uint32_t& single);

  std::string_view s_;
  std::string_view what_;
  size_t at_ = 0;
};

RegexNode RegexParser::choice(int depth) {
  if (depth > kMaxRegexDepth) wrong("nested too deeply");
  RegexNode node;
  node.kind = RegexNode::Kind::kChoice;
  node.parts.push_back(sequence(depth));
  while (take("|")) node.parts.push_back(sequence(depth));
  if (node.parts.size() == 1) {
    RegexNode only = std::move(node.parts[0]);
    return only;
  }
  return node;
}

RegexNode RegexParser::sequence(int depth) {
  RegexNode node;
  while (more() && peek() != '|' && peek() != ')') node.parts.push_back(atom(depth));
  if (node.parts.size() == 1) {
    RegexNode only = std::move(node.parts[0]);
    return only;
  }
  return node;
}

RegexNode RegexParser::group(int depth) {
  if (take("?")) {
    if (take("=") || take("!") || take("<=") || take("<!")) unsupported("look-around is");
    if (take("<") || take("P<")) {
      const size_t end = s_.find('>', at_);
      if (end == std::string_view::npos || end == at_) wrong("a group's name without '>'");
      at_ = end + 1;
    } else if (!take(":")) {
      unsupported("a group that begins with '(?' and neither ':' nor a name is");
    }
  }
  RegexNode node = choice(depth + 1);
  if (!take(")")) wrong("'(' without ')'");
  return node;
}

RegexNode RegexParser::atom(int depth) {
  RegexNode node;
  const char c = peek();
  if (c == '(') {
    ++at_;
    node = group(depth);
  } else if (c == '[') {
    ++at_;
    node = of(char_class());
  } else if (c == '.') {
    ++at_;
    node = of(line_ends().complement());
  } else if (c == '^' || c == '$') {
    ++at_;
    if (peek() == '*' || peek() == '+' || peek() == '?' || peek() == '{') wrong("nothing to repeat");
    return anchor(c == '^' ? RegexNode::Kind::kBegin : RegexNode::Kind::kEnd);
  } else if (c == '*' || c == '+' || c == '?') {
    wrong("nothing to repeat");
  } else if (c == '\\') {
    ++at_;
    if (!more()) wrong("ends with '\\'");
    CharSet set;
    if (class_escape(peek(), set)) {
      ++at_;
    } else {
      const uint32_t code = character_escape(false);
      set.add(code);
      if (set.empty()) unsupported("a character outside of U+0001..U+FFFFF is");
    }
    node = of(std::move(set));
  } else {
    // '{', '}' and ']' stand for themselves where they mean nothing else, as browsers have it.
    const uint32_t code = utf8_next(s_, at_);
    CharSet set(code, code);
    if (set.empty()) unsupported("a character outside of U+0001..U+FFFFF is");
    node = of(std::move(set));
  }
  quantifier(node);
  return node;
}

int64_t RegexParser::number() {
  int64_t value = 0;
  const size_t begin = at_;
  while (peek() >= '0' && peek() <= '9') {
    value = std::min<int64_t>(value * 10 + (peek() - '0'), kMaxRegexRepeat + 1);
    ++at_;
  }
  return at_ == begin ? -1 : value;
}

void RegexParser::quantifier(RegexNode& node) {
  int64_t least = 0, most = -1;
  const size_t begin = at_;
  if (take("*")) {
  } else if (take("+")) {
    least = 1;
  } else if (take("?")) {
    most = 1;
  } else if (take("{")) {
    least = number();
    most = least;
    if (take(",")) most = number();
    if (least < 0 || !take("}")) {
      at_ = begin;  // a brace that is no quantifier
      return;
    }
  } else {
    return;
  }
  if (std::max(least, most) > kMaxRegexRepeat) {
    at_ = begin;
    fail(Status::kInvalidArgument, "{}: regular expression, byte {}: repeated more than {} times", what_, at_,
         kMaxRegexRepeat);
  }
  if (most >= 0 && most < least) wrong("the numbers of {} are out of order");
  if (!take("?") && peek() == '+') unsupported("a possessive quantifier is");  // lazy or not, the language is the same
  if (peek() == '*' || peek() == '+' || peek() == '?') wrong("nothing to repeat");
  RegexNode repeat;
  repeat.kind = RegexNode::Kind::kRepeat;
  repeat.at_least = least;
  repeat.at_most = most;
  repeat.parts.push_back(std::move(node));
  node = std::move(repeat);
}

uint32_t RegexParser::hex(int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) {
    const char c = peek();
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) wrong("a hexadecimal digit expected");
    value = value * 16 + static_cast<uint32_t>(digit);
    ++at_;
  }
  return value;
}

uint32_t RegexParser::unicode_escape() {
  if (take("{")) {
    uint32_t value = 0;
    do {
      value = value * 16 + hex(1);
      if (value > 0x10ffff) wrong("not a code point");
    } while (peek() != '}');
    ++at_;
    return value;
  }
  const uint32_t high = hex(4);
  if (high < 0xd800 || high > 0xdbff || peek() != '\\' || peek(1) != 'u') return high;
  const size_t begin = at_;
  at_ += 2;
  if (peek() != '{') {
    const uint32_t low = hex(4);
    if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }
  at_ = begin;
  return high;  // half a pair: not a character, which the caller finds out
}

bool RegexParser::class_escape(char c, CharSet& out) const {
  switch (c) {
    case 'd': out = digits(); return true;
    case 'D': out = digits().complement(); return true;
    case 'w': out = word_characters(); return true;
    case 'W': out = word_characters().complement(); return true;
    case 's': out = white_space(); return true;
    case 'S': out = white_space().complement(); return true;
    default: return false;
  }
}

uint32_t RegexParser::character_escape(bool in_class) {
  const char c = peek();
  ++at_;
  switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'f': return '\f';
    case 'v': return '\v';
    case 'x': return hex(2);
    case 'u': return unicode_escape();
    case 'c':
      if ((peek() >= 'a' && peek() <= 'z') || (peek() >= 'A' && peek() <= 'Z')) return s_[at_++] & 0x1f;
      wrong("a letter expected after \\c");
    case 'b':
      if (in_class) return '\b';
      unsupported("\\b is");
    default: break;
  }
  --at_;
  if (c >= '0' && c <= '9') unsupported(c == '0' ? "the character NUL is" : "a back reference is");
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) unsupported("this escape sequence is");
  return utf8_next(s_, at_);
}

// One member of a class. True: `single` is a character, which may begin a range.
bool RegexParser::class_member(CharSet& out, uint32_t& single) {
  if (peek() != '\\') {
    single = utf8_next(s_, at_);
    return true;
  }
  ++at_;
  if (!more()) wrong("'[' without ']'");
  CharSet set;
  if (class_escape(peek(), set)) {
    ++at_;
    out.add(set);
    return false;
  }
  single = peek() == '-' ? static_cast<uint32_t>(s_[at_++]) : character_escape(true);
  return true;
}

CharSet RegexParser::char_class() {
  CharSet set;
  const bool negated = take("^");
  while (peek() != ']') {
    if (!more()) wrong("'[' without ']'");
    uint32_t first = 0, last = 0;
    if (!class_member(set, first)) continue;
    if (peek() == '-' && peek(1) != ']' && at_ + 1 < s_.size()) {
      ++at_;
      if (!class_member(set, last)) wrong("a range of a class ends with a set");
      if (last < first) wrong("the ends of a range are out of order");
      set.add(first, last);
    } else {
      set.add(first);
    }
  }
  ++at_;
  return negated ? set.complement() : set;
}

bool has_anchor(const RegexNode& node) {
  if (node.kind == RegexNode::Kind::kBegin || node.kind == RegexNode::Kind::kEnd) return true;
  return std::any_of(node.parts.begin(), node.parts.end(), has_anchor);
}

class RegexWriter {
 public:
  RegexWriter(Grammar& grammar, RegexMatch match, const CharacterWriter& writer, std::string_view what)
      : grammar_(grammar), match_(match), writer_(writer), what_(what) {}

  // Alternatives of the whole, each with its own anchors.
  Grammar::Part whole(const RegexNode& node) {
    if (node.kind == RegexNode::Kind::kChoice) {
      std::vector<Grammar::Part> parts;
      for (const RegexNode& part : node.parts) parts.push_back(whole(part));
      return grammar_.choice(parts);
    }
    const RegexNode* begin = &node;
    const RegexNode* end = &node + 1;
    if (node.kind == RegexNode::Kind::kSequence) {
      begin = node.parts.data();
      end = begin + node.parts.size();
    }
    bool at_begin = match_ == RegexMatch::kWhole, at_end = at_begin;
    for (; begin < end && begin->kind == RegexNode::Kind::kBegin; ++begin) at_begin = true;
    for (; begin < end && (end - 1)->kind == RegexNode::Kind::kEnd; --end) at_end = true;
    // ^(a|b)$ and (^a$|^b$): a group that is the whole may hold the anchors.
    if (end - begin == 1 && has_anchor(*begin) && at_begin == at_end &&
        (match_ == RegexMatch::kWhole || !at_begin) && begin->kind != RegexNode::Kind::kRepeat) {
      return whole(*begin);
    }
    std::vector<Grammar::Part> parts;
    if (!at_begin) parts.push_back(anything());
    for (; begin < end; ++begin) parts.push_back(inside(*begin));
    if (!at_end) parts.push_back(anything());
    return grammar_.sequence(parts);
  }

 private:
  Grammar::Part anything() { return grammar_.many(writer_.write(grammar_, CharSet::all())); }

  Grammar::Part inside(const RegexNode& node) {
    std::vector<Grammar::Part> parts;
    switch (node.kind) {
      case RegexNode::Kind::kSet: return writer_.write(grammar_, node.set);
      case RegexNode::Kind::kRepeat: return grammar_.repeat(inside(node.parts[0]), node.at_least, node.at_most);
      case RegexNode::Kind::kSequence:
        for (const RegexNode& part : node.parts) parts.push_back(inside(part));
        return grammar_.sequence(parts);
      case RegexNode::Kind::kChoice:
        for (const RegexNode& part : node.parts) parts.push_back(inside(part));
        return grammar_.choice(parts);
      case RegexNode::Kind::kBegin:
      case RegexNode::Kind::kEnd: break;
    }
    fail(Status::kUnsupported, "{}: regular expression: '^' and '$' are supported at the ends of the whole only", what_);
  }

  Grammar& grammar_;
  RegexMatch match_;
  const CharacterWriter& writer_;
  std::string_view what_;
};

constexpr int64_t kManyCharacters = int64_t{1} << 40;

}  // namespace

RegexNode parse_regex(std::string_view pattern, std::string_view what) { return RegexParser(pattern, what).parse(); }

RegexLength regex_length(const RegexNode& node) {
  RegexLength out;
  switch (node.kind) {
    case RegexNode::Kind::kSet: return {1, 1};
    case RegexNode::Kind::kBegin:
    case RegexNode::Kind::kEnd: return {0, 0};
    case RegexNode::Kind::kSequence:
      for (const RegexNode& part : node.parts) {
        const RegexLength l = regex_length(part);
        out.least = std::min(out.least + l.least, kManyCharacters);
        out.most = out.most < 0 || l.most < 0 ? -1 : std::min(out.most + l.most, kManyCharacters);
      }
      return out;
    case RegexNode::Kind::kChoice:
      out = regex_length(node.parts[0]);
      for (const RegexNode& part : node.parts) {
        const RegexLength l = regex_length(part);
        out.least = std::min(out.least, l.least);
        out.most = out.most < 0 || l.most < 0 ? -1 : std::max(out.most, l.most);
      }
      return out;
    case RegexNode::Kind::kRepeat: {
      const RegexLength l = regex_length(node.parts[0]);
      out.least = std::min(l.least * node.at_least, kManyCharacters);
      out.most = l.most == 0 ? 0
                 : l.most < 0 || node.at_most < 0 ? (node.at_most == 0 ? 0 : -1)
                                                  : std::min(l.most * node.at_most, kManyCharacters);
      return out;
    }
  }
  return out;
}

Grammar::Part regex_grammar(Grammar& grammar, const RegexNode& node, RegexMatch match, const CharacterWriter& writer,
                            std::string_view what) {
  return RegexWriter(grammar, match, writer, what).whole(node);
}

bool regex_is_anchored(const RegexNode& node) {
  return node.kind == RegexNode::Kind::kSequence && node.parts.size() >= 2 &&
         node.parts.front().kind == RegexNode::Kind::kBegin && node.parts.back().kind == RegexNode::Kind::kEnd;
}

RegexNode* regex_single_repeat(RegexNode& node) {
  if (!regex_is_anchored(node) || node.parts.size() != 3) return nullptr;
  RegexNode& middle = node.parts[1];
  const bool single = middle.kind == RegexNode::Kind::kRepeat && middle.parts[0].kind == RegexNode::Kind::kSet;
  return single ? &middle : nullptr;
}

}  // namespace dsv4
