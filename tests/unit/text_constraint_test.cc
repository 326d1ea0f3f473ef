// Constrained output: masks against languages that are written out word by word, answers against a validator and
// std::regex that know nothing of grammars, and what must be refused.
#include <algorithm>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/constraint_fixture.h"
#include "tests/support/schema_validator.h"

namespace dsv4::text_test {
namespace {

using Kind = ConstraintSpec::Kind;

struct SchemaCase {
  const char* name;
  const char* schema;
  std::vector<const char*> valid;
  std::vector<const char*> invalid;
  std::vector<const char*> unwritten = {};  // valid, and outside of what is written (the header says so)
};

const std::vector<SchemaCase>& schema_cases() {
  static const std::vector<SchemaCase> cases = {
      {"person",
       R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
           "address":{"type":"object","properties":{"street":{"type":"string"},"zip":{"type":"string",
           "pattern":"^[0-9]{5}$"}},"required":["street","zip"],"additionalProperties":false},
           "tags":{"type":"array","items":{"type":"string","maxLength":12},"minItems":1,"maxItems":4}},
           "required":["name","age","address","tags"],"additionalProperties":false})",
       {R"({"name": "Ann", "age": 0, "address": {"street": "Elm \"7\"", "zip": "01234"}, "tags": ["a"]})",
        R"({"name":"","age":150,"address":{"street":"\u00e9\n","zip":"99999"},"tags":["a","b","c","123456789012"]})"},
       {R"({"name": "Ann", "age": 151, "address": {"street": "x", "zip": "01234"}, "tags": ["a"]})",
        R"({"name": "Ann", "age": -1, "address": {"street": "x", "zip": "01234"}, "tags": ["a"]})",
        R"({"name": "Ann", "age": 1.5, "address": {"street": "x", "zip": "01234"}, "tags": ["a"]})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x", "zip": "0123"}, "tags": ["a"]})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x", "zip": "012345"}, "tags": ["a"]})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x"}, "tags": ["a"]})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x", "zip": "01234"}, "tags": []})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x", "zip": "01234"}, "tags": ["a","b","c","d","e"]})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x", "zip": "01234"}, "tags": ["1234567890123"]})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x", "zip": "01234"}})",
        R"({"name": "Ann", "age": 1, "address": {"street": "x", "zip": "01234"}, "tags": ["a"], "more": 1})"}},
      {"optional properties",
       R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"boolean"},"c":{"type":"null"}},
           "required":["b"],"additionalProperties":false})",
       {R"({"b": true})", R"({"a": 1, "b": false})", R"({"b":true,"c":null})", R"({"a":-10,"b":true, "c": null})"},
       {R"({})", R"({"a": 1})", R"({, "b": true})", R"({"b": true,})", R"({"a": 1 "b": true})", R"({"b": true}})"}},
      {"all optional",
       R"({"type":"object","properties":{"a":{"enum":[1,"one",null]},"b":{"const":{"x":[1]}}},
           "additionalProperties":false})",
       {R"({})", R"({"a": "one"})", R"({"b": {"x": [1]}})", R"({"a": null, "b": {"x": [1]}})"},
       {R"({"a": "two"})", R"({"a": 11})", R"({"b": {"x": [2]}})", R"({"c": 1})"}},
      {"list by reference",
       R"({"$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},"next":{"anyOf":[
           {"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["value","next"],"additionalProperties":false}},
           "$ref":"#/$defs/node"})",
       {R"({"value": 1, "next": null})", R"({"value": 1, "next": {"value": 2, "next": {"value": 3, "next": null}}})"},
       {R"({"value": 1})", R"({"value": 1, "next": {"value": 2}})", R"({"value": 1, "next": 2})"}},
      {"tree",
       R"({"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#"}}},
           "required":["name"],"additionalProperties":false})",
       {R"({"name": "a"})", R"({"name": "a", "children": [{"name": "b", "children": []}, {"name": "c"}]})"},
       {R"({"name": "a", "children": [{}]})", R"({"children": []})"}},
      {"kinds of shape",
       R"({"oneOf":[{"type":"object","properties":{"kind":{"const":"circle"},"radius":{"type":"number",
           "exclusiveMinimum":0}},"required":["kind","radius"],"additionalProperties":false},
           {"type":"object","properties":{"kind":{"const":"square"},"side":{"type":"number","minimum":1,"maximum":10}},
           "required":["kind","side"],"additionalProperties":false}]})",
       {R"({"kind": "circle", "radius": 0.5})", R"({"kind": "square", "side": 10})"},
       {R"({"kind": "circle", "radius": 0})", R"({"kind": "circle", "side": 3})", R"({"kind": "square", "side": 10.5})",
        R"({"kind": "triangle"})"}},
      {"tuple",
       R"({"type":"array","prefixItems":[{"type":"string"},{"type":"integer"},{"type":"boolean"}],
           "items":{"type":"null"},"minItems":2,"maxItems":5})",
       {R"(["a", 1])", R"(["a", 1, true])", R"(["a", 1, true, null, null])"},
       {R"([])", R"(["a"])", R"([1, "a"])", R"(["a", 1, true, 1])", R"(["a", 1, true, null, null, null])"}},
      {"map", R"({"type":"object","additionalProperties":{"type":"number","multipleOf":0.01,"minimum":0}})",
       {R"({})", R"({"a": 1.25})", R"({"a": 0, "b": 10.5, "": 3})"},
       {R"({"a": 1.255})", R"({"a": -1})", R"({"a": "1"})"},
       {R"({"a": 1e3})", R"({ "a": 1})"}},
      {"open object",
       R"({"type":"object","properties":{"id":{"type":"integer"},"identity":{"type":"boolean"}},"required":["id"]})",
       {R"({"id": 1})", R"({"id": 1, "identity": true})", R"({"id": 1, "other": "x", "i": [], "ide": {"a": 1}})",
        R"({"id": 1, "identities": null})"},
       {R"({"other": 1})", R"({"id": "x"})", R"({"id": 1, "identity": 3})"},
       {R"({"id": 1, "id": 2})", R"({"id": 1, "\u0069d": 1})", R"({"identity": true, "id": 1})",
        R"({"id": 1, "\u0061": 1})", R"({"x": 1, "id": 1})"}},
      {"allOf",
       R"({"$defs":{"base":{"type":"object","properties":{"id":{"type":"integer","minimum":1}},"required":["id"]}},
           "allOf":[{"$ref":"#/$defs/base"},{"properties":{"name":{"type":"string"},"id":{"maximum":9}},
           "required":["name"]}]})",
       {R"({"id": 9, "name": "x"})", R"({"id": 1, "name": "x", "more": {}})"},
       {R"({"id": 0, "name": "x"})", R"({"id": 10, "name": "x"})", R"({"id": 5})", R"({"name": "x"})"}},
      {"reference with siblings",
       R"({"$defs":{"s":{"type":"string","minLength":2}},"type":"array","items":{"$ref":"#/$defs/s","maxLength":3}})",
       {R"([])", R"(["ab", "abc"])"},
       {R"(["a"])", R"(["abcd"])"}},
      {"several types", R"({"type":["string","integer","null"],"minLength":1,"maximum":5})",
       {R"("a")", R"(5)", R"(-100)", R"(null)"},
       {R"("")", R"(6)", R"(true)", R"(1.5)"}},
      {"lengths", R"({"type":"string","minLength":3,"maxLength":5})",
       {R"("abc")", R"("aéü你")", R"("\n\t\"\\\u00e9")", R"("\ud83d\ude00ab")"},
       {R"("ab")", R"("abcdef")", R"("😀😀")"}},
      {"pattern with length", R"({"type":"string","pattern":"^[a-z]+$","minLength":2,"maxLength":4})",
       {R"("ab")", R"("abcd")"},
       {R"("a")", R"("abcde")", R"("aB")"}},
      {"enum with type", R"({"type":["integer","string"],"enum":[1,2.5,"x",null,7],"maximum":5})",
       {R"(1)", R"("x")"},
       {R"(2.5)", R"(null)", R"(7)"}},
      {"any value", R"({"description":"whatever"})",
       {R"(null)", R"([1, {"a": []}, "x", -1.5e-10, true])", R"({"a":{"b":{"c":[[[]]]}}})"},
       {R"(nul)", R"([1,])", R"({"a"})", R"(01)", R"(+1)", R"(.5)", R"(1.)", R"('x')"}},
      {"limits of a map", R"({"type":"object","additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":2})",
       {R"({"a": 1})", R"({"a": 1, "b": 2})"},
       {R"({})", R"({"a": 1, "b": 2, "c": 3})"}},
  };
  return cases;
}

std::string document(const std::string& text) {  // a case's text, with the line ends of its source taken out
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n') {
      out += text[i];
    } else {
      while (i + 1 < text.size() && text[i + 1] == ' ') ++i;
    }
  }
  return out;
}

TEST_CASE("masks: exactly the tokens with which an answer can go on") {
  // Every answer of the language is written out; a token may come when some answer begins with the text and it.
  const std::vector<std::string> words = {"re", "red", "d", "blue", " blue", "e", "é", "你好", "😀", "\n", "a1", "_"};
  std::string grammar = "root ::= w{1,2} (\".\" | \"?!\")\nw ::= ";
  for (const std::string& word : words) grammar += (word == words[0] ? "\"" : " | \"") + (word == "\n" ? "\\n" : word) + "\"";
  std::vector<std::string> answers;
  for (const std::string end : {".", "?!"}) {
    for (const std::string& a : words) {
      answers.push_back(a + end);
      for (const std::string& b : words) answers.push_back(a + b + end);
    }
  }
  std::sort(answers.begin(), answers.end());
  for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
    const auto constraint = bench->compiler.compile(spec_of(Kind::kEbnf, grammar));
    std::vector<std::pair<std::string, ConstraintMatcher>> todo;
    todo.emplace_back("", ConstraintMatcher(constraint));
    size_t states = 0, set = 0;
    const size_t most = bench == &tiny_bench() ? 400 : 40;
    Random random(5);
    while (!todo.empty() && states < most) {
      const size_t at = random.below(todo.size());
      std::swap(todo[at], todo.back());
      auto [text, matcher] = std::move(todo.back());
      todo.pop_back();
      ++states;
      const std::span<const uint32_t> mask = matcher.mask();
      std::vector<int32_t> next;
      for (int32_t id = 0; id < bench->vocab; ++id) {
        const std::string_view bytes = bench->tokenizer.bytes(id);
        bool expected = false;
        if (id == bench->eos) {
          expected = std::binary_search(answers.begin(), answers.end(), text);
        } else if (!bench->tokenizer.is_special(id) && !bytes.empty()) {
          const std::string begin = text + std::string(bytes);
          const auto found = std::lower_bound(answers.begin(), answers.end(), begin);
          expected = found != answers.end() && found->compare(0, begin.size(), begin) == 0;
        }
        if (allows(mask, id) != expected) {
          FAIL_CHECK("after '" << text << "', token " << id << " '" << std::string(bytes) << "': expected " << expected);
        }
        if (expected && id != bench->eos) next.push_back(id);
        set += expected ? 1 : 0;
      }
      for (const int32_t id : next) {
        ConstraintMatcher copy = matcher;
        REQUIRE(copy.accept(id));
        todo.emplace_back(text + std::string(bench->tokenizer.bytes(id)), std::move(copy));
      }
    }
    CHECK(states > 30);
    CHECK(set > states);
  }
}

TEST_CASE("masks: what a mask says of a token is what accepting it says") {
  ConstraintBench& bench = real_bench();
  const auto constraint = bench.compiler.compile(schema_spec(schema_cases()[0].schema));
  for (const std::string_view text : {R"({"name": "Ann)", R"({"name": "x", "age": 1)"}) {
    ConstraintMatcher matcher(constraint);
    REQUIRE(accepts(matcher, encode(bench.tokenizer, text)));
    const std::span<const uint32_t> mask = matcher.mask();
    size_t set = 0;
    for (int32_t id = 0; id < bench.vocab; id += 7) {
      ConstraintMatcher copy = matcher;
      const bool accepted = copy.accept(id);
      set += accepted ? 1 : 0;
      if (accepted != allows(mask, id)) FAIL_CHECK(text << ": token " << id << ": accepted " << accepted);
    }
    CHECK(set > 0);
  }
}

TEST_CASE("schemas: documents are answers exactly when they are valid") {
  for (const SchemaCase& c : schema_cases()) {
    CAPTURE(c.name);
    const Json schema = parse_json(c.schema, "schema", Status::kCorrupt);
    for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
      const auto constraint = bench->compiler.compile(schema_spec(c.schema));
      for (const char* text : c.valid) {
        CAPTURE(text);
        CHECK(schema_violation(schema, schema, parse_json(text, "valid", Status::kCorrupt)) == "");
        CHECK(is_answer(*bench, constraint, document(text)));
      }
      for (const char* text : c.invalid) {
        CAPTURE(text);
        Json value;
        CHECK((!try_parse_json(text, value) || schema_violation(schema, schema, value) != ""));
        CHECK_FALSE(is_answer(*bench, constraint, document(text)));
      }
      for (const char* text : c.unwritten) CHECK_FALSE(is_answer(*bench, constraint, document(text)));
    }
  }
}

TEST_CASE("schemas: whatever is written along the masks is valid") {
  for (const SchemaCase& c : schema_cases()) {
    CAPTURE(c.name);
    const Json schema = parse_json(c.schema, "schema", Status::kCorrupt);
    for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
      const auto constraint = bench->compiler.compile(schema_spec(c.schema));
      const int walks = bench == &tiny_bench() ? 40 : 4;
      int ended = 0;
      for (int i = 0; i < walks; ++i) {
        Random random(static_cast<uint64_t>(i) + 1);
        const Walk w = walk(*bench, constraint, random, i % 20, 400);
        if (!w.ended) continue;
        ++ended;
        CAPTURE(w.text);
        Json value;
        CHECK(try_parse_json(w.text, value));
        CHECK(schema_violation(schema, schema, value) == "");
      }
      CHECK(ended * 2 > walks);  // the test is about answers, not about walks that go on
    }
  }
}

TEST_CASE("numbers: every bound, to the last digit") {
  const std::vector<const char*> schemas = {
      R"({"type":"integer","minimum":-12,"maximum":105})", R"({"type":"integer","exclusiveMinimum":9,"maximum":10})",
      R"({"type":"integer","minimum":0.5,"maximum":2.5})", R"({"type":"integer","exclusiveMinimum":-3,"maximum":-0.5})",
      R"({"type":"integer","maximum":-7})", R"({"type":"integer","minimum":99})", R"({"type":"integer"})",
      R"({"type":"number","minimum":-1.25,"maximum":10.5})", R"({"type":"number","exclusiveMinimum":0,"maximum":1})",
      R"({"type":"number","minimum":0,"exclusiveMaximum":0.05})", R"({"type":"number","minimum":1.5,"maximum":1.5})",
      R"({"type":"number","exclusiveMinimum":-0.1,"exclusiveMaximum":0.1})", R"({"type":"number","minimum":9.99})",
      R"({"type":"number","maximum":-9.9})", R"({"type":"number","exclusiveMinimum":3,"exclusiveMaximum":4})",
      R"({"type":"number","minimum":2.05,"maximum":2.5,"multipleOf":0.1})", R"({"type":"number","multipleOf":1})",
      R"({"type":"number","minimum":1e1,"maximum":12E0})", R"({"type":"number","minimum":0.1,"exclusiveMinimum":0.1})",
      R"({"type":"number","minimum":-0.0,"maximum":0})", R"({"type":"number","minimum":0.95,"maximum":1.05})"};
  std::vector<std::string> texts;
  for (int whole = -120; whole <= 120; ++whole) {
    for (const char* fraction : {"", ".0", ".00", ".04", ".05", ".1", ".10", ".2", ".25", ".5", ".50", ".9", ".99"}) {
      texts.push_back(std::to_string(whole) + fraction);
      if (whole == 0 && std::string(fraction).find_first_of("1234569") != std::string::npos) {
        texts.push_back("-0" + std::string(fraction));
      }
    }
  }
  for (const char* never : {"-0", "-0.0", "00", "01", "1.", ".5", "-", "+1", "--1", "1e", "0x1"}) texts.push_back(never);
  ConstraintBench& bench = tiny_bench();
  for (const char* text : schemas) {
    CAPTURE(text);
    const Json schema = parse_json(text, "schema", Status::kCorrupt);
    const auto constraint = bench.compiler.compile(schema_spec(text));
    const bool integers = schema.find("type")->text() == "integer";
    const bool bounded = schema.size() > 1;
    size_t yes = 0;
    for (const std::string& number : texts) {
      Json value;
      bool expected = try_parse_json(number, value) && schema_violation(schema, schema, value).empty();
      // Of the spellings of a whole number, integers and multiples have those without a point; zero has no sign.
      if ((integers || schema.find("multipleOf") != nullptr) && number.find('.') != std::string::npos) {
        const size_t digits = number.size() - number.find('.') - 1;
        expected = expected && !integers && digits <= (schema.find("multipleOf")->text() == "1" ? 0u : 1u);
      }
      if ((bounded || integers) && number.rfind("-0", 0) == 0 && number.find_first_of("123456789") == std::string::npos) continue;
      if (is_answer(bench, constraint, number) != expected) FAIL_CHECK(number << ": expected " << expected);
      yes += expected ? 1 : 0;
    }
    CHECK(yes > 0);
  }
}

TEST_CASE("regular expressions: the same texts as std::regex") {
  const std::vector<const char*> patterns = {
      "a",       "ab|b0",       "a*b+0?",        "(a|b)*0",      "[ab]{2,3}",     "[^a]b",      "a{0}b",
      "(?:ab)+", "a.b",         "\\d\\w",        "[0-9-]+",      "(a|ab)(0|b0)",  "^a$",        "^(a|b0)$",
      "a?a?aa",  "(a*)*",       "((a|b){2}){2}", "\\x61\\u0062", "[\\d-]b",       "a{2,}",      "(?:)",
      "|a",      "[a-b]-[0-9]", "(a|)b",         "a+?b*?",       "[\\w\\-]{2}",   "^a|b$",      "\\-"};
  const std::string letters = "ab0-";
  std::vector<std::string> texts = {""};
  for (size_t i = 0; texts[i].size() < 5; ++i) {
    for (const char c : letters) texts.push_back(texts[i] + c);
  }
  ConstraintBench& bench = tiny_bench();
  for (const char* pattern : patterns) {
    CAPTURE(pattern);
    const auto whole = bench.compiler.compile(spec_of(Kind::kRegex, pattern));
    Json schema = Json::object();
    schema.append("type", Json::string("string"));
    schema.append("pattern", Json::string(pattern));
    const auto inside = bench.compiler.compile(schema_spec(schema.dump()));
    const std::regex expression(pattern);
    size_t both = 0;
    for (const std::string& text : texts) {
      const bool matches = std::regex_match(text, expression), contains = std::regex_search(text, expression);
      if (is_answer(bench, whole, text) != matches) FAIL_CHECK("whole '" << text << "': expected " << matches);
      if (is_answer(bench, inside, "\"" + text + "\"") != contains) {
        FAIL_CHECK("in a string '" << text << "': expected " << contains);
      }
      both += matches ? 1 : 0;
    }
    CHECK(both > 0);
  }
}

TEST_CASE("regular expressions in strings: what JSON escapes is escaped") {
  ConstraintBench& bench = tiny_bench();
  const auto constraint =
      bench.compiler.compile(schema_spec(R"({"type":"string","pattern":"^[\"\\\\\\n\\x01-\\x1fé]{1,3}$"})"));
  for (const char* text : {R"("\"")", R"("\\")", R"("\n")", R"("\u0001é\u001f")", R"("\t")"}) {
    CHECK(is_answer(bench, constraint, text));
  }
  for (const char* text : {R"(""")", R"("\")", "\"\n\"", R"("a")", R"("\/")", R"("\u0041")"}) {
    CHECK_FALSE(is_answer(bench, constraint, text));
  }
}

TEST_CASE("formats: every walk has the form") {
  for (const char* format : {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}) {
    CAPTURE(format);
    const std::string text = R"({"type":"string","format":")" + std::string(format) + "\"}";
    const Json schema = parse_json(text, "schema", Status::kCorrupt);
    const auto constraint = tiny_bench().compiler.compile(schema_spec(text));
    int ended = 0;
    for (uint64_t i = 0; i < 30; ++i) {
      Random random(i);
      const Walk w = walk(tiny_bench(), constraint, random, static_cast<int>(i), 300);
      if (!w.ended) continue;
      ++ended;
      CAPTURE(w.text);
      CHECK(schema_violation(schema, schema, parse_json(w.text, "walk", Status::kCorrupt)) == "");
    }
    CHECK(ended > 15);
  }
  const auto date = tiny_bench().compiler.compile(schema_spec(R"({"type":"string","format":"date"})"));
  for (const char* good : {"\"2024-02-29\"", "\"2000-02-29\"", "\"1999-12-31\"", "\"2023-04-30\""}) {
    CHECK(is_answer(tiny_bench(), date, good));
  }
  for (const char* bad : {"\"2023-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"2023-13-01\"", "\"2023-00-10\"", "\"2023-1-1\""}) {
    CHECK_FALSE(is_answer(tiny_bench(), date, bad));
  }
}

TEST_CASE("json_object: any object, and nothing else") {
  for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
    const auto constraint = bench->compiler.compile(spec_of(Kind::kJsonObject, ""));
    for (const char* text : {"{}", R"({"a":1})", R"({"a": [1, 2, {"b": null}], "": "\ud83d\ude00\u00e9\/"})",
                             R"({"deep": [[[[[[{"x": -0.5E+10}]]]]]]})", R"({"a": "<｜end▁of▁sentence｜>"})"}) {
      CAPTURE(text);
      CHECK(is_answer(*bench, constraint, text));
    }
    for (const char* text :
         {"[]", "1", "", " {}", "{} ", "{ }", R"({"a":  1})", R"({"a" : 1})", "{\n}", R"({"a": 1,  "b": 2})",
          R"({"a": "\ud83d"})", R"({"a": "\u0000"})", R"({"a": "\x"})", "{\"a\": \"\n\"}", R"({"a": 01})",
          R"({"a": 1e100})", R"({"a": 1)", R"({"a": "\ude00"})"}) {
      CAPTURE(text);
      CHECK_FALSE(is_answer(*bench, constraint, text));
    }
    for (uint64_t i = 0; i < 20; ++i) {
      Random random(i);
      const Walk w = walk(*bench, constraint, random, 12, 300);
      Json value;
      if (w.ended) CHECK((try_parse_json(w.text, value) && value.is_object()));
    }
  }
}

TEST_CASE("a matcher's state: copies are their own, refusal changes nothing, the end is the end") {
  ConstraintBench& bench = tiny_bench();
  const auto constraint = bench.compiler.compile(spec_of(Kind::kRegex, "(ab){1,2}"));
  ConstraintMatcher a(constraint);
  REQUIRE(accepts(a, encode(bench.tokenizer, "ab")));
  CHECK(a.can_end());
  CHECK_FALSE(a.must_end());
  ConstraintMatcher b = a;
  CHECK_FALSE(b.accept(encode(bench.tokenizer, "x")[0]));
  CHECK_FALSE(b.accept(-1));
  CHECK_FALSE(b.accept(static_cast<int32_t>(bench.vocab)));
  CHECK_FALSE(b.accept(static_cast<int32_t>(bench.vocab - 1)));  // a row without a token
  CHECK_FALSE(b.accept(bench.dsml));
  REQUIRE(accepts(b, encode(bench.tokenizer, "ab")));
  CHECK(b.must_end());
  CHECK(allowed(b.mask()) == std::vector<int32_t>{bench.eos});
  CHECK(b.accept(bench.eos));
  CHECK(b.ended());
  CHECK_FALSE(b.can_end());
  CHECK(allowed(b.mask()).empty());
  CHECK_FALSE(a.ended());
  CHECK_FALSE(a.must_end());
  b = a;
  CHECK(b.can_end());
  CHECK_FALSE(b.ended());
}

TEST_CASE("a character that no token writes leaves nothing to choose") {
  // The host's grammar asks for it, so it is no error of the grammar; the mask says it. Here: logits with fewer rows than
  // the tokenizer has tokens, so that 'z' cannot be written.
  const Tokenizer& tokenizer = tiny_tokenizer();
  const int32_t a = encode(tokenizer, "a")[0], z = encode(tokenizer, "z")[0];
  REQUIRE(a < z);
  ConstraintCompiler compiler(tokenizer, z, tiny_bench().eos);
  ConstraintMatcher matcher(compiler.compile(spec_of(Kind::kRegex, "az")));
  REQUIRE(matcher.accept(a));
  CHECK(allowed(matcher.mask()).empty());
  CHECK_FALSE(matcher.can_end());
}

}  // namespace
}  // namespace dsv4::text_test
