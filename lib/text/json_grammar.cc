#include "lib/text/json_grammar.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "lib/base/utf8.h"
#include "lib/text/number_grammar.h"

namespace dsv4 {

namespace {

CharSet escaped_characters() { return CharSet(0x01, 0x1f).add('"').add('\\'); }
CharSet plain_characters() { return escaped_characters().complement(); }
CharSet hex_digits() { return CharSet('0', '9').add('A', 'F').add('a', 'f'); }

// The letter behind the backslash, 0 for a character that has none.
char short_escape(uint32_t c) {
  switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return '\0';
  }
}

}  // namespace

std::string json_escaped(uint32_t c) {
  if (const char letter = short_escape(c); letter != '\0') return {'\\', letter};
  if (c < 0x20) return fmt::format("\\u{:04x}", c);
  std::string out;
  utf8_append(out, c);
  return out;
}

std::string json_quoted(std::string_view utf8) {
  std::string out = "\"";
  for (size_t at = 0; at < utf8.size();) out += json_escaped(utf8_next(utf8, at));
  return out + '"';
}

Grammar::Part JsonCharacters::write(Grammar& grammar, const CharSet& set) const {
  std::vector<Grammar::Part> parts = {grammar.set(set.intersect(plain_characters()))};
  CharSet letters, low, high;  // \n; \u000b; \u001b
  const CharSet escaped = set.intersect(escaped_characters());
  for (const CharSet::Range& range : escaped.ranges()) {
    for (uint32_t c = range.first; c <= range.last; ++c) {
      if (const char letter = short_escape(c); letter != '\0') {
        letters.add(static_cast<uint8_t>(letter));
      } else {
        (c < 0x10 ? low : high).add(static_cast<uint8_t>("0123456789abcdef"[c & 15]));
      }
    }
  }
  parts.push_back(grammar.sequence({grammar.text("\\"), grammar.set(letters)}));
  parts.push_back(grammar.sequence({grammar.text("\\u000"), grammar.set(low)}));
  parts.push_back(grammar.sequence({grammar.text("\\u001"), grammar.set(high)}));
  return grammar.choice(parts);
}

Grammar::Part JsonGrammar::comma() {
  return once(comma_, [&] { return grammar_.sequence({grammar_.text(","), grammar_.optional(grammar_.text(" "))}); });
}

Grammar::Part JsonGrammar::colon() {
  return once(colon_, [&] { return grammar_.sequence({grammar_.text(":"), grammar_.optional(grammar_.text(" "))}); });
}

Grammar::Part JsonGrammar::escape() {
  return once(escape_, [&] {
    const Grammar::Part hex = grammar_.set(hex_digits());
    const Grammar::Part zero = grammar_.text("0");
    const auto unit = [&](const CharSet& first, const CharSet& second) {
      return grammar_.sequence({grammar_.set(first), grammar_.set(second), hex, hex});
    };
    const CharSet d = CharSet::of("dD");
    const CharSet not_zero = CharSet('1', '9').add('A', 'F').add('a', 'f');
    return grammar_.choice({
        grammar_.set(CharSet::of("\"\\/bfnrt")),
        grammar_.sequence({
            grammar_.text("u"),
            grammar_.choice({
                unit(hex_digits().without(d).without(CharSet('0', '0')), hex_digits()),
                unit(d, CharSet('0', '7')),
                grammar_.sequence({zero, grammar_.set(not_zero), hex, hex}),
                grammar_.sequence({zero, zero, grammar_.set(not_zero), hex}),
                grammar_.sequence({zero, zero, zero, grammar_.set(not_zero)}),
                grammar_.sequence({unit(d, CharSet::of("89abAB")), grammar_.text("\\u"),
                                   unit(d, CharSet('c', 'f').add('C', 'F'))}),
            }),
        }),
    });
  });
}

Grammar::Part JsonGrammar::tail() {
  if (tail_ < 0) {
    tail_ = grammar_.rule();
    const Grammar::Part again = grammar_.refer(tail_);
    grammar_.define(tail_, grammar_.choice({grammar_.text("\""),
                                            grammar_.sequence({grammar_.set(plain_characters()), again}),
                                            grammar_.sequence({grammar_.text("\\"), escape(), again})}));
  }
  return grammar_.refer(tail_);
}

// The same with each character written in one way only.
Grammar::Part JsonGrammar::tail_of_plain_characters() {
  if (plain_tail_ < 0) {
    plain_tail_ = grammar_.rule();
    const Grammar::Part one = JsonCharacters().write(grammar_, CharSet::all());
    grammar_.define(plain_tail_, grammar_.choice({grammar_.text("\""),
                                                  grammar_.sequence({one, grammar_.refer(plain_tail_)})}));
  }
  return grammar_.refer(plain_tail_);
}

Grammar::Part JsonGrammar::string() { return grammar_.sequence({grammar_.text("\""), tail()}); }

Grammar::Part JsonGrammar::characters(int64_t at_least, int64_t at_most) {
  const Grammar::Part one =
      grammar_.choice({grammar_.set(plain_characters()), grammar_.sequence({grammar_.text("\\"), escape()})});
  return grammar_.repeat(one, at_least, at_most);
}

Grammar::Part JsonGrammar::number() {
  return once(number_, [&] {
    const Grammar::Part digit = grammar_.set(CharSet('0', '9'));
    const Grammar::Part whole = grammar_.choice(
        {grammar_.text("0"),
         grammar_.sequence({grammar_.set(CharSet('1', '9')), grammar_.repeat(digit, 0, kMaxNumberDigits - 1)})});
    return grammar_.sequence(
        {grammar_.optional(grammar_.text("-")), whole,
         grammar_.optional(grammar_.sequence({grammar_.text("."), grammar_.repeat(digit, 1, kMaxNumberDigits)})),
         grammar_.optional(grammar_.sequence({grammar_.set(CharSet::of("eE")),
                                              grammar_.optional(grammar_.set(CharSet::of("+-"))),
                                              grammar_.repeat(digit, 1, 2)}))});
  });
}

Grammar::Part JsonGrammar::object() {
  return once(object_, [&] {
    members_ = grammar_.rule();
    const Grammar::Part member = grammar_.sequence({string(), colon(), value(kAnyType)});
    const Grammar::Part rest = grammar_.refer(members_);
    grammar_.define(members_, grammar_.choice({grammar_.text("}"), grammar_.sequence({comma(), member, rest})}));
    return grammar_.choice({grammar_.text("{}"), grammar_.sequence({grammar_.text("{"), member, rest})});
  });
}

Grammar::Part JsonGrammar::array() {
  return once(array_, [&] {
    items_ = grammar_.rule();
    const Grammar::Part rest = grammar_.refer(items_);
    const Grammar::Part item = value(kAnyType);
    grammar_.define(items_, grammar_.choice({grammar_.text("]"), grammar_.sequence({comma(), item, rest})}));
    return grammar_.choice({grammar_.text("[]"), grammar_.sequence({grammar_.text("["), item, rest})});
  });
}

Grammar::Part JsonGrammar::value(uint32_t types) {
  if (types == kAnyType && any_ >= 0) return grammar_.refer(any_);
  if (types == kAnyType) any_ = grammar_.rule();  // before its parts, which contain it
  std::vector<Grammar::Part> parts;
  if (types & kTypeNull) parts.push_back(grammar_.text("null"));
  if (types & kTypeBoolean) parts.insert(parts.end(), {grammar_.text("true"), grammar_.text("false")});
  if (types & kTypeObject) parts.push_back(object());
  if (types & kTypeArray) parts.push_back(array());
  if (types & kTypeNumber) {
    parts.push_back(number());
  } else if (types & kTypeInteger) {
    NumberBounds bounds;
    bounds.fraction_digits = 0;
    parts.push_back(bounded_number(grammar_, bounds, ""));
  }
  if (types & kTypeString) parts.push_back(string());
  const Grammar::Part out = grammar_.choice(parts);
  if (types != kAnyType) return out;
  grammar_.define(any_, out);
  return grammar_.refer(any_);
}

namespace {

// A tree of texts, character by character.
struct TextTree {
  struct Place {
    std::map<uint32_t, size_t> next;
    Grammar::Rule rule;
    bool is_end = false;
    int64_t depth = 0;
  };
  TextTree(Grammar& grammar, const std::vector<std::string>& texts) : places{{{}, grammar.rule()}} {
    for (const std::string& text : texts) {
      size_t place = 0;
      for (size_t at = 0; at < text.size();) {
        const uint32_t c = utf8_next(text, at);
        const auto [entry, is_new] = places[place].next.try_emplace(c, places.size());
        const int64_t depth = places[place].depth + 1;
        place = entry->second;
        if (is_new) places.push_back({{}, grammar.rule(), false, depth});
      }
      places[place].is_end = true;
    }
  }
  std::vector<Place> places;  // the first is the root
};

}  // namespace

Grammar::Part JsonGrammar::other_key(const std::vector<std::string>& taken) {
  if (taken.empty()) return string();
  // At each place of the tree of taken keys: on with a character that no taken key has here, and then anything; or into
  // the tree; or the end, unless a taken key ends here. Characters are written in one way only (JsonCharacters), so
  // that no escape can spell a taken key.
  const TextTree tree(grammar_, taken);
  const JsonCharacters writer;
  const Grammar::Part any = tail_of_plain_characters();
  for (const TextTree::Place& place : tree.places) {
    CharSet used;
    std::vector<Grammar::Part> parts;
    for (const auto& [c, next] : place.next) {
      used.add(c);
      parts.push_back(grammar_.sequence({grammar_.text(json_escaped(c)), grammar_.refer(tree.places[next].rule)}));
    }
    if (!place.is_end) parts.push_back(grammar_.text("\""));
    parts.push_back(grammar_.sequence({writer.write(grammar_, used.complement()), any}));
    grammar_.define(place.rule, grammar_.choice(parts));
  }
  return grammar_.sequence({grammar_.text("\""), grammar_.refer(tree.places[0].rule)});
}

Grammar::Part text_except(Grammar& grammar, const std::vector<std::string>& taken, const CharSet& letters,
                          int64_t most) {
  const TextTree tree(grammar, taken);
  for (const TextTree::Place& place : tree.places) {
    CharSet used;
    std::vector<Grammar::Part> parts;
    for (const auto& [c, next] : place.next) {
      used.add(c);
      if (place.depth >= most || !letters.contains(c)) continue;
      std::string letter;
      utf8_append(letter, c);
      parts.push_back(grammar.sequence({grammar.text(letter), grammar.refer(tree.places[next].rule)}));
    }
    if (place.depth > 0 && !place.is_end) parts.push_back(grammar.empty());
    if (place.depth < most) {
      parts.push_back(grammar.sequence(
          {grammar.set(letters.without(used)), grammar.repeat(grammar.set(letters), 0, most - place.depth - 1)}));
    }
    grammar.define(place.rule, grammar.choice(parts));
  }
  return grammar.refer(tree.places[0].rule);
}

}  // namespace dsv4
