#include "lib/text/grammar.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {

Grammar::Grammar() : items_(2) { items_[1].kind = Kind::kNever; }

Grammar::Part Grammar::add(Item item) {
  if (static_cast<int64_t>(items_.size()) >= kMaxParts) {
    fail(Status::kInvalidArgument, "constrained output: the grammar has more than {} parts", kMaxParts);
  }
  items_.push_back(std::move(item));
  return static_cast<Part>(items_.size() - 1);
}

Grammar::Part Grammar::text(std::string_view utf8) {
  if (utf8.empty()) return empty();
  Item item;
  item.kind = Kind::kText;
  item.text = utf8;
  return add(std::move(item));
}

Grammar::Part Grammar::set(const CharSet& characters) {
  if (characters.empty()) return never();
  Item item;
  item.kind = Kind::kSet;
  item.set = characters;
  return add(std::move(item));
}

Grammar::Part Grammar::sequence(const std::vector<Part>& parts) {
  Item item;
  item.kind = Kind::kSequence;
  for (const Part part : parts) {
    if (part == never()) return never();
    if (part != empty()) item.parts.push_back(part);
  }
  if (item.parts.empty()) return empty();
  if (item.parts.size() == 1) return item.parts[0];
  return add(std::move(item));
}

Grammar::Part Grammar::choice(const std::vector<Part>& parts) {
  Item item;
  item.kind = Kind::kChoice;
  for (const Part part : parts) {
    if (part != never() && std::find(item.parts.begin(), item.parts.end(), part) == item.parts.end()) {
      item.parts.push_back(part);
    }
  }
  if (item.parts.empty()) return never();
  if (item.parts.size() == 1) return item.parts[0];
  return add(std::move(item));
}

Grammar::Part Grammar::repeat(Part part, int64_t at_least, int64_t at_most) {
  if (at_most == 0 || part == empty()) return empty();
  if (at_most > 0 && at_most < at_least) return never();
  if (part == never()) return at_least == 0 ? empty() : never();
  if (at_least == 1 && at_most == 1) return part;
  if (std::max(at_least, at_most) > kMaxRepeat) {
    fail(Status::kInvalidArgument, "constrained output: a repetition of {} is more than {}",
         std::max(at_least, at_most), kMaxRepeat);
  }
  Item item;
  item.kind = Kind::kRepeat;
  item.parts = {part};
  item.at_least = at_least;
  item.at_most = at_most;
  return add(std::move(item));
}

Grammar::Rule Grammar::rule() {
  rules_.push_back(-1);
  return static_cast<Rule>(rules_.size() - 1);
}

void Grammar::define(Rule rule, Part part) { rules_[static_cast<size_t>(rule)] = part; }

Grammar::Part Grammar::refer(Rule rule) {
  Item item;
  item.kind = Kind::kRule;
  item.rule = rule;
  return add(std::move(item));
}

// Finds out what can be finished, and writes that.
class Grammar::Writer {
 public:
  explicit Writer(const Grammar& grammar) : grammar_(grammar) {}

  std::string write(Part root, std::string_view what);

 private:
  static constexpr int kMaxDepth = 400;
  static constexpr size_t kMaxText = 4u << 20;

  const Item& item(Part part) const { return grammar_.items_[static_cast<size_t>(part)]; }
  bool finite(Part part) const { return finite_[static_cast<size_t>(part)]; }
  void find_finite();
  bool decide(const Item& item) const;
  void put(Part part, int depth);
  void put_parts(const Item& item, int depth);
  void put_rule(Rule rule);
  int64_t positions(Part part, int depth) const;

  const Grammar& grammar_;
  std::vector<bool> finite_;  // by part: it matches some finite text
  std::vector<int32_t> names_;
  std::vector<Rule> pending_;
  std::string out_;
  int64_t positions_ = 0;
};

bool Grammar::Writer::decide(const Item& item) const {
  switch (item.kind) {
    case Kind::kNever: return false;
    case Kind::kEmpty:
    case Kind::kText:
    case Kind::kSet: return true;
    case Kind::kSequence: return std::all_of(item.parts.begin(), item.parts.end(), [&](Part p) { return finite(p); });
    case Kind::kChoice: return std::any_of(item.parts.begin(), item.parts.end(), [&](Part p) { return finite(p); });
    case Kind::kRepeat: return item.at_least == 0 || finite(item.parts[0]);
    case Kind::kRule: {
      const Part body = grammar_.rules_[static_cast<size_t>(item.rule)];
      return body >= 0 && finite(body);
    }
  }
  return false;
}

// The least fixed point. Parts are older than what they are part of, so one pass settles all but references to rules;
// each further pass settles at least one rule more.
void Grammar::Writer::find_finite() {
  finite_.assign(grammar_.items_.size(), false);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < finite_.size(); ++i) {
      if (!finite_[i] && decide(grammar_.items_[i])) {
        finite_[i] = true;
        changed = true;
      }
    }
  }
}

void put_character(std::string& out, uint32_t c) {
  const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  if (plain) {
    out += static_cast<char>(c);
  } else if (c <= 0xffff) {
    out += fmt::format("\\u{:04x}", c);
  } else {
    out += fmt::format("\\U{:08x}", c);
  }
}

void put_text(std::string& out, std::string_view text) {
  out += '"';
  for (size_t at = 0; at < text.size();) put_character(out, utf8_next(text, at));
  out += '"';
}

void put_set(std::string& out, const CharSet& set) {
  out += '[';
  for (const CharSet::Range& range : set.ranges()) {
    put_character(out, range.first);
    if (range.last == range.first) continue;
    out += '-';
    put_character(out, range.last);
  }
  out += ']';
}

// How many states the engine makes of a part; a long repetition is counted in the engine, not spelled out.
int64_t Grammar::Writer::positions(Part part, int depth) const {
  const Item& i = item(part);
  if (!finite(part) || depth > kMaxDepth) return 0;
  int64_t sum = 1;
  switch (i.kind) {
    case Kind::kText: return static_cast<int64_t>(i.text.size());
    case Kind::kSet: return i.set.ranges().back().last < 0x80 ? 1 : 4;
    case Kind::kRepeat: {
      constexpr int64_t kSpelledOut = 128;
      const int64_t times = std::min(std::max({i.at_least, i.at_most, int64_t{1}}), kSpelledOut);
      return std::min(times * positions(i.parts[0], depth + 1), kMaxPositions + 1);
    }
    case Kind::kSequence:
    case Kind::kChoice:
      for (const Part p : i.parts) sum = std::min(sum + positions(p, depth + 1), kMaxPositions + 1);
      return sum;
    default: return sum;
  }
}

void Grammar::Writer::put_parts(const Item& item, int depth) {
  const char* between = item.kind == Kind::kChoice ? " | " : " ";
  bool first = true;
  for (const Part part : item.parts) {
    if (!finite(part)) continue;
    if (!first) out_ += between;
    put(part, depth + 1);
    first = false;
  }
}

void Grammar::Writer::put_rule(Rule rule) {
  int32_t& name = names_[static_cast<size_t>(rule)];
  if (name < 0) {
    pending_.push_back(rule);
    name = rule;
  }
  out_ += fmt::format("r{}", rule);
}

void Grammar::Writer::put(Part part, int depth) {
  const Item& i = item(part);
  if (depth > kMaxDepth) {
    fail(Status::kInvalidArgument, "constrained output: the grammar is nested deeper than {}", kMaxDepth);
  }
  // A part may be used in several places, and is written out in each.
  if (out_.size() > kMaxText) {
    fail(Status::kInvalidArgument, "constrained output: too large: the grammar has more than {} bytes", kMaxText);
  }
  switch (i.kind) {
    case Kind::kNever:
    case Kind::kEmpty: out_ += "\"\""; break;
    case Kind::kText: put_text(out_, i.text); break;
    case Kind::kSet: put_set(out_, i.set); break;
    case Kind::kRule: put_rule(i.rule); break;
    case Kind::kSequence:
    case Kind::kChoice:
      out_ += '(';
      put_parts(i, depth);
      out_ += ')';
      break;
    case Kind::kRepeat:
      if (!finite(i.parts[0])) {
        out_ += "\"\"";
        break;
      }
      out_ += '(';  // a repetition of a repetition: ("a"*)*
      put(i.parts[0], depth + 1);
      out_ += ')';
      if (i.at_least == 0 && i.at_most < 0) {
        out_ += '*';
      } else if (i.at_most < 0) {
        out_ += fmt::format("{{{},}}", i.at_least);
      } else {
        out_ += fmt::format("{{{},{}}}", i.at_least, i.at_most);
      }
      break;
  }
}

std::string Grammar::Writer::write(Part root, std::string_view what) {
  find_finite();
  if (!finite(root)) fail(Status::kInvalidArgument, "{}: nothing can satisfy it", what);
  names_.assign(grammar_.rules_.size(), -1);
  out_ = "root ::= ";
  put(root, 0);
  out_ += '\n';
  positions_ = positions(root, 0);
  while (!pending_.empty()) {
    const Rule rule = pending_.back();
    pending_.pop_back();
    const Part body = grammar_.rules_[static_cast<size_t>(rule)];
    out_ += fmt::format("r{} ::= ", rule);
    put(body, 0);
    out_ += '\n';
    positions_ += positions(body, 0);
    if (positions_ > kMaxPositions) {
      fail(Status::kInvalidArgument, "{}: too large: the grammar has more than {} positions", what, kMaxPositions);
    }
  }
  if (positions_ > kMaxPositions) {
    fail(Status::kInvalidArgument, "{}: too large: the grammar has more than {} positions", what, kMaxPositions);
  }
  return std::move(out_);
}

std::string Grammar::ebnf(Part root, std::string_view what) const { return Writer(*this).write(root, what); }

}  // namespace dsv4
