#include "lib/text/schema_document.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/char_set.h"
#include "lib/text/number_grammar.h"
#include "lib/text/regex_grammar.h"

namespace dsv4 {

namespace {

enum class Shape : uint8_t {
  kAnnotation,
  kSchema,       // one schema
  kSchemaList,   // an array of schemas, at least one
  kSchemaMap,    // an object of schemas
  kType,
  kValues,       // enum
  kValue,        // const
  kNames,        // required
  kCount,        // a whole number
  kNumber,
  kStep,         // multipleOf
  kPattern,
  kFormat,
  kReference,
  kFalse,        // uniqueItems
  kBaseUri,      // $id
};

struct Keyword {
  std::string_view name;
  Shape shape;
};

constexpr std::array<Keyword, 38> kKeywords = {{
    {"title", Shape::kAnnotation},
    {"description", Shape::kAnnotation},
    {"default", Shape::kAnnotation},
    {"examples", Shape::kAnnotation},
    {"deprecated", Shape::kAnnotation},
    {"readOnly", Shape::kAnnotation},
    {"writeOnly", Shape::kAnnotation},
    {"$schema", Shape::kAnnotation},
    {"$comment", Shape::kAnnotation},
    {"$id", Shape::kBaseUri},
    {"$defs", Shape::kSchemaMap},
    {"definitions", Shape::kSchemaMap},
    {"$ref", Shape::kReference},
    {"type", Shape::kType},
    {"enum", Shape::kValues},
    {"const", Shape::kValue},
    {"anyOf", Shape::kSchemaList},
    {"allOf", Shape::kSchemaList},
    {"oneOf", Shape::kSchemaList},
    {"properties", Shape::kSchemaMap},
    {"required", Shape::kNames},
    {"additionalProperties", Shape::kSchema},
    {"minProperties", Shape::kCount},
    {"maxProperties", Shape::kCount},
    {"items", Shape::kSchema},
    {"prefixItems", Shape::kSchemaList},
    {"minItems", Shape::kCount},
    {"maxItems", Shape::kCount},
    {"uniqueItems", Shape::kFalse},
    {"minLength", Shape::kCount},
    {"maxLength", Shape::kCount},
    {"pattern", Shape::kPattern},
    {"format", Shape::kFormat},
    {"minimum", Shape::kNumber},
    {"maximum", Shape::kNumber},
    {"exclusiveMinimum", Shape::kNumber},
    {"exclusiveMaximum", Shape::kNumber},
    {"multipleOf", Shape::kStep},
}};

constexpr std::array<std::string_view, 7> kTypeNames = {"null",   "boolean", "object", "array",
                                                        "number", "string",  "integer"};

constexpr int64_t kMaxCount = 1'000'000'000'000;

std::string step(std::string_view pointer, std::string_view key) {
  std::string out(pointer);
  out += '/';
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

// %41 as references in a URI have it.
std::string percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

bool is_schema_annotation(std::string_view keyword) {
  if (keyword.substr(0, 2) == "x-" || keyword == "$defs" || keyword == "definitions" || keyword == "$id") return true;
  return std::any_of(kKeywords.begin(), kKeywords.end(), [&](const Keyword& k) {
    return k.name == keyword && k.shape == Shape::kAnnotation;
  });
}

std::string_view format_pattern(std::string_view format) {
#define DSV4_DAY                                                                      \
  "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))" \
  "|(([0-9]{2}(0[48]|[2468][048]|[13579][26]))|([02468][048]|[13579][26])00)-02-29)"
#define DSV4_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define DSV4_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,60}[A-Za-z0-9])?"
#define DSV4_BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define DSV4_IPV4 DSV4_BYTE "(\\." DSV4_BYTE "){3}"
#define DSV4_H16 "[0-9A-Fa-f]{1,4}"
  struct Entry {
    std::string_view name, pattern;
  };
  static constexpr std::array<Entry, 10> kFormats = {{
      {"date-time", DSV4_DAY "T" DSV4_TIME},
      {"date", DSV4_DAY},
      {"time", DSV4_TIME},
      {"duration", "P([0-9]{1,9}W|([0-9]{1,9}Y([0-9]{1,9}M([0-9]{1,9}D)?)?|[0-9]{1,9}M([0-9]{1,9}D)?|[0-9]{1,9}D)"
                   "(T([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S))?"
                   "|T([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S))"},
      {"email", "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,10}){0,3}@" DSV4_LABEL
                "(\\." DSV4_LABEL "){1,3}"},
      {"hostname", DSV4_LABEL "(\\." DSV4_LABEL "){0,3}"},
      {"ipv4", DSV4_IPV4},
      {"ipv6", "(" DSV4_H16 ":){7}" DSV4_H16 "|(" DSV4_H16 ":){6}" DSV4_IPV4
               "|::(" DSV4_H16 "(:" DSV4_H16 "){0,6})?"
               "|" DSV4_H16 "::(" DSV4_H16 "(:" DSV4_H16 "){0,5})?"
               "|" DSV4_H16 ":" DSV4_H16 "::(" DSV4_H16 "(:" DSV4_H16 "){0,4})?"
               "|" DSV4_H16 "(:" DSV4_H16 "){2}::(" DSV4_H16 "(:" DSV4_H16 "){0,3})?"
               "|" DSV4_H16 "(:" DSV4_H16 "){3}::(" DSV4_H16 "(:" DSV4_H16 "){0,2})?"
               "|" DSV4_H16 "(:" DSV4_H16 "){4}::(" DSV4_H16 "(:" DSV4_H16 ")?)?"
               "|" DSV4_H16 "(:" DSV4_H16 "){5}::(" DSV4_H16 ")?"
               "|" DSV4_H16 "(:" DSV4_H16 "){6}::"},
      {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
      {"uri", "[A-Za-z][A-Za-z0-9+.-]{0,30}:(//" DSV4_LABEL "(\\." DSV4_LABEL "){0,3}(:[0-9]{1,5})?)?"
              "(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*/?(\\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
              "(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"},
  }};
#undef DSV4_DAY
#undef DSV4_TIME
#undef DSV4_LABEL
#undef DSV4_BYTE
#undef DSV4_IPV4
#undef DSV4_H16
  for (const Entry& entry : kFormats) {
    if (entry.name == format) return entry.pattern;
  }
  return {};
}

class SchemaDocument::Checker {
 public:
  explicit Checker(SchemaDocument& document) : d_(document) {}

  void schema(const Json& value, const std::string& pointer, const std::string& path) {
    d_.schemas_[pointer] = &value;
    if (value.is_bool()) return;
    if (!value.is_object()) mismatch(value, path, "an object or a boolean");
    for (size_t i = 0; i < value.size(); ++i) {
      const std::string& name = value.keys()[i];
      if (name.substr(0, 2) == "x-") continue;
      const auto known =
          std::find_if(kKeywords.begin(), kKeywords.end(), [&](const Keyword& k) { return k.name == name; });
      if (known == kKeywords.end()) {
        fail(Status::kUnsupported, "{}: the keyword \"{}\" is not supported", path, name);
      }
      keyword(known->shape, name, value.items()[i], step(pointer, name), path + "." + name);
    }
    counts(value, path);
  }

 private:
  [[noreturn]] void mismatch(const Json& value, const std::string& path, std::string_view expected) const {
    fail(Status::kInvalidArgument, "{}: expected {}, found {}", path, expected, json_kind_name(value.kind()));
  }

  // Whatever a grammar has to write out must be made of characters that constrained output can hold.
  void writable(const std::string& text, const std::string& path) const {
    if (text.size() > kMaxKeyBytes * 16) {
      fail(Status::kInvalidArgument, "{}: a text of {} bytes, at most {} expected", path, text.size(),
           kMaxKeyBytes * 16);
    }
    for (size_t at = 0; at < text.size();) {
      const uint32_t c = utf8_next(text, at);
      if (c == 0 || c > CharSet::kLast) {
        fail(Status::kUnsupported, "{}: the character U+{:04X} cannot be written in constrained output", path, c);
      }
    }
  }
  void writable_value(const Json& value, const std::string& path) const {
    if (value.is_string()) writable(value.text(), path);
    for (const std::string& key : value.keys()) writable(key, path);
    for (const Json& item : value.items()) writable_value(item, path);  // depth: bounded when it was parsed
  }
  void name(const std::string& key, const std::string& path) const {
    if (key.size() > kMaxKeyBytes) {
      fail(Status::kInvalidArgument, "{}: a name of {} bytes, at most {} expected", path, key.size(), kMaxKeyBytes);
    }
    writable(key, path);
  }

  void keyword(Shape shape, const std::string& name, const Json& value, const std::string& pointer,
               const std::string& path);
  void types(const Json& value, const std::string& path) const;
  void counts(const Json& schema, const std::string& path) const;

  SchemaDocument& d_;
};

void SchemaDocument::Checker::types(const Json& value, const std::string& path) const {
  const auto one = [&](const Json& type, const std::string& at) {
    if (!type.is_string()) mismatch(type, at, "a type's name");
    if (std::find(kTypeNames.begin(), kTypeNames.end(), type.text()) == kTypeNames.end()) {
      fail(Status::kInvalidArgument, "{}: there is no type \"{}\"", at, type.text());
    }
  };
  if (!value.is_array()) return one(value, path);
  if (value.size() == 0) fail(Status::kInvalidArgument, "{}: expected at least one type", path);
  for (size_t i = 0; i < value.size(); ++i) one(value.items()[i], fmt::format("{}[{}]", path, i));
}

void SchemaDocument::Checker::counts(const Json& schema, const std::string& path) const {
  const auto pair = [&](const char* low, const char* high) {
    const Json *a = schema.find(low), *b = schema.find(high);
    if (a != nullptr && b != nullptr && compare_numbers(a->text(), b->text()) > 0) {
      fail(Status::kInvalidArgument, "{}: nothing can satisfy it: {} is {}, {} is {}", path, low, a->text(), high,
           b->text());
    }
  };
  pair("minLength", "maxLength");
  pair("minItems", "maxItems");
  pair("minProperties", "maxProperties");
  pair("minimum", "maximum");
}

void SchemaDocument::Checker::keyword(Shape shape, const std::string& name, const Json& value,
                                      const std::string& pointer, const std::string& path) {
  int64_t count = 0;
  switch (shape) {
    case Shape::kAnnotation: return;
    case Shape::kBaseUri:
      if (!value.is_string()) mismatch(value, path, "a string");
      if (pointer != "/$id") fail(Status::kUnsupported, "{}: the keyword \"$id\" is supported at the root only", path);
      return;
    case Shape::kSchema:
      if (name == "items" && value.is_array()) {
        fail(Status::kUnsupported, "{}: an array of schemas is not supported here; it is called prefixItems now", path);
      }
      return schema(value, pointer, path);
    case Shape::kSchemaList:
      if (!value.is_array()) mismatch(value, path, "an array");
      if (value.size() == 0) fail(Status::kInvalidArgument, "{}: expected at least one schema", path);
      for (size_t i = 0; i < value.size(); ++i) {
        schema(value.items()[i], step(pointer, std::to_string(i)), fmt::format("{}[{}]", path, i));
      }
      return;
    case Shape::kSchemaMap:
      if (!value.is_object()) mismatch(value, path, "an object");
      for (size_t i = 0; i < value.size(); ++i) {
        const std::string& key = value.keys()[i];
        this->name(key, path);
        schema(value.items()[i], step(pointer, key), path + "." + key);
      }
      return;
    case Shape::kType: return types(value, path);
    case Shape::kValues:
      if (!value.is_array()) mismatch(value, path, "an array");
      if (value.size() == 0) fail(Status::kInvalidArgument, "{}: expected at least one value", path);
      return writable_value(value, path);
    case Shape::kValue: return writable_value(value, path);
    case Shape::kNames:
      if (!value.is_array()) mismatch(value, path, "an array");
      for (const Json& item : value.items()) {
        if (!item.is_string()) mismatch(item, path, "an array of strings");
        this->name(item.text(), path);
      }
      return;
    case Shape::kCount:
      if (!value.integer(0, kMaxCount, count)) {
        if (!value.is_number()) mismatch(value, path, "a whole number");
        fail(Status::kInvalidArgument, "{}: expected a whole number from 0 to {}, found {}", path, kMaxCount,
             value.text());
      }
      return;
    case Shape::kNumber:
    case Shape::kStep:
      if (!value.is_number()) mismatch(value, path, "a number");
      if (shape == Shape::kStep && compare_numbers(value.text(), "0") <= 0) {
        fail(Status::kInvalidArgument, "{}: expected a number above 0, found {}", path, value.text());
      }
      return;
    case Shape::kPattern:
      if (!value.is_string()) mismatch(value, path, "a string");
      parse_regex(value.text(), path);
      return;
    case Shape::kFormat:
      if (!value.is_string()) mismatch(value, path, "a string");
      if (format_pattern(value.text()).empty()) {
        fail(Status::kUnsupported, "{}: the format \"{}\" is not supported", path, value.text());
      }
      return;
    case Shape::kReference:
      if (!value.is_string()) mismatch(value, path, "a string");
      return;
    case Shape::kFalse:
      if (!value.is_bool()) mismatch(value, path, "a boolean");
      if (value.bool_value()) fail(Status::kUnsupported, "{}: true is not supported", path);
      return;
  }
}

SchemaDocument::SchemaDocument(std::string_view text, std::string what) : what_(std::move(what)) {
  if (text.size() > kMaxBytes) {
    fail(Status::kInvalidArgument, "{}: {} bytes, at most {} expected", what_, text.size(), kMaxBytes);
  }
  root_ = parse_json(text, what_, Status::kInvalidArgument, {kMaxDepth, kMaxValues});
  Checker(*this).schema(root_, "", what_);
}

namespace {
size_t depth_of(const Json& value, size_t limit) {
  size_t deepest = 0;
  if (limit > 0) {
    for (const Json& item : value.items()) deepest = std::max(deepest, depth_of(item, limit - 1));
  }
  return deepest + 1;
}
}  // namespace

SchemaDocument::SchemaDocument(Json schema, std::string what) : root_(std::move(schema)), what_(std::move(what)) {
  if (depth_of(root_, kMaxDepth + 1) > kMaxDepth) {
    fail(Status::kInvalidArgument, "{}: nested deeper than {}", what_, kMaxDepth);
  }
  if (const size_t size = root_.dump().size(); size > kMaxBytes) {
    fail(Status::kInvalidArgument, "{}: {} bytes, at most {} expected", what_, size, kMaxBytes);
  }
  Checker(*this).schema(root_, "", what_);
}

const Json& SchemaDocument::resolve(std::string_view reference, std::string_view path) const {
  if (reference.substr(0, 1) != "#") {
    fail(Status::kUnsupported, "{}: \"{}\" is in another document", path, reference);
  }
  const std::string pointer = percent_decoded(reference.substr(1));
  const auto found = schemas_.find(pointer);
  if (found != schemas_.end()) return *found->second;
  if (!pointer.empty() && pointer[0] != '/') {
    fail(Status::kUnsupported, "{}: \"{}\" is not a JSON pointer", path, reference);
  }
  fail(Status::kInvalidArgument, "{}: \"{}\" leads to no schema in {}", path, reference, what_);
}

}  // namespace dsv4
