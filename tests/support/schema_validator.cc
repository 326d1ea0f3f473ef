#include "tests/support/schema_validator.h"

#include <cmath>
#include <regex>
#include <stdexcept>

namespace dsv4::text_test {

namespace {

long double number_of(const Json& value) { return std::stold(value.text()); }

bool is_type(const Json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_bool();
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number() && number_of(value) == std::floor(number_of(value));
  throw std::runtime_error("the test's schema has a type " + type);
}

bool equal(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return number_of(a) == number_of(b);
  return a.dump() == b.dump();
}

size_t code_points(const std::string& text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

const char* format_expression(const std::string& format) {
  if (format == "date") return "^\\d{4}-\\d{2}-\\d{2}$";
  if (format == "time") return "^\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?(Z|[+-]\\d{2}:\\d{2})$";
  if (format == "date-time") return "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?(Z|[+-]\\d{2}:\\d{2})$";
  if (format == "uuid") return "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";
  if (format == "ipv4") return "^\\d{1,3}(\\.\\d{1,3}){3}$";
  if (format == "ipv6") return "^[0-9a-fA-F:.]{2,45}$";
  if (format == "email") return "^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$";
  if (format == "hostname") return "^[A-Za-z0-9.-]{1,253}$";
  if (format == "duration") return "^P(?=.)(\\d+[YMWD])*(T(\\d+[HMS])+)?$";
  if (format == "uri") return "^[A-Za-z][A-Za-z0-9+.-]*:[^\\s]*$";
  throw std::runtime_error("the test's schema has a format " + format);
}

std::string check_array(const Json& root, const Json& schema, const Json& value, const std::string& path) {
  const Json *items = schema.find("items"), *first = schema.find("prefixItems");
  const size_t listed = first != nullptr ? first->size() : 0;
  for (size_t i = 0; i < value.size(); ++i) {
    const Json* one = i < listed ? &first->items()[i] : items;
    if (one == nullptr) continue;
    const std::string wrong = schema_violation(root, *one, value.items()[i], path + "[" + std::to_string(i) + "]");
    if (!wrong.empty()) return wrong;
  }
  return {};
}

std::string check_object(const Json& root, const Json& schema, const Json& value, const std::string& path) {
  const Json *properties = schema.find("properties"), *others = schema.find("additionalProperties");
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string& key = value.keys()[i];
    const Json* one = properties != nullptr ? properties->find(key) : nullptr;
    if (one == nullptr) one = others;
    if (one == nullptr) continue;
    const std::string wrong = schema_violation(root, *one, value.items()[i], path + "." + key);
    if (!wrong.empty()) return wrong;
  }
  if (const Json* required = schema.find("required")) {
    for (const Json& name : required->items()) {
      if (value.find(name.text()) == nullptr) return path + ": lacks " + name.text();
    }
  }
  return {};
}

std::string check_alternatives(const Json& root, const Json& schema, const Json& value, const std::string& path) {
  for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
    const Json* list = schema.find(keyword);
    if (list == nullptr) continue;
    size_t holding = 0;
    std::string last;
    for (const Json& one : list->items()) {
      const std::string wrong = schema_violation(root, one, value, path);
      holding += wrong.empty() ? 1 : 0;
      if (!wrong.empty()) last = wrong;
    }
    const std::string name = keyword;
    if (name == "allOf" && holding != list->size()) return last;
    if (name == "anyOf" && holding == 0) return path + ": no alternative of anyOf: " + last;
    if (name == "oneOf" && holding != 1) return path + ": " + std::to_string(holding) + " alternatives of oneOf";
  }
  return {};
}

}  // namespace

std::string schema_violation(const Json& root, const Json& schema, const Json& value, const std::string& path) {
  if (schema.is_bool()) return schema.bool_value() ? "" : path + ": nothing is allowed";
  if (const Json* ref = schema.find("$ref")) {
    const Json* target = &root;
    const std::string& text = ref->text();
    for (size_t at = 2; at < text.size();) {
      const size_t end = std::min(text.find('/', at), text.size());
      target = target->find(text.substr(at, end - at));
      if (target == nullptr) throw std::runtime_error("the test's schema has a $ref " + text);
      at = end + 1;
    }
    const std::string wrong = schema_violation(root, *target, value, path);
    if (!wrong.empty()) return wrong;
  }
  if (const Json* type = schema.find("type")) {
    bool holds = type->is_string() && is_type(value, type->text());
    for (const Json& name : type->items()) holds |= is_type(value, name.text());
    if (!holds) return path + ": of another type: " + value.dump();
  }
  if (const Json* only = schema.find("const"); only != nullptr && !equal(*only, value)) return path + ": not the const";
  if (const Json* list = schema.find("enum")) {
    bool found = false;
    for (const Json& one : list->items()) found |= equal(one, value);
    if (!found) return path + ": not in enum: " + value.dump();
  }
  const auto limit = [&](const char* keyword, auto&& violated, long double size) {
    const Json* bound = schema.find(keyword);
    return bound != nullptr && violated(size, number_of(*bound)) ? path + ": " + keyword + ": " + value.dump() : "";
  };
  const auto below = [](long double a, long double b) { return a < b; };
  const auto above = [](long double a, long double b) { return a > b; };
  std::string wrong;
  const auto size_limits = [&](const char* low, const char* high, size_t size) {
    if (wrong.empty()) wrong = limit(low, below, static_cast<long double>(size));
    if (wrong.empty()) wrong = limit(high, above, static_cast<long double>(size));
  };
  if (value.is_string()) {
    size_limits("minLength", "maxLength", code_points(value.text()));
    if (const Json* pattern = schema.find("pattern")) {
      if (!std::regex_search(value.text(), std::regex(pattern->text()))) return path + ": pattern: " + value.dump();
    }
    if (const Json* format = schema.find("format")) {
      if (!std::regex_search(value.text(), std::regex(format_expression(format->text())))) {
        return path + ": format: " + value.dump();
      }
    }
  }
  if (value.is_number()) {
    const long double n = number_of(value);
    wrong = limit("minimum", below, n);
    if (wrong.empty()) wrong = limit("maximum", above, n);
    if (wrong.empty()) wrong = limit("exclusiveMinimum", [](long double a, long double b) { return a <= b; }, n);
    if (wrong.empty()) wrong = limit("exclusiveMaximum", [](long double a, long double b) { return a >= b; }, n);
    if (const Json* step = schema.find("multipleOf"); wrong.empty() && step != nullptr) {
      const long double times = n / number_of(*step);
      if (std::fabs(times - std::round(times)) > 1e-9L * std::fmax(1.0L, std::fabs(times))) return path + ": multipleOf";
    }
  }
  if (value.is_array()) {
    size_limits("minItems", "maxItems", value.size());
    if (wrong.empty()) wrong = check_array(root, schema, value, path);
  }
  if (value.is_object()) {
    size_limits("minProperties", "maxProperties", value.size());
    if (wrong.empty()) wrong = check_object(root, schema, value, path);
  }
  return wrong.empty() ? check_alternatives(root, schema, value, path) : wrong;
}

}  // namespace dsv4::text_test
