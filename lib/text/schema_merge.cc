#include "lib/text/schema_merge.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "lib/base/error.h"
#include "lib/text/json_grammar.h"
#include "lib/text/number_grammar.h"

namespace dsv4 {

namespace {

constexpr int kMaxChain = 64;      // of $ref and allOf within one another
constexpr int kMaxDisjoint = 8;    // levels of properties looked into

uint32_t type_bit(std::string_view name) {
  if (name == "null") return kTypeNull;
  if (name == "boolean") return kTypeBoolean;
  if (name == "object") return kTypeObject;
  if (name == "array") return kTypeArray;
  if (name == "number") return kTypeNumber | kTypeInteger;
  if (name == "integer") return kTypeInteger;
  return kTypeString;
}

bool has_any(const Json& schema, std::initializer_list<const char*> keywords) {
  return std::any_of(keywords.begin(), keywords.end(), [&](const char* k) { return schema.find(k) != nullptr; });
}

Json types_json(uint32_t types) {
  Json out = Json::array();
  constexpr std::array<std::pair<uint32_t, const char*>, 5> kPlain = {
      {{kTypeNull, "null"}, {kTypeBoolean, "boolean"}, {kTypeObject, "object"}, {kTypeArray, "array"},
       {kTypeString, "string"}}};
  for (const auto& [bit, name] : kPlain) {
    if (types & bit) out.append(Json::string(name));
  }
  if (types & kTypeNumber) {
    out.append(Json::string("number"));
  } else if (types & kTypeInteger) {
    out.append(Json::string("integer"));
  }
  return out;
}

class Merger {
 public:
  Merger(const Json& a, const Json& b, const std::string& path) : a_(a), b_(b), path_(path) {}

  Json merge() {
    check_interplay("additionalProperties", "properties");
    check_interplay("items", "prefixItems");
    Json out = a_;
    for (size_t i = 0; i < b_.size(); ++i) {
      const std::string& key = b_.keys()[i];
      const Json& theirs = b_.items()[i];
      const Json* ours = a_.find(key);
      if (ours == nullptr) {
        out.append(key, theirs);
      } else if (ours->dump() != theirs.dump()) {
        out.set(key, both(key, *ours, theirs));
      }
    }
    return out;
  }

 private:
  [[noreturn]] void unsupported(const std::string& key) const {
    fail(Status::kUnsupported, "{}: two different \"{}\" hold at once, which is not supported", path_, key);
  }

  // `rest` speaks of what its own `named` leaves over: it must not meet names that only the other schema has, because
  // in the merged one they would be spoken for.
  void check_interplay(const char* rest, const char* named) const {
    const auto check = [&](const Json& ours, const Json& theirs) {
      const Json* left_over = ours.find(rest);
      const Json *known = ours.find(named), *other = theirs.find(named);
      if (left_over == nullptr || (left_over->is_bool() && left_over->bool_value()) || other == nullptr) return;
      bool spoken_for = known != nullptr && known->size() >= other->size();
      for (const std::string& key : other->keys()) spoken_for = spoken_for && known->find(key) != nullptr;
      if (spoken_for || other->size() == 0) return;
      fail(Status::kUnsupported, "{}: \"{}\" beside schemas with other \"{}\" is not supported", path_, rest, named);
    };
    check(a_, b_);
    check(b_, a_);
  }

  Json all_of(const Json& x, const Json& y) const {
    Json list = Json::array();
    list.append(x);
    list.append(y);
    Json out = Json::object();
    out.append("allOf", std::move(list));
    return out;
  }

  Json both(const std::string& key, const Json& x, const Json& y) const {
    if (key == "type") return types_json(declared_types(a_) & declared_types(b_));
    if (key == "required") {
      Json out = x;
      for (const Json& name : y.items()) {
        const bool known = std::any_of(x.items().begin(), x.items().end(),
                                       [&](const Json& n) { return n.text() == name.text(); });
        if (!known) out.append(name);
      }
      return out;
    }
    if (key == "properties") {
      Json out = x;
      for (size_t i = 0; i < y.size(); ++i) {
        const Json* ours = x.find(y.keys()[i]);
        if (ours == nullptr) {
          out.append(y.keys()[i], y.items()[i]);
        } else if (ours->dump() != y.items()[i].dump()) {
          out.set(y.keys()[i], all_of(*ours, y.items()[i]));
        }
      }
      return out;
    }
    if (key == "items" || key == "additionalProperties") return all_of(x, y);
    if (key == "prefixItems" && x.size() == y.size()) {
      Json out = Json::array();
      for (size_t i = 0; i < x.size(); ++i) out.append(all_of(x.items()[i], y.items()[i]));
      return out;
    }
    if (key == "enum") {
      Json out = Json::array();
      for (const Json& value : x.items()) {
        const bool shared = std::any_of(y.items().begin(), y.items().end(),
                                        [&](const Json& other) { return same_value(value, other); });
        if (shared) out.append(value);
      }
      return out;
    }
    if (key.substr(0, 3) == "min" || key == "exclusiveMinimum") return compare_numbers(x.text(), y.text()) < 0 ? y : x;
    if (key.substr(0, 3) == "max" || key == "exclusiveMaximum") return compare_numbers(x.text(), y.text()) > 0 ? y : x;
    unsupported(key);
  }

  const Json& a_;
  const Json& b_;
  const std::string& path_;
};

Json flatten(const SchemaDocument& document, const Json& schema, const std::string& path, int depth);

Json merged(const SchemaDocument& document, const Json& rest, const Json& other, const std::string& path, int depth) {
  const Json flat = flatten(document, other, path, depth + 1);
  if (flat.is_bool()) return flat.bool_value() ? rest : flat;
  return merge_schemas(rest, flat, path);
}

Json flatten(const SchemaDocument& document, const Json& schema, const std::string& path, int depth) {
  if (depth > kMaxChain) {
    fail(Status::kInvalidArgument, "{}: $ref and allOf lead to themselves, or are nested deeper than {}", path,
         kMaxChain);
  }
  const Json bare = bare_schema(schema);
  if (bare.is_bool()) return bare;
  const Json *ref = bare.find("$ref"), *all = bare.find("allOf");
  if (ref == nullptr && all == nullptr) return bare;
  Json out = Json::object();
  for (size_t i = 0; i < bare.size(); ++i) {
    const std::string& key = bare.keys()[i];
    if (key != "$ref" && key != "allOf") out.append(key, bare.items()[i]);
  }
  if (ref != nullptr) out = merged(document, out, document.resolve(ref->text(), path), path, depth);
  if (all != nullptr) {
    for (const Json& part : all->items()) {
      if (out.is_bool()) break;
      out = merged(document, out, part, path, depth);
    }
  }
  return out;
}

bool disjoint(const SchemaDocument& d, const Json& a, const Json& b, const std::string& path, int depth);

bool disjoint_properties(const SchemaDocument& d, const Json& a, const Json& b, const std::string& path, int depth) {
  const Json *x = a.find("required"), *y = b.find("required");
  const Json *p = a.find("properties"), *q = b.find("properties");
  if (x == nullptr || y == nullptr || p == nullptr || q == nullptr) return false;
  for (const Json& name : x->items()) {
    const bool shared = std::any_of(y->items().begin(), y->items().end(),
                                    [&](const Json& other) { return other.text() == name.text(); });
    const Json *ours = p->find(name.text()), *theirs = q->find(name.text());
    if (!shared || ours == nullptr || theirs == nullptr) continue;
    if (disjoint(d, flat_schema(d, *ours, path), flat_schema(d, *theirs, path), path, depth + 1)) return true;
  }
  return false;
}

// The values that a schema enumerates, if it does.
bool enumerated(const Json& schema, std::vector<Json>& out) {
  if (const Json* value = schema.find("const")) {
    out = {*value};
    return true;
  }
  const Json* values = schema.find("enum");
  if (values != nullptr) out = values->items();
  return values != nullptr;
}

bool disjoint(const SchemaDocument& d, const Json& a, const Json& b, const std::string& path, int depth) {
  if (depth > kMaxDisjoint) return false;
  if (a.is_bool() || b.is_bool()) return (a.is_bool() && !a.bool_value()) || (b.is_bool() && !b.bool_value());
  const uint32_t x = declared_types(a), y = declared_types(b);
  if ((x & y) == 0) return true;
  std::vector<Json> ours, theirs;
  const bool a_lists = enumerated(a, ours), b_lists = enumerated(b, theirs);
  if (a_lists && b_lists) {
    return std::none_of(ours.begin(), ours.end(), [&](const Json& value) {
      return std::any_of(theirs.begin(), theirs.end(), [&](const Json& other) { return same_value(value, other); });
    });
  }
  const auto none_is = [](const std::vector<Json>& values, uint32_t types) {
    return std::none_of(values.begin(), values.end(), [&](const Json& v) { return (type_of(v) & types) != 0; });
  };
  if (a_lists && none_is(ours, y)) return true;
  if (b_lists && none_is(theirs, x)) return true;
  return (x & y) == kTypeObject && disjoint_properties(d, a, b, path, depth);
}

}  // namespace

uint32_t declared_types(const Json& schema) {
  const Json* type = schema.find("type");
  if (type == nullptr) return kAnyType | kTypeInteger;
  uint32_t out = 0;
  if (type->is_string()) out = type_bit(type->text());
  for (const Json& name : type->items()) out |= type_bit(name.text());
  return out;
}

uint32_t meant_types(const Json& schema) {
  if (schema.find("type") != nullptr) return declared_types(schema);
  uint32_t out = 0;
  if (has_any(schema, {"properties", "required", "additionalProperties", "minProperties", "maxProperties"})) {
    out |= kTypeObject;
  }
  if (has_any(schema, {"items", "prefixItems", "minItems", "maxItems"})) out |= kTypeArray;
  if (has_any(schema, {"minLength", "maxLength", "pattern", "format"})) out |= kTypeString;
  if (has_any(schema, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})) {
    out |= kTypeNumber | kTypeInteger;
  }
  return out != 0 ? out : kAnyType | kTypeInteger;
}

uint32_t type_of(const Json& value) {
  switch (value.kind()) {
    case Json::Kind::kNull: return kTypeNull;
    case Json::Kind::kBool: return kTypeBoolean;
    case Json::Kind::kNumber: return kTypeNumber | (is_integer(value.text()) ? kTypeInteger : 0u);
    case Json::Kind::kString: return kTypeString;
    case Json::Kind::kArray: return kTypeArray;
    case Json::Kind::kObject: return kTypeObject;
  }
  return 0;
}

bool same_value(const Json& a, const Json& b) {
  if (a.kind() != b.kind() || a.size() != b.size()) return false;
  switch (a.kind()) {
    case Json::Kind::kNull: return true;
    case Json::Kind::kBool: return a.bool_value() == b.bool_value();
    case Json::Kind::kNumber: return compare_numbers(a.text(), b.text()) == 0;
    case Json::Kind::kString: return a.text() == b.text();
    case Json::Kind::kArray:
      for (size_t i = 0; i < a.size(); ++i) {
        if (!same_value(a.items()[i], b.items()[i])) return false;
      }
      return true;
    case Json::Kind::kObject:
      for (size_t i = 0; i < a.size(); ++i) {
        const Json* other = b.find(a.keys()[i]);
        if (other == nullptr || !same_value(a.items()[i], *other)) return false;
      }
      return true;
  }
  return false;
}

Json bare_schema(const Json& schema) {
  if (!schema.is_object()) return schema;
  Json out = Json::object();
  for (size_t i = 0; i < schema.size(); ++i) {
    if (!is_schema_annotation(schema.keys()[i])) out.append(schema.keys()[i], schema.items()[i]);
  }
  return out;
}

Json merge_schemas(const Json& a, const Json& b, const std::string& path) { return Merger(a, b, path).merge(); }

Json flat_schema(const SchemaDocument& document, const Json& schema, const std::string& path) {
  return flatten(document, schema, path, 0);
}

bool are_disjoint(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path) {
  return disjoint(document, a, b, path, 0);
}

}  // namespace dsv4
