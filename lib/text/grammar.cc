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
    const Item& one = items_[static_cast<size_t>(part)];
    if (one.kind == Kind::kSequence) {  // flat, so that a repetition sees all that follows it
      item.parts.insert(item.parts.end(), one.parts.begin(), one.parts.end());
    } else if (part != empty()) {
      item.parts.push_back(part);
    }
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
  void put_choice(const Item& item, int depth);
  void put_sequence(const Part* begin, const Part* end, int depth);
  void put_chain(const Item& item, const Part* begin, const Part* end, int depth);
  void put_link(Part repeated, const std::string& next, int depth);
  void put_rule(Rule rule);
  bool is_narrow(Part part) const;
  bool is_chain(const Item& item) const;
  std::string new_rule() { return fmt::format("x{}", ++made_); }
  int64_t positions(Part part, int depth) const;

  const Grammar& grammar_;
  std::vector<bool> finite_;  // by part: it matches some finite text
  std::vector<int32_t> names_;
  std::vector<Rule> pending_;
  std::string out_;   // the rule that is being written
  std::string done_;  // those that are
  int64_t made_ = 0;  // rules that are the writer's own
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

// How many states the engine makes of a part.
int64_t Grammar::Writer::positions(Part part, int depth) const {
  const Item& i = item(part);
  if (!finite(part) || depth > kMaxDepth) return 0;
  int64_t sum = 1;
  switch (i.kind) {
    case Kind::kText: return static_cast<int64_t>(i.text.size());
    case Kind::kSet: return i.set.ranges().back().last < 0x80 ? 1 : 4;
    case Kind::kRepeat: {
      const int64_t times = std::max({i.at_least, i.at_most, int64_t{1}});
      return std::min(times * positions(i.parts[0], depth + 1), kMaxPositions + 1);
    }
    case Kind::kSequence:
    case Kind::kChoice:
      for (const Part p : i.parts) {
        if (sum > kMaxPositions) break;
        sum += positions(p, depth + 1);
      }
      return std::min(sum, kMaxPositions + 1);
    default: return sum;
  }
}

void Grammar::Writer::put_choice(const Item& item, int depth) {
  bool first = true;
  for (const Part part : item.parts) {
    if (!finite(part)) continue;
    if (!first) out_ += " | ";
    put(part, depth + 1);
    first = false;
  }
}

// ---- repetitions

// Few characters: few tokens, so that it does not matter how the engine counts them.
bool Grammar::Writer::is_narrow(Part part) const {
  const Item& i = item(part);
  if (i.kind == Kind::kText) return true;
  if (i.kind != Kind::kSet) return false;
  constexpr uint32_t kFew = 64;
  uint32_t count = 0;
  for (const CharSet::Range& range : i.set.ranges()) count += range.last - range.first + 1;
  return count <= kFew;
}

// The engine counts up to 128 by spelling out, in a way that makes it look at most tokens anew at each step; beyond
// that its masks are not exact. A chain of rules, one for each count, is neither:
//   X{1,2} rest   is   x1   with   x1 ::= X x2;  x2 ::= rest | X x3;  x3 ::= rest
bool Grammar::Writer::is_chain(const Item& item) const {
  constexpr int64_t kShort = 32;
  if (item.kind != Kind::kRepeat || !finite(item.parts[0])) return false;
  if (std::max(item.at_least, item.at_most) <= 1) return false;
  return !is_narrow(item.parts[0]) || std::max(item.at_least, item.at_most) > kShort;
}

// One repetition and what comes next; its alternatives are written out, so that the rule itself sees characters.
void Grammar::Writer::put_link(Part repeated, const std::string& next, int depth) {
  const Item& i = item(repeated);
  if (i.kind != Kind::kChoice) {
    put(repeated, depth + 1);
    out_ += ' ' + next;
    return;
  }
  bool first = true;
  for (const Part part : i.parts) {
    if (!finite(part)) continue;
    if (!first) out_ += " | ";
    put_link(part, next, depth + 1);
    first = false;
  }
}

void Grammar::Writer::put_chain(const Item& repeat, const Part* begin, const Part* end, int depth) {
  std::string saved = std::move(out_);
  const auto finish = [&](const std::string& name, auto&& body) {
    out_.clear();
    body();
    done_ += name + " ::= " + out_ + '\n';
    if (done_.size() > kMaxText) {
      fail(Status::kInvalidArgument, "constrained output: too large: the grammar has more than {} bytes", kMaxText);
    }
  };
  std::string rest;  // "": nothing
  if (begin != end) {
    rest = new_rule();
    finish(rest, [&] { put_sequence(begin, end, depth + 1); });
  }
  // What is large, or counts itself, is written once.
  constexpr int64_t kLarge = 40;
  Part repeated = repeat.parts[0];
  std::string shared;
  if (positions(repeated, 0) > kLarge) {
    shared = new_rule();
    finish(shared, [&] { put(repeated, depth + 1); });
  }
  const std::string stop = rest.empty() ? "\"\"" : rest;
  const std::string first = new_rule();
  std::string name = first;
  const int64_t counted = std::max(repeat.at_least, repeat.at_most);
  for (int64_t i = 0; i <= counted; ++i) {
    const bool is_last = i == counted;
    const bool loops = is_last && repeat.at_most < 0;
    const std::string next = loops ? name : is_last ? "" : new_rule();
    finish(name, [&] {
      if (i >= repeat.at_least) out_ += stop;
      if (next.empty()) return;
      if (!out_.empty()) out_ += " | ";
      if (shared.empty()) {
        put_link(repeated, next, depth + 1);
      } else {
        out_ += shared + ' ' + next;
      }
    });
    name = next;
  }
  out_ = std::move(saved);
  out_ += first;
}

void Grammar::Writer::put_sequence(const Part* begin, const Part* end, int depth) {
  if (depth > kMaxDepth) {
    fail(Status::kInvalidArgument, "constrained output: the grammar is nested deeper than {}", kMaxDepth);
  }
  bool first = true;
  for (const Part* part = begin; part != end; ++part) {
    if (!first) out_ += ' ';
    first = false;
    if (is_chain(item(*part))) return put_chain(item(*part), part + 1, end, depth + 1);
    put(*part, depth + 1);
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
  if (out_.size() + done_.size() > kMaxText) {
    fail(Status::kInvalidArgument, "constrained output: too large: the grammar has more than {} bytes", kMaxText);
  }
  switch (i.kind) {
    case Kind::kNever:
    case Kind::kEmpty: out_ += "\"\""; break;
    case Kind::kText: put_text(out_, i.text); break;
    case Kind::kSet: put_set(out_, i.set); break;
    case Kind::kRule: put_rule(i.rule); break;
    case Kind::kSequence:
      out_ += '(';
      put_sequence(i.parts.data(), i.parts.data() + i.parts.size(), depth);
      out_ += ')';
      break;
    case Kind::kChoice:
      out_ += '(';
      put_choice(i, depth);
      out_ += ')';
      break;
    case Kind::kRepeat:
      if (!finite(i.parts[0])) {
        out_ += "\"\"";
        break;
      }
      if (is_chain(i)) {
        put_chain(i, nullptr, nullptr, depth);
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
  const auto rule = [&](const std::string& name, Part body) {
    // Counted before it is written: a repetition of a repetition is short in a schema and long here.
    positions_ += positions(body, 0);
    if (positions_ > kMaxPositions) {
      fail(Status::kInvalidArgument, "{}: too large: the grammar has more than {} positions", what, kMaxPositions);
    }
    out_.clear();
    put(body, 0);
    done_ += name + " ::= " + out_ + '\n';
  };
  rule("root", root);
  while (!pending_.empty()) {
    const Rule next = pending_.back();
    pending_.pop_back();
    rule(fmt::format("r{}", next), grammar_.rules_[static_cast<size_t>(next)]);
  }
  return std::move(done_);
}

std::string Grammar::ebnf(Part root, std::string_view what) const { return Writer(*this).write(root, what); }

}  // namespace dsv4
