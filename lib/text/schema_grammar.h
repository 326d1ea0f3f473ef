// JSON Schema as a grammar: every text of the grammar is JSON (as json_grammar.h writes it) that the schema accepts.
// Which keywords there are is in schema_document.h. Where the language is smaller than the schema's:
//  - properties come in the order of the schema, then required ones that are not declared, then others;
//  - where there is no `type`, only values of the types that the other keywords speak of ("properties": objects);
//  - values of enum and const are written as Python's json.dumps writes them;
//  - a number with bounds or a multipleOf has no exponent;
//  - additional properties, where the schema leaves them open, have keys in the shortest spelling.
// Combinations that cannot be enforced are kUnsupported: a pattern or format with a length that it does not imply; enum
// beside constraints on objects and arrays; oneOf whose alternatives may both hold; see schema_merge.h for allOf.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/text/json_grammar.h"
#include "lib/text/schema_document.h"

namespace dsv4 {

// How values are written. Tool calls write strings without quotation marks, everything else as JSON, and the members
// of the arguments as elements of their own (tool_grammar.h).
enum class ValueForm : uint8_t { kJson, kJsonNotString, kRawString, kParameters };

// One property of an object that is to be written.
struct ObjectField {
  std::string name;
  const Json* schema;
  bool required;
  std::string path;
};

class SchemaGrammar;

// What SchemaGrammar asks when it comes to an object in the form kParameters.
class ParameterWriter {
 public:
  virtual ~ParameterWriter() = default;
  virtual Grammar::Part parameters(SchemaGrammar& schemas, const std::vector<ObjectField>& fields,
                                   const Json* others) = 0;  // others: nullptr for none
  // What ends a string in the form kRawString, as a quotation mark does in JSON. It is part of the form.
  virtual Grammar::Part raw_end() = 0;
};

class SchemaGrammar {
 public:
  SchemaGrammar(JsonGrammar& json, const SchemaDocument& document, ParameterWriter* parameters = nullptr)
      : json_(json), grammar_(json.grammar()), document_(document), parameters_(parameters) {}

  Grammar::Part value(const Json& schema, ValueForm form, const std::string& path);
  Grammar& grammar() { return grammar_; }

 private:
  static constexpr int kMaxDepth = 100;
  static constexpr size_t kMaxRules = 20'000;

  Grammar::Part build(const Json& schema, ValueForm form, const std::string& path);
  Grammar::Part alternatives(const Json& schema, const char* keyword, ValueForm form, const std::string& path);
  Grammar::Part anything(ValueForm form);
  Grammar::Part listed(const Json& schema, ValueForm form, const std::string& path);
  bool fits(const Json& value, const Json& schema, const std::string& path) const;
  Grammar::Part typed(const Json& schema, ValueForm form, const std::string& path);
  Grammar::Part string(const Json& schema, ValueForm form, const std::string& path);
  Grammar::Part string_content(const Json& schema, ValueForm form, const std::string& path);
  Grammar::Part number(const Json& schema, bool integer, const std::string& path);
  Grammar::Part array(const Json& schema, const std::string& path);
  Grammar::Part object(const Json& schema, ValueForm form, const std::string& path);
  Grammar::Part members(const std::vector<ObjectField>& fields, const Json* others);
  Grammar::Part map(const Json& others, int64_t at_least, int64_t at_most, const std::string& path);

  JsonGrammar& json_;
  Grammar& grammar_;
  const SchemaDocument& document_;
  ParameterWriter* parameters_;
  std::unordered_map<std::string, Grammar::Rule> rules_;  // by form and schema: equal ones are made once
  int depth_ = 0;
};

Grammar::Part schema_grammar(JsonGrammar& json, const SchemaDocument& document);

}  // namespace dsv4
