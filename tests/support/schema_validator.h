// An independent, slow reading of JSON Schema for tests of constrained output: is this value what the schema says? It
// shares nothing with lib/text but the parsed Json: numbers are long double, patterns are std::regex.
#pragma once

#include <string>

#include "lib/text/json_value.h"

namespace dsv4::text_test {

// "" when it is; else what is wrong, with the path.
std::string schema_violation(const Json& root, const Json& schema, const Json& value, const std::string& path = "$");

}  // namespace dsv4::text_test
