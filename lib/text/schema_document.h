// A JSON Schema (2020-12, and what older drafts write the same way) that has been looked at before anything is made of
// it: every keyword is one that is enforced, of the right type, or an annotation. All else is an error here that names
// the JSON path, so that no part of a schema is ever ignored.
//
//   any type   type, enum, const, anyOf, allOf, oneOf (alternatives that cannot both hold), $ref (within the document)
//   objects    properties, required, additionalProperties, minProperties, maxProperties (where keys cannot repeat)
//   arrays     items (one schema), prefixItems, minItems, maxItems
//   strings    minLength, maxLength, pattern (regex_grammar.h), format: date-time, date, time, duration, email, hostname,
//              ipv4, ipv6, uuid, uri
//   numbers    minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf (1, 0.1, 0.01, …)
//   annotated  title, description, default, examples, deprecated, readOnly, writeOnly, $schema, $comment, x-…, $id at
//              the root, $defs, definitions
//
// Not supported, each an error: not, if/then/else, dependent…, patternProperties, propertyNames, unevaluated…, contains,
// uniqueItems: true, content…, $anchor, $dynamicRef, references to other documents, and whatever is not named above.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "lib/text/json_value.h"

namespace dsv4 {

class SchemaDocument {
 public:
  static constexpr size_t kMaxBytes = 262'144;
  static constexpr size_t kMaxDepth = 64;
  static constexpr size_t kMaxValues = 50'000;
  static constexpr size_t kMaxKeyBytes = 1'024;

  // `what` stands for the document in messages ("schema", "tools[0].function.parameters").
  SchemaDocument(std::string_view text, std::string what);
  SchemaDocument(Json schema, std::string what);
  SchemaDocument(const SchemaDocument&) = delete;  // it points into itself
  SchemaDocument& operator=(const SchemaDocument&) = delete;

  const Json& root() const { return root_; }
  const std::string& what() const { return what_; }
  // The schema that a $ref leads to. Errors kUnsupported (another document), kInvalidArgument (nothing there).
  const Json& resolve(std::string_view reference, std::string_view path) const;

 private:
  class Checker;
  Json root_;
  std::string what_;
  std::unordered_map<std::string, const Json*> schemas_;  // by JSON pointer; "" is the root
};

// Annotations, and places to keep schemas in: what has no part in the meaning.
bool is_schema_annotation(std::string_view keyword);
// The regular expression that a `format` is held to, as a match of the whole; "" for one that is not known.
std::string_view format_pattern(std::string_view format);

}  // namespace dsv4
