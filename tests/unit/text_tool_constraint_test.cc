// Constrained tool calls: what is written along the masks is read back by a small reader of its own, and the arguments
// are held against the schemas.
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/text/protocol_text.h"
#include "tests/support/constraint_fixture.h"
#include "tests/support/schema_validator.h"

namespace dsv4::text_test {
namespace {

using Tools = ConstraintSpec::Tools;

// The schemas of the functions; "other" has none at all.
constexpr const char* kFunctions = R"([
  {"name": "get_weather", "description": "x", "parameters": {"type": "object", "properties": {
     "city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14},
     "unit": {"enum": ["celsius", "fahrenheit"]}}, "required": ["city"]}},
  {"name": "search", "parameters": {"type": "object", "properties": {
     "query": {"type": "string", "minLength": 1, "maxLength": 20}, "filters": {"type": "array", "items": {
       "type": "object", "properties": {"field": {"type": "string"}, "op": {"enum": ["=", "<", ">"]},
       "value": {"type": ["string", "number", "boolean"]}}, "required": ["field", "op", "value"],
       "additionalProperties": false}}, "page": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^p[0-9]$"}]}},
     "required": ["query", "page"]}},
  {"name": "now"},
  {"name": "set", "parameters": {"type": "object", "properties": {"key": {"type": "string", "pattern": "^[a-z_]+$"}},
     "required": ["key"], "additionalProperties": {"type": ["string", "null"]}}}
])";

std::vector<Json> functions() { return parse_json(kFunctions, "functions", Status::kCorrupt).items(); }

ConstraintSpec tools_spec(Tools tools, Profile profile = Profile::kPreview) {
  ConstraintSpec spec;
  spec.tools = tools;
  spec.functions = functions();
  spec.profile = profile;
  return spec;
}

struct Call {
  std::string name;
  Json arguments = Json::object();
};

// A block of calls from its ids: the text with each genuine ｜DSML｜ as the byte 0x01, which no answer can hold.
class BlockReader {
 public:
  BlockReader(ConstraintBench& bench, const std::vector<int32_t>& ids, Profile profile) : profile_(profile) {
    for (const int32_t id : ids) text_ += id == bench.dsml ? "\x01" : std::string(bench.tokenizer.bytes(id));
  }
  const std::string& text() const { return text_; }

  std::optional<std::vector<Call>> read(bool starts_inside) {
    if (!starts_inside && !take("\n\n<\x01tool_calls>\n")) return std::nullopt;
    std::vector<Call> calls;
    do {
      Call call;
      if (!read_call(call)) return std::nullopt;
      calls.push_back(std::move(call));
    } while (!take("\n</\x01tool_calls>") && take("\n"));
    if (at_ != text_.size()) return std::nullopt;
    return calls;
  }

 private:
  bool take(std::string_view expected) {
    if (std::string_view(text_).substr(at_, expected.size()) != expected) return false;
    at_ += expected.size();
    return true;
  }
  bool until(std::string_view end, std::string& out) {
    const size_t found = text_.find(end, at_);
    if (found == std::string::npos) return false;
    out = text_.substr(at_, found - at_);
    at_ = found + end.size();
    return true;
  }
  bool read_call(Call& call) {
    if (!take("<\x01invoke name=\"") || !until("\">\n", call.name)) return false;
    if (take(profile_ == Profile::kPreview ? "\n</\x01invoke>" : "</\x01invoke>")) return true;
    do {
      std::string key, content;
      if (!take("<\x01parameter name=\"") || !until("\" string=\"", key)) return false;
      const bool raw = take("true\">");
      if (!raw && !take("false\">")) return false;
      if (!until("</\x01parameter>", content)) return false;
      if (content.find('\x01') != std::string::npos) return false;
      Json value = Json::string(content);
      if (!raw && (!try_parse_json(content, value) || value.is_string())) return false;
      if (call.arguments.find(key) != nullptr) return false;
      call.arguments.append(key, std::move(value));
    } while (!take("\n</\x01invoke>") && take("\n"));
    return text_.compare(at_ - 1, 1, ">") == 0;
  }

  std::string text_;
  size_t at_ = 0;
  const Profile profile_;
};

void check_calls(const std::vector<Call>& calls) {
  for (const Call& call : calls) {
    const Json* schema = nullptr;
    const std::vector<Json> all = functions();
    bool known = false;
    for (const Json& function : all) {
      if (function.find("name")->text() != call.name) continue;
      known = true;
      schema = function.find("parameters");
    }
    REQUIRE(known);
    if (schema == nullptr) {
      CHECK(call.arguments.size() == 0);
      continue;
    }
    CHECK(schema_violation(*schema, *schema, call.arguments) == "");
    for (const std::string& key : call.arguments.keys()) {
      CHECK((schema->find("properties")->find(key) != nullptr || schema->find("additionalProperties") != nullptr));
    }
  }
}

TEST_CASE("blocks of calls: what is written along the masks can be read, and the arguments are valid") {
  for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
    for (const Profile profile : {Profile::kPreview, Profile::k0731}) {
      for (const bool inside : {false, true}) {
        ConstraintSpec spec = tools_spec(Tools::kRequired, profile);
        spec.starts_in_tool_calls = inside;
        const auto constraint = bench->compiler.compile(spec);
        const int walks = bench == &tiny_bench() ? 40 : 5;
        int ended = 0;
        for (int i = 0; i < walks; ++i) {
          Random random(static_cast<uint64_t>(i) * 4 + (inside ? 1 : 0) + 11);
          const Walk w = walk(*bench, constraint, random, 10 + i % 60, 900);
          if (!w.ended) continue;
          ++ended;
          BlockReader reader(*bench, w.ids, profile);
          CAPTURE(reader.text());
          const auto calls = reader.read(inside);
          REQUIRE(calls.has_value());
          check_calls(*calls);
        }
        CHECK(ended * 2 > walks);
      }
    }
  }
}

std::string block(const std::string& calls) {
  return std::string(protocol::kToolCallsBegin) + calls + std::string(protocol::kToolCallsEnd);
}
std::string call(const std::string& name, const std::vector<std::string>& parameters) {
  std::string out = "<｜DSML｜invoke name=\"" + name + "\">\n";
  for (size_t i = 0; i < parameters.size(); ++i) out += (i > 0 ? "\n" : "") + parameters[i];
  return out + "\n</｜DSML｜invoke>";
}
std::string raw(const std::string& name, const std::string& text) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"true\">" + text + "</｜DSML｜parameter>";
}
std::string json(const std::string& name, const std::string& text) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"false\">" + text + "</｜DSML｜parameter>";
}

TEST_CASE("blocks of calls: which are allowed") {
  for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
    const auto constraint = bench->compiler.compile(tools_spec(Tools::kRequired));
    const std::vector<std::string> good = {
        call("get_weather", {raw("city", "Paris")}),
        call("get_weather", {raw("city", "")}),
        call("get_weather", {raw("city", "a\n\"</b> <｜dsml｜ \\n é"), json("days", "14"), raw("unit", "celsius")}),
        call("get_weather", {raw("city", "x"), raw("unit", "fahrenheit")}),
        call("now", {""}),
        call("now", {""}) + "\n" + call("now", {""}),
        call("search", {raw("query", "q"), json("page", "-3")}),
        call("search", {raw("query", "12345678901234567890"), raw("page", "p7")}),
        call("search", {raw("query", "q"),
                        json("filters", R"([{"field": "a", "op": "<", "value": "x"},{"field":"b","op":"=","value":1.5}])"),
                        raw("page", "p0")}),
        call("set", {raw("key", "a_b")}),
        call("set", {raw("key", "k"), raw("other", "v"), json("ke", "null"), raw("keys", "")}),
    };
    const std::vector<std::string> bad = {
        "",
        call("nothing", {""}),
        call("get_weather", {""}),
        call("get_weather", {json("city", "\"Paris\"")}),
        call("get_weather", {raw("city", "x"), raw("days", "3")}),
        call("get_weather", {raw("city", "x"), json("days", "15")}),
        call("get_weather", {raw("city", "x"), raw("unit", "kelvin")}),
        call("get_weather", {raw("city", "x"), raw("city", "y")}),
        call("get_weather", {raw("city", "x"), raw("country", "y")}),
        call("get_weather", {raw("city", "x ｜DSML｜ y")}),
        call("get_weather", {raw("city", "x</｜DSML｜")}),
        call("now", {raw("a", "b")}),
        call("now", {}).replace(call("now", {}).find("\n\n"), 0, "x"),
        call("now", {""}) + call("now", {""}),
        call("now", {""}) + "\n\n" + call("now", {""}),
        call("search", {raw("query", ""), json("page", "1")}),
        call("search", {raw("query", "123456789012345678901"), json("page", "1")}),
        call("search", {raw("query", "q"), raw("page", "7")}),
        call("search", {raw("query", "q"), json("page", "\"p1\"")}),
        call("search", {json("page", "1"), raw("query", "q")}),
        call("set", {raw("key", "K")}),
        call("set", {raw("key", "k"), raw("key", "v")}),
        call("set", {raw("key", "k"), json("other", "1")}),
        call("set", {raw("key", "k"), raw("a b", "1")}),
    };
    for (const std::string& text : good) {
      CAPTURE(text);
      CHECK(is_answer(*bench, constraint, block(text)));
    }
    for (const std::string& text : bad) {
      CAPTURE(text);
      CHECK_FALSE(is_answer(*bench, constraint, block(text)));
    }
    CHECK_FALSE(is_answer(*bench, constraint, ""));
    CHECK_FALSE(is_answer(*bench, constraint, "text" + block(good[0])));
    CHECK_FALSE(is_answer(*bench, constraint, block(good[0]) + "\n"));
  }
}

TEST_CASE("blocks of calls: the control token is the token, and never spelled") {
  for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
    ConstraintSpec spec = tools_spec(Tools::kRequired);
    spec.starts_in_tool_calls = true;
    ConstraintMatcher matcher(bench->compiler.compile(spec));
    REQUIRE(accepts(matcher, encode(bench->tokenizer, "<")));
    CHECK(allowed(matcher.mask()) == std::vector<int32_t>{bench->dsml});
    CHECK_FALSE(accepts(matcher, encode(bench->tokenizer, protocol::kDsml)));
    REQUIRE(matcher.accept(bench->dsml));
    REQUIRE(accepts(matcher, encode(bench->tokenizer, "invoke name=\"get_weather\">\n<")));
    REQUIRE(matcher.accept(bench->dsml));
    REQUIRE(accepts(matcher, encode(bench->tokenizer, "parameter name=\"city\" string=\"true\">Par")));
    CHECK_FALSE(allows(matcher.mask(), bench->dsml));  // only after "</"
    REQUIRE(accepts(matcher, encode(bench->tokenizer, "</")));
    CHECK(allows(matcher.mask(), bench->dsml));
    CHECK(allowed(matcher.mask()).size() > 100);  // or the text goes on
  }
}

TEST_CASE("a call without parameters is written as the profile has it") {
  ConstraintBench& bench = tiny_bench();
  const std::string two = block("<｜DSML｜invoke name=\"now\">\n\n</｜DSML｜invoke>");
  const std::string one = block("<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>");
  const auto preview = bench.compiler.compile(tools_spec(Tools::kRequired, Profile::kPreview));
  const auto later = bench.compiler.compile(tools_spec(Tools::kRequired, Profile::k0731));
  CHECK(is_answer(bench, preview, two));
  CHECK_FALSE(is_answer(bench, preview, one));
  CHECK(is_answer(bench, later, one));
  CHECK_FALSE(is_answer(bench, later, two));
}

TEST_CASE("a named function is called once, and no other") {
  ConstraintBench& bench = tiny_bench();
  ConstraintSpec spec = tools_spec(Tools::kRequired);
  spec.forced_tool = "now";
  spec.starts_in_tool_calls = true;
  const auto constraint = bench.compiler.compile(spec);
  const std::string end(protocol::kToolCallsEnd);
  CHECK(is_answer(bench, constraint, call("now", {""}) + end));
  CHECK_FALSE(is_answer(bench, constraint, call("now", {""}) + "\n" + call("now", {""}) + end));
  CHECK_FALSE(is_answer(bench, constraint, call("get_weather", {raw("city", "x")}) + end));
  CHECK_FALSE(is_answer(bench, constraint, block(call("now", {""}))));
}

TEST_CASE("an answer or a block of calls") {
  for (ConstraintBench* bench : {&tiny_bench(), &real_bench()}) {
    ConstraintSpec spec = tools_spec(Tools::kAllowed);
    const std::string calls = block(call("now", {""}));
    const auto free = bench->compiler.compile(spec);
    for (const std::string& text : std::vector<std::string>{"", "Hello.\n\n<", "Let me see." + calls, calls}) {
      CHECK_MESSAGE(is_answer(*bench, free, text), text);
    }
    for (const std::string& text : std::vector<std::string>{calls + "x", "a ｜DSML｜", "x" + block(call("no", {""}))}) {
      CHECK_MESSAGE(!is_answer(*bench, free, text), text);
    }
    spec.kind = ConstraintSpec::Kind::kJsonObject;
    const auto object = bench->compiler.compile(spec);
    for (const std::string& text : std::vector<std::string>{"{}", R"({"a": "</b>"})", calls}) {
      CHECK_MESSAGE(is_answer(*bench, object, text), text);
    }
    for (const std::string& text : std::vector<std::string>{"", "x", "{}" + calls, R"({"a": "｜DSML｜"})"}) {
      CHECK_MESSAGE(!is_answer(*bench, object, text), text);
    }
    // Both begin in the same way; a host's grammar may allow every character and yet never the control token.
    spec.kind = ConstraintSpec::Kind::kEbnf;
    spec.text = "root ::= \"\\n\\n<\" [^x]*";
    const auto both = bench->compiler.compile(spec);
    ConstraintMatcher matcher(both);
    REQUIRE(accepts(matcher, encode(bench->tokenizer, "\n\n<")));
    CHECK(matcher.can_end());
    CHECK(allows(matcher.mask(), bench->dsml));
    ConstraintMatcher copy = matcher;
    REQUIRE(accepts(matcher, encode(bench->tokenizer, "a")));
    CHECK_FALSE(allows(matcher.mask(), bench->dsml));
    REQUIRE(copy.accept(bench->dsml));
    CHECK_FALSE(copy.can_end());
    CHECK(accepts(copy, encode(bench->tokenizer, "tool_calls>\n<")));
    CHECK_FALSE(accepts(copy, encode(bench->tokenizer, "a")));
  }
}

TEST_CASE("tools: what is refused, and where") {
  const auto refused = [](Status status, std::string_view part, const char* list, const char* forced = "") {
    ConstraintSpec spec;
    spec.tools = Tools::kRequired;
    spec.forced_tool = forced;
    spec.functions = parse_json(list, "functions", Status::kCorrupt).items();
    check_error(status, part, [&] { tiny_bench().compiler.compile(spec); });
  };
  refused(Status::kInvalidArgument, "no function to call", "[]");
  refused(Status::kInvalidArgument, "tool_choice: there is no function \"b\"", R"([{"name":"a"}])", "b");
  refused(Status::kInvalidArgument, "tools[0].function.name", R"([{}])");
  refused(Status::kInvalidArgument, "tools[0].function.name", R"([{"name":3}])");
  refused(Status::kInvalidArgument, "tools[0].function", R"(["a"])");
  refused(Status::kInvalidArgument, "tools[1].function.name: there are two", R"([{"name":"a"},{"name":"a"}])");
  refused(Status::kUnsupported, "tools[0].function.name", R"([{"name":"a\"b"}])");
  refused(Status::kUnsupported, "tools[0].function.name", R"([{"name":"｜DSML｜"}])");
  refused(Status::kUnsupported, "tools[1].function.parameters.properties.x: the keyword \"not\"",
          R"([{"name":"a"},{"name":"b","parameters":{"properties":{"x":{"not":{}}}}}])");
  refused(Status::kUnsupported, "cannot be the name of a function or parameter",
          R"([{"name":"b","parameters":{"type":"object","properties":{"x\ny":{}}}}])");
  refused(Status::kInvalidArgument, "tools: nothing can satisfy it", R"([{"name":"b","parameters":{"type":"string"}}])");
  refused(Status::kInvalidArgument, "tools[0].function.parameters: expected an object",
          R"([{"name":"b","parameters":[]}])");
  ConstraintSpec spec = tools_spec(Tools::kAllowed);
  spec.starts_in_tool_calls = true;
  check_error(Status::kInvalidArgument, "must be one", [&] { tiny_bench().compiler.compile(spec); });
}

}  // namespace
}  // namespace dsv4::text_test
