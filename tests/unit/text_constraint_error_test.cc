// Constrained output: what is refused, with which status, and that the message says where. And hostile input: an
// error, in reasonable time, for anything.
#include <string>
#include <vector>

#include "tests/support/constraint_fixture.h"

namespace dsv4::text_test {
namespace {

using Kind = ConstraintSpec::Kind;

void refused(Status status, std::string_view part, const ConstraintSpec& spec) {
  CAPTURE(spec.text);
  check_error(status, part, [&] { tiny_bench().compiler.compile(spec); });
}
void unsupported(std::string_view part, const std::string& schema) {
  refused(Status::kUnsupported, part, schema_spec(schema));
}
void invalid(std::string_view part, const std::string& schema) {
  refused(Status::kInvalidArgument, part, schema_spec(schema));
}

TEST_CASE("schemas: keywords that are not enforced") {
  for (const char* keyword :
       {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties",
        "propertyNames", "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains",
        "additionalItems", "contentEncoding", "contentMediaType", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary",
        "$recursiveRef", "nullable", "discriminator", "strict", "example", "id", "tpye"}) {
    const std::string quoted = "\"" + std::string(keyword) + "\"";
    unsupported("schema: the keyword " + quoted + " is not supported", "{" + quoted + ": {}}");
    unsupported("schema.properties.a.items: the keyword " + quoted,
                R"({"properties":{"a":{"items":{)" + quoted + ": true}}}}");
    unsupported("schema.$defs.unused: the keyword " + quoted, R"({"$defs":{"unused":{)" + quoted + ": 1}}}");
  }
  unsupported("schema.uniqueItems", R"({"type":"array","uniqueItems":true})");
  unsupported("schema.items: an array of schemas", R"({"items":[{"type":"string"}]})");
  unsupported("schema.format: the format \"regex\"", R"({"format":"regex"})");
  unsupported("schema.properties.a.$id", R"({"properties":{"a":{"$id":"x"}}})");
  unsupported("in another document", R"({"$ref":"other.json#/a"})");
  unsupported("not a JSON pointer", R"({"$ref":"#name"})");
}

TEST_CASE("schemas: combinations that cannot be enforced") {
  unsupported("\"minLength\"", R"({"type":"string","pattern":"a","minLength":3})");
  unsupported("\"maxLength\"", R"({"type":"string","pattern":"^a+b+$","maxLength":3})");
  unsupported("\"maxLength\"", R"({"type":"string","format":"email","maxLength":10})");
  unsupported("\"format\"", R"({"type":"string","format":"date","pattern":"^2"})");
  unsupported("\"multipleOf\" 3", R"({"type":"integer","multipleOf":3})");
  unsupported("\"multipleOf\" 0.5", R"({"type":"number","multipleOf":0.5})");
  unsupported("\"pattern\" beside enum", R"({"enum":["a","b"],"pattern":"^a"})");
  unsupported("\"required\" beside enum", R"({"enum":[{"a":1}],"required":["a"]})");
  unsupported("oneOf[1]", R"({"oneOf":[{"type":"integer"},{"type":"number"}]})");
  unsupported("oneOf[1]", R"({"oneOf":[{"type":"object","required":["a"]},{"type":"object","required":["b"]}]})");
  unsupported("oneOf[1]", R"({"oneOf":[{"properties":{"a":{"type":"null"}}},{"type":"string"}]})");
  unsupported("oneOf[2]", R"({"oneOf":[{"const":1},{"const":2},{"enum":[3,1.0]}]})");
  unsupported("two different \"pattern\"", R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})");
  unsupported("two different \"anyOf\"",
              R"({"allOf":[{"anyOf":[{"type":"null"}]},{"anyOf":[{"type":"string"}]}]})");
  unsupported("\"additionalProperties\" beside",
              R"({"allOf":[{"properties":{"a":{}},"additionalProperties":false},{"properties":{"b":{}}}]})");
  unsupported("\"minProperties\"", R"({"type":"object","minProperties":2})");
  unsupported("\"minProperties\"", R"({"properties":{"a":{},"b":{}},"minProperties":1})");
  unsupported("18 digits", R"({"type":"number","minimum":1e30})");
  unsupported("a length of", R"({"type":"string","maxLength":1000000})");
  unsupported("an array of", R"({"type":"array","minItems":100000000})");
}

TEST_CASE("schemas: what is wrong") {
  invalid("schema: ", "");
  invalid("schema: ", "{");
  invalid("schema: expected an object or a boolean, found an array", "[]");
  invalid("schema.properties.a: expected an object or a boolean, found a number", R"({"properties":{"a":1}})");
  invalid("schema.minLength: expected a whole number, found a string", R"({"minLength":"x"})");
  invalid("schema.minLength: expected a whole number from 0", R"({"minLength":-1})");
  invalid("schema.maxItems: expected a whole number from 0", R"({"maxItems":1.5})");
  invalid("schema.type: there is no type \"strnig\"", R"({"type":"strnig"})");
  invalid("schema.type[1]", R"({"type":["string",3]})");
  invalid("schema.type: expected at least one", R"({"type":[]})");
  invalid("schema.enum", R"({"enum":[]})");
  invalid("schema.enum", R"({"enum":"a"})");
  invalid("schema.required", R"({"required":[1]})");
  invalid("schema.anyOf", R"({"anyOf":[]})");
  invalid("schema.anyOf[1]", R"({"anyOf":[{},3]})");
  invalid("schema.exclusiveMinimum: expected a number, found a boolean", R"({"exclusiveMinimum":true})");
  invalid("schema.multipleOf", R"({"multipleOf":0})");
  invalid("schema.pattern: regular expression, byte 2", R"({"pattern":"[a"})");
  invalid("leads to no schema", R"({"$ref":"#/$defs/none"})");
  invalid("leads to no schema", R"({"$ref":"#/required","required":["a"]})");
  invalid("schema.uniqueItems", R"({"uniqueItems":1})");
}

TEST_CASE("schemas: nothing can satisfy them") {
  for (const char* schema :
       {"false", R"({"type":"string","enum":[1,2]})", R"({"type":"integer","minimum":0.2,"maximum":0.8})",
        R"({"type":"number","exclusiveMinimum":1,"maximum":1})", R"({"minLength":3,"maxLength":2})",
        R"({"type":"object","properties":{"a":false},"required":["a"]})",
        R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", R"({"$ref":"#"})",
        R"({"allOf":[{"type":"string"},{"type":"integer"}]})", R"({"const":1,"enum":[2]})",
        R"({"type":"array","items":false,"minItems":1})", R"({"anyOf":[false,{"enum":["x"],"type":"null"}]})"}) {
    invalid("nothing can satisfy it", schema);
  }
  invalid("\"b\" is required and not allowed",
          R"({"properties":{"a":{}},"required":["b"],"additionalProperties":false})");
  invalid("lead to themselves", R"({"allOf":[{"$ref":"#"}]})");
  // What can be left out is.
  const auto some = tiny_bench().compiler.compile(schema_spec(
      R"({"properties":{"a":false,"b":{"$ref":"#/$defs/x"}},"$defs":{"x":{"properties":{"x":{"$ref":"#/$defs/x"}},
          "required":["x"]}},"additionalProperties":false})"));
  CHECK(is_answer(tiny_bench(), some, "{}"));
  ConstraintMatcher matcher(some);
  REQUIRE(accepts(matcher, encode(tiny_bench().tokenizer, "{")));
  CHECK_FALSE(accepts(matcher, encode(tiny_bench().tokenizer, "\"")));
}

TEST_CASE("regular expressions: what is refused, and where") {
  const auto regex = [](Status status, std::string_view part, const char* text) {
    refused(status, part, spec_of(Kind::kRegex, text));
  };
  for (const char* text : {"(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "\\ba", "(a)\\1", "\\p{L}", "(?i)a", "a++", "\\0",
                           "a^b", "(^a)b", "\\k<x>", "\\u{10ffff}", "\\ud83d"}) {
    regex(Status::kUnsupported, "regex: regular expression", text);
  }
  for (const char* text : {"(", ")", "a)", "[a", "a{3,2}", "*a", "a**", "[b-a]", "\\", "(?<x", "\\xg0", "[a-\\d]",
                           "a{5000}", "^*", "\\u{}"}) {
    regex(Status::kInvalidArgument, "regex: regular expression, byte", text);
  }
  regex(Status::kInvalidArgument, "not valid UTF-8", "a\xff");
  regex(Status::kInvalidArgument, "nothing can satisfy it", "[]");
}

TEST_CASE("grammars: what is refused, and where") {
  const auto ebnf = [](std::string_view part, const char* text) {
    refused(Status::kInvalidArgument, part, spec_of(Kind::kEbnf, text));
  };
  ebnf("there is no rule named root", "");
  ebnf("there is no rule named root", "a ::= \"x\"");
  ebnf("line 1, column 10: the rule b is not defined", "root ::= b");
  ebnf("line 2, column 1: the rule is defined twice", "root ::= \"a\"\nroot ::= \"b\"");
  ebnf("line 1, column 1: a rule expected", "::= \"a\"");
  ebnf("line 1, column 12: '\"' expected", "root ::= \"a");
  ebnf("line 1, column 12: ']' expected", "root ::= [a");
  ebnf("escape sequence", "root ::= \"\\q\"");
  ebnf("'(' without ')'", "root ::= (\"a\"");
  ebnf("')' without '('", "root ::= \"a\")");
  ebnf("out of order", "root ::= [z-a]");
  ebnf("out of order", "root ::= \"a\"{3,2}");
  ebnf("repeated more than", "root ::= \"a\"{1000000}");
  ebnf("look-ahead", "root ::= \"a\" (=\"b\")");
  ebnf("followed by a space", "root ::= TagDispatch((\"a\", root))");
  ebnf("followed by a space", "root ::= Token(3)");
  ebnf("a rule expected", "root[max_tokens=3] ::= \"a\"");
  ebnf("outside of U+0001", "root ::= \"\\U0010fffe\"");
  ebnf("outside of U+0001", "root ::= [\\x00-a]");
  ebnf("nothing can satisfy it", "root ::= \"a\" root");
  ebnf("nothing can satisfy it", "root ::= a | b\na ::= b\nb ::= a");
  ebnf("nothing can satisfy it", "root ::= []");
  ebnf("not valid UTF-8", "root ::= \"\xff\"");
}

TEST_CASE("grammars: recursion of every kind") {
  ConstraintBench& bench = tiny_bench();
  struct Case {
    const char* grammar;
    std::vector<const char*> yes, no;
  };
  const std::vector<Case> cases = {
      {"root ::= root \"a\" | \"b\"", {"b", "ba", "baaa"}, {"a", "ab", ""}},
      {"root ::= \"a\" root | \"b\"", {"b", "ab", "aaab"}, {"a", "ba", ""}},
      {"root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", ")(", "(()"}},
      {"root ::= root root | \"a\"", {"a", "aaaa"}, {"", "b"}},
      {"root ::= a \"c\"\na ::= b | \"x\"\nb ::= a | \"y\"", {"xc", "yc"}, {"c", "xyc"}},
      {"root ::= (\"\" | \"a\")* \"b\"", {"b", "aab"}, {"", "a", "ba"}},
      {"root ::= ((\"a\"?)*)* b*\nb ::= \"\" | \"b\" b", {"", "ab", "aabb"}, {"ba"}},
      {"root ::= a a a\na ::= \"\" | \"a\"", {"", "a", "aaa"}, {"aaaa", "b"}},
      {"root ::= x # comment\n  | y\nx ::=\n \"p\" |\n \"q\" y{1,2} # end\ny ::= [^p-q\\]\\-\\n]", {"p", "qx", "x", "qxy"},
       {"q", "-", "]", "qp", "qxyz", "\n"}}};
  for (const Case& c : cases) {
    CAPTURE(c.grammar);
    const auto constraint = bench.compiler.compile(spec_of(Kind::kEbnf, c.grammar));
    for (const char* text : c.yes) CHECK_MESSAGE(is_answer(bench, constraint, text), text);
    for (const char* text : c.no) CHECK_MESSAGE(!is_answer(bench, constraint, text), text);
  }
}

std::string times(std::string_view text, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += text;
  return out;
}

TEST_CASE("hostile input ends in an error, not in a crash") {
  invalid("schema: ", times(R"({"items":)", 100000));
  invalid("schema", times(R"({"items":)", 70) + "{}" + times("}", 70));
  invalid("bytes", "{\"title\":\"" + std::string(300000, 'x') + "\"}");
  invalid("bytes", R"({"properties":{")" + std::string(2000, 'x') + R"(":{}}})");
  unsupported("U+0000", R"({"const":"a\u0000b"})");
  unsupported("U+10FFFE", R"({"enum":["\udbff\udffe"]})");
  // Doubling at every level.
  std::string doubling = R"({"$ref":"#/$defs/d0","$defs":{"d40":{"type":"string","minLength":2})";
  for (int i = 0; i < 40; ++i) {
    const std::string next = "{\"$ref\":\"#/$defs/d" + std::to_string(i + 1) + "\"}";
    doubling += ",\"d" + std::to_string(i) + "\":{\"type\":\"array\",\"prefixItems\":[" + next + "," + next + "]}";
  }
  tiny_bench().compiler.compile(schema_spec(doubling + "}}"));  // shared, so it stays small
  refused(Status::kInvalidArgument, "nested too deeply",
          spec_of(Kind::kRegex, times("(", 1000) + "a" + times(")", 1000)));
  refused(Status::kInvalidArgument, "bytes", spec_of(Kind::kRegex, std::string(20000, 'a')));
  refused(Status::kInvalidArgument, "too large", spec_of(Kind::kRegex, "((((a{100}){100}){100}){100}){100}"));
  refused(Status::kInvalidArgument, "nested too deeply",
          spec_of(Kind::kEbnf, "root ::= " + times("(", 1000) + "\"a\"" + times(")", 1000)));
  refused(Status::kInvalidArgument, "bytes", spec_of(Kind::kEbnf, "root ::= \"" + std::string(70000, 'a') + "\""));
  refused(Status::kInvalidArgument, "too large",
          spec_of(Kind::kEbnf, "root ::= ((\"x\"{100}){100}){100}"));
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 3000; ++i) chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
  const auto constraint = tiny_bench().compiler.compile(spec_of(Kind::kEbnf, chain + "r3000 ::= \"x\""));
  CHECK(is_answer(tiny_bench(), constraint, "x"));
}

TEST_CASE("an answer that is not constrained at all") {
  refused(Status::kInvalidArgument, "not constrained at all", ConstraintSpec{});
  CHECK_THROWS_AS(ConstraintCompiler(tiny_tokenizer(), 10, 10), Error);
}

}  // namespace
}  // namespace dsv4::text_test
