// What a constraint costs: time to compile it, and time per token of mask() and accept(), with a real tokenizer and
// schemas such as hosts send. Run by hand:
//   constraint_bench TOKENIZER.JSON [SECONDS]
// The tokens are those that a model would write (a document of the schema, tokenized) and, in the second row, random
// ones of the mask, which is the worst that a model can do.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/text/constraint.h"
#include "lib/text/protocol_text.h"

namespace {

using namespace dsv4;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Case {
  const char* name;
  ConstraintSpec::Kind kind;
  const char* text;
  const char* document;
};

constexpr Case kCases[] = {
    {"any object", ConstraintSpec::Kind::kJsonObject, "",
     R"({"title": "Quarterly report", "items": [{"id": 1, "ok": true}, {"id": 2, "note": null}], "total": 12.5})"},
    {"person (nested objects)", ConstraintSpec::Kind::kJsonSchema,
     R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
         "address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},"country":{"type":
         "string","enum":["Germany","France","Spain","Italy","China","Japan"]}},"required":["street","city","country"],
         "additionalProperties":false},"emails":{"type":"array","items":{"type":"string"},"minItems":1}},"required":
         ["name","age","address","emails"],"additionalProperties":false})",
     R"({"name": "Maria Schneider", "age": 42, "address": {"street": "Lindenallee 7", "city": "Leipzig", "country":)"
     R"( "Germany"}, "emails": ["maria@example.org", "m.schneider@example.com"]})"},
    {"order (arrays, enums, bounds)", ConstraintSpec::Kind::kJsonSchema,
     R"({"type":"object","properties":{"order_id":{"type":"string","pattern":"^ORD-[0-9]{6}$"},"status":{"enum":["new",
         "paid","shipped","returned"]},"lines":{"type":"array","items":{"type":"object","properties":{"sku":{"type":
         "string","pattern":"^[A-Z]{3}[0-9]{4}$"},"quantity":{"type":"integer","minimum":1,"maximum":999},"price":
         {"type":"number","minimum":0,"maximum":99999.99}},"required":["sku","quantity","price"],
         "additionalProperties":false},"minItems":1,"maxItems":50},"note":{"type":["string","null"],"maxLength":200}},
         "required":["order_id","status","lines"],"additionalProperties":false})",
     R"({"order_id": "ORD-004217", "status": "paid", "lines": [{"sku": "ABC1234", "quantity": 12, "price": 19.99},)"
     R"( {"sku": "XYZ0001", "quantity": 1, "price": 2450}], "note": "Please deliver in the afternoon, ring twice."})"},
    {"tree (recursion, anyOf)", ConstraintSpec::Kind::kJsonSchema,
     R"({"$defs":{"node":{"anyOf":[{"type":"object","properties":{"op":{"enum":["+","-","*","/"]},"left":{"$ref":
         "#/$defs/node"},"right":{"$ref":"#/$defs/node"}},"required":["op","left","right"],"additionalProperties":false},
         {"type":"object","properties":{"value":{"type":"number"}},"required":["value"],"additionalProperties":false}]}},
         "$ref":"#/$defs/node"})",
     R"({"op": "+", "left": {"op": "*", "left": {"value": 2}, "right": {"value": -3.5}}, "right": {"op": "/", "left":)"
     R"( {"value": 1e3}, "right": {"value": 7}}})"},
    {"regular expression", ConstraintSpec::Kind::kRegex,
     R"(\[[0-9]{4}-[0-9]{2}-[0-9]{2}\] (INFO|WARN|ERROR): [^\n]{1,200})",
     "[2026-11-23] WARN: disk /dev/sda1 is 91 % full, 12 GB left on the device"},
    {"grammar", ConstraintSpec::Kind::kEbnf,
     "root ::= \"SELECT \" column (\", \" column)* \" FROM \" name (\" WHERE \" test (\" AND \" test)*)? \";\"\n"
     "column ::= name (\".\" name)?\nname ::= [a-z_] [a-z0-9_]*\n"
     "test ::= column (\" = \" | \" < \" | \" > \") ([0-9]+ | \"'\" [^'\\n]* \"'\")\n",
     "SELECT users.name, users.email FROM users WHERE users.age > 30 AND users.city = 'New York';"},
    {"tool calls", ConstraintSpec::Kind::kNone,
     R"([{"name":"get_weather","parameters":{"type":"object","properties":{"location":{"type":"string"},"unit":{"enum":
         ["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":14}},"required":["location"]}},
         {"name":"search_web","parameters":{"type":"object","properties":{"query":{"type":"string"},"filters":{"type":
         "array","items":{"type":"object","properties":{"site":{"type":"string"},"since":{"type":"string","format":
         "date"}},"required":["site"]}}},"required":["query"]}}])",
     "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"location\" string=\"true\">"
     "Hangzhou, China</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">7</｜DSML｜parameter>\n"
     "</｜DSML｜invoke>\n</｜DSML｜tool_calls>"},
};

std::vector<int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids;
  while (!text.empty()) {
    const size_t mark = std::min(text.find(protocol::kDsml), text.size());
    tokenizer.encode(text.substr(0, mark), false, ids);
    if (mark == text.size()) break;
    ids.push_back(tokenizer.find(protocol::kDsml));
    text.remove_prefix(mark + protocol::kDsml.size());
  }
  return ids;
}

struct Times {
  std::vector<double> micros;
  void add(double s) { micros.push_back(s * 1e6); }
  void print(const char* what) {
    std::sort(micros.begin(), micros.end());
    const auto at = [&](double q) { return micros[static_cast<size_t>(q * static_cast<double>(micros.size() - 1))]; };
    double sum = 0;
    for (const double m : micros) sum += m;
    std::printf("    %-14s %8zu tokens: mean %7.1f  median %7.1f  p99 %7.1f  worst %8.1f us\n", what, micros.size(),
                sum / static_cast<double>(micros.size()), at(0.5), at(0.99), micros.back());
  }
};

double step(ConstraintMatcher& matcher, int32_t id, const Case& c) {
  const double start = seconds();
  matcher.mask();
  const bool accepted = matcher.accept(id);
  const double spent = seconds() - start;
  if (!accepted) fail(Status::kInternal, "{}: the document is not allowed", c.name);
  return spent;
}

void measure(const Tokenizer& tokenizer, ConstraintCompiler& compiler, int32_t eos, const Case& c, double budget) {
  ConstraintSpec spec;
  spec.kind = c.kind;
  spec.text = c.text;
  if (c.kind == ConstraintSpec::Kind::kNone) {
    spec.tools = ConstraintSpec::Tools::kRequired;
    spec.functions = parse_json(c.text, "functions", Status::kInternal).items();
  }
  const double start = seconds();
  const auto constraint = compiler.compile(spec);
  std::printf("%s: compiled in %.1f ms\n", c.name, (seconds() - start) * 1e3);

  Times document, random;
  const std::vector<int32_t> ids = ids_of(tokenizer, c.document);
  for (const double end = seconds() + budget; seconds() < end;) {
    ConstraintMatcher matcher(constraint);
    for (const int32_t id : ids) document.add(step(matcher, id, c));
    if (!matcher.can_end()) fail(Status::kInternal, "{}: the document is not complete", c.name);
  }
  document.print("document");
  uint64_t state = 1;
  for (const double end = seconds() + budget; seconds() < end;) {
    ConstraintMatcher matcher(constraint);
    for (int i = 0; i < 300; ++i) {
      std::vector<int32_t> allowed;
      const double before = seconds();
      const std::span<const uint32_t> mask = matcher.mask();
      const double masked = seconds() - before;
      for (size_t t = 0; t < mask.size() * 32; ++t) {
        if ((mask[t / 32] >> (t % 32) & 1) != 0) allowed.push_back(static_cast<int32_t>(t));
      }
      state = state * 6364136223846793005u + 1442695040888963407u;
      const int32_t id = allowed[(state >> 33) % allowed.size()];
      if (id == eos) break;
      random.add(masked + step(matcher, id, c));
    }
  }
  random.print("random tokens");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: constraint_bench TOKENIZER.JSON [SECONDS]\n");
    return 2;
  }
  try {
    const double budget = argc > 2 ? std::atof(argv[2]) : 1.0;
    const auto tokenizer = Tokenizer::load(argv[1]);
    const int32_t eos = tokenizer->find(protocol::kEos);
    ConstraintCompiler compiler(*tokenizer, tokenizer->vocab_size(), eos);
    ConstraintSpec first;
    first.kind = ConstraintSpec::Kind::kRegex;
    first.text = "a";
    const double start = seconds();
    compiler.compile(first);
    std::printf("%lld tokens: vocabulary prepared in %.1f ms\n", static_cast<long long>(tokenizer->vocab_size()),
                (seconds() - start) * 1e3);
    for (const Case& c : kCases) measure(*tokenizer, compiler, eos, c, budget);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "constraint_bench: %s\n", error.what());
    return 1;
  }
}
