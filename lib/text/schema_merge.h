// Two schemas that hold at once (allOf, what stands beside a $ref or anyOf) as one. Only what can be said in one schema
// exactly is merged; everything else is kUnsupported. And whether two schemas (of a oneOf) can hold at once at all.
#pragma once

#include <string>

#include "lib/text/json_value.h"
#include "lib/text/schema_document.h"

namespace dsv4 {

// The schema without annotations. Booleans stay as they are.
Json bare_schema(const Json& schema);
// Both, neither of which has $ref or allOf of its own; `path` is for messages.
Json merge_schemas(const Json& a, const Json& b, const std::string& path);
// A schema that means the same, without $ref and allOf at its top: they are resolved and merged.
Json flat_schema(const SchemaDocument& document, const Json& schema, const std::string& path);

// The types that a schema allows, as bits of JsonTypes (json_grammar.h). Declared: by `type`, else all of them.
// Meant: where there is no `type`, those that its keywords speak of; authors leave out "type": "object" often.
uint32_t declared_types(const Json& schema);
uint32_t meant_types(const Json& schema);
uint32_t type_of(const Json& value);  // kTypeInteger | kTypeNumber for 1 and 1.0

// True only where it is certain that no value satisfies both. Both are flat.
bool are_disjoint(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path);
bool same_value(const Json& a, const Json& b);  // 1 and 1.0 are the same, order of keys does not matter

}  // namespace dsv4
