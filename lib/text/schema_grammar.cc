#include "lib/text/schema_grammar.h"

#include <algorithm>
#include <new>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/number_grammar.h"
#include "lib/text/schema_merge.h"

namespace dsv4 {

namespace {

const Json& accepts_all() {
  // In memory of the library's own and never destroyed: statics with destructors are not allowed here, and a host that
  // unloads the library finds nothing left of it.
  alignas(Json) static unsigned char room[sizeof(Json)];
  static const Json& value = *new (room) Json(Json::boolean(true));
  return value;
}

int64_t count_of(const Json& schema, const char* keyword, int64_t otherwise) {
  const Json* value = schema.find(keyword);
  int64_t out = otherwise;
  if (value != nullptr) value->integer(0, INT64_MAX, out);
  return out;
}

int64_t characters_in(std::string_view text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) utf8_next(text, at);
  return count;
}

Json without(const Json& schema, std::string_view keyword) {
  Json out = Json::object();
  for (size_t i = 0; i < schema.size(); ++i) {
    if (schema.keys()[i] != keyword) out.append(schema.keys()[i], schema.items()[i]);
  }
  return out;
}

NumberBounds bounds_of(const Json& schema) {
  NumberBounds out;
  const auto take = [&](const char* keyword, bool excluded, std::string& bound, bool& is_excluded, int stronger) {
    const Json* value = schema.find(keyword);
    if (value == nullptr) return;
    const int order = bound.empty() ? stronger : compare_numbers(value->text(), bound);
    if (order * stronger > 0) {
      bound = value->text();
      is_excluded = excluded;
    } else if (order == 0) {
      is_excluded |= excluded;
    }
  };
  take("minimum", false, out.least, out.least_excluded, 1);
  take("exclusiveMinimum", true, out.least, out.least_excluded, 1);
  take("maximum", false, out.most, out.most_excluded, -1);
  take("exclusiveMaximum", true, out.most, out.most_excluded, -1);
  return out;
}

// How many digits after the point a multiple of 1, 0.1, 0.01, … may have; -1 for any other step.
int digits_of_step(const Json& step) {
  std::string power = "1";
  for (int digits = 0; digits <= kMaxNumberDigits; ++digits) {
    if (compare_numbers(step.text(), power) == 0) return digits;
    power = digits == 0 ? "0.1" : "0.0" + power.substr(2);
  }
  return -1;
}

}  // namespace

Grammar::Part schema_grammar(JsonGrammar& json, const SchemaDocument& document) {
  return SchemaGrammar(json, document).value(document.root(), ValueForm::kJson, document.what());
}

Grammar::Part SchemaGrammar::value(const Json& schema, ValueForm form, const std::string& path) {
  if (schema.is_bool()) return schema.bool_value() ? anything(form) : grammar_.never();
  const Json bare = bare_schema(schema);
  if (bare.size() == 0) return anything(form);
  const std::string key = static_cast<char>('0' + static_cast<int>(form)) + bare.dump();
  const auto known = rules_.find(key);
  if (known != rules_.end()) return grammar_.refer(known->second);
  if (rules_.size() >= kMaxRules || depth_ >= kMaxDepth) {
    fail(Status::kInvalidArgument, "{}: too large: more than {} different schemas, or more than {} within one another",
         path, kMaxRules, kMaxDepth);
  }
  const Grammar::Rule rule = grammar_.rule();
  rules_.emplace(key, rule);
  ++depth_;
  grammar_.define(rule, build(bare, form, path));
  --depth_;
  return grammar_.refer(rule);
}

Grammar::Part SchemaGrammar::anything(ValueForm form) {
  switch (form) {
    case ValueForm::kJson: return json_.value(kAnyType);
    case ValueForm::kJsonNotString: return json_.value(kAnyType & ~kTypeString);
    case ValueForm::kRawString:
      return grammar_.sequence({grammar_.many(grammar_.set(CharSet::all())), parameters_->raw_end()});
    case ValueForm::kParameters: break;
  }
  return parameters_->parameters(*this, {}, &accepts_all());
}

Grammar::Part SchemaGrammar::build(const Json& schema, ValueForm form, const std::string& path) {
  // A lone reference stays one, so that a schema may contain itself.
  const Json* reference = schema.find("$ref");
  if (reference != nullptr && schema.size() == 1) {
    return value(document_.resolve(reference->text(), path), form, document_.what() + reference->text());
  }
  if (reference != nullptr || schema.find("allOf") != nullptr) {
    return value(flat_schema(document_, schema, path), form, path);
  }
  if (schema.find("anyOf") != nullptr) return alternatives(schema, "anyOf", form, path);
  if (schema.find("oneOf") != nullptr) return alternatives(schema, "oneOf", form, path);
  if (schema.find("enum") != nullptr || schema.find("const") != nullptr) return listed(schema, form, path);
  return typed(schema, form, path);
}

Grammar::Part SchemaGrammar::alternatives(const Json& schema, const char* keyword, ValueForm form,
                                          const std::string& path) {
  const Json* list = schema.find(keyword);
  const Json rest = without(schema, keyword);
  const bool exactly_one = std::string_view(keyword) == "oneOf";
  std::vector<Json> merged;
  std::vector<Grammar::Part> parts;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string at = fmt::format("{}.{}[{}]", path, keyword, i);
    const Json& alternative = list->items()[i];
    if (rest.size() == 0 && !exactly_one) {
      parts.push_back(value(alternative, form, at));
      continue;
    }
    const Json flat = flat_schema(document_, alternative, at);
    if (flat.is_bool() && !flat.bool_value()) continue;
    merged.push_back(flat.is_bool() ? rest : merge_schemas(rest, flat, at));
    for (size_t j = 0; exactly_one && j + 1 < merged.size(); ++j) {
      if (!are_disjoint(document_, merged[j], merged.back(), at)) {
        fail(Status::kUnsupported,
             "{}: a value may satisfy this and another alternative of oneOf, which is not supported; use anyOf, or "
             "give the alternatives a required property with different constants",
             at);
      }
    }
    parts.push_back(value(merged.back(), form, at));
  }
  return grammar_.choice(parts);
}

// ---- enum and const

bool SchemaGrammar::fits(const Json& value, const Json& schema, const std::string& path) const {
  if ((type_of(value) & declared_types(schema)) == 0) return false;
  const auto refuse = [&](std::initializer_list<const char*> keywords) {
    for (const char* keyword : keywords) {
      if (schema.find(keyword) != nullptr) {
        fail(Status::kUnsupported, "{}: \"{}\" beside enum or const is not supported", path, keyword);
      }
    }
  };
  if (value.is_string()) {
    refuse({"pattern", "format"});
    const int64_t length = characters_in(value.text());
    return length >= count_of(schema, "minLength", 0) && length <= count_of(schema, "maxLength", INT64_MAX);
  }
  if (value.is_number()) {
    refuse({"multipleOf"});
    const NumberBounds bounds = bounds_of(schema);
    const int low = bounds.least.empty() ? 1 : compare_numbers(value.text(), bounds.least);
    const int high = bounds.most.empty() ? -1 : compare_numbers(value.text(), bounds.most);
    return (low > 0 || (low == 0 && !bounds.least_excluded)) && (high < 0 || (high == 0 && !bounds.most_excluded));
  }
  if (value.is_object()) refuse({"properties", "required", "additionalProperties", "minProperties", "maxProperties"});
  if (value.is_array()) refuse({"items", "prefixItems", "minItems", "maxItems"});
  return true;
}

Grammar::Part SchemaGrammar::listed(const Json& schema, ValueForm form, const std::string& path) {
  std::vector<Json> values;
  const Json *only = schema.find("const"), *list = schema.find("enum");
  if (only != nullptr) values.push_back(*only);
  if (list != nullptr && only == nullptr) values = list->items();
  if (list != nullptr && only != nullptr) {
    const bool shared = std::any_of(list->items().begin(), list->items().end(),
                                    [&](const Json& value) { return same_value(value, *only); });
    if (!shared) values.clear();
  }
  std::vector<Grammar::Part> parts;
  for (const Json& value : values) {
    if (!fits(value, schema, path)) continue;
    switch (form) {
      case ValueForm::kJson: parts.push_back(grammar_.text(value.dump())); break;
      case ValueForm::kJsonNotString:
        if (!value.is_string()) parts.push_back(grammar_.text(value.dump()));
        break;
      case ValueForm::kRawString:
        if (value.is_string())
          parts.push_back(grammar_.sequence({grammar_.text(value.text()), parameters_->raw_end()}));
        break;
      case ValueForm::kParameters:
        fail(Status::kUnsupported, "{}: enum and const are not supported for the arguments of a function", path);
    }
  }
  return grammar_.choice(parts);
}

// ---- by type

Grammar::Part SchemaGrammar::typed(const Json& schema, ValueForm form, const std::string& path) {
  const uint32_t types = meant_types(schema);
  std::vector<Grammar::Part> parts;
  if (form == ValueForm::kRawString) {
    if ((types & kTypeString) == 0) return grammar_.never();
    return grammar_.sequence({string_content(schema, form, path), parameters_->raw_end()});
  }
  if (form == ValueForm::kParameters) return types & kTypeObject ? object(schema, form, path) : grammar_.never();
  parts.push_back(json_.value(types & (kTypeNull | kTypeBoolean)));
  if (types & kTypeNumber) {
    parts.push_back(number(schema, false, path));
  } else if (types & kTypeInteger) {
    parts.push_back(number(schema, true, path));
  }
  if ((types & kTypeString) && form == ValueForm::kJson) parts.push_back(string(schema, form, path));
  if (types & kTypeArray) parts.push_back(array(schema, path));
  if (types & kTypeObject) parts.push_back(object(schema, form, path));
  return grammar_.choice(parts);
}

Grammar::Part SchemaGrammar::string(const Json& schema, ValueForm form, const std::string& path) {
  const bool plain = schema.find("minLength") == nullptr && schema.find("maxLength") == nullptr &&
                     schema.find("pattern") == nullptr && schema.find("format") == nullptr;
  if (plain) return json_.string();
  return grammar_.sequence({grammar_.text("\""), string_content(schema, form, path), grammar_.text("\"")});
}

Grammar::Part SchemaGrammar::string_content(const Json& schema, ValueForm form, const std::string& path) {
  const Json *pattern = schema.find("pattern"), *format = schema.find("format");
  const int64_t least = count_of(schema, "minLength", 0), most = count_of(schema, "maxLength", -1);
  const bool has_length = schema.find("minLength") != nullptr || most >= 0;
  if (most >= 0 && most < least) return grammar_.never();
  if (std::max(least, most) > Grammar::kMaxRepeat) {
    fail(Status::kUnsupported, "{}: a length of {} characters, at most {} are supported", path, std::max(least, most),
         Grammar::kMaxRepeat);
  }
  const bool raw = form == ValueForm::kRawString;
  if (pattern == nullptr && format == nullptr) {
    return raw ? grammar_.repeat(grammar_.set(CharSet::all()), least, most) : json_.characters(least, most);
  }
  if (pattern != nullptr && format != nullptr) {
    fail(Status::kUnsupported, "{}: \"pattern\" together with \"format\" is not supported", path);
  }
  const RegexMatch match = pattern != nullptr ? RegexMatch::kSearch : RegexMatch::kWhole;
  RegexNode node = parse_regex(pattern != nullptr ? std::string_view(pattern->text()) : format_pattern(format->text()),
                               path + (pattern != nullptr ? ".pattern" : ".format"));
  if (has_length) {
    RegexNode* repeat = match == RegexMatch::kSearch ? regex_single_repeat(node) : nullptr;
    const bool anchored = match == RegexMatch::kWhole || regex_is_anchored(node);
    const RegexLength length = regex_length(node);
    if (repeat != nullptr) {  // ^[a-z]+$ and the like: the length goes into the repetition
      repeat->at_least = std::max(repeat->at_least, least);
      if (most >= 0) repeat->at_most = repeat->at_most < 0 ? most : std::min(repeat->at_most, most);
      if (repeat->at_most >= 0 && repeat->at_most < repeat->at_least) return grammar_.never();
    } else if (!anchored || length.least < least || (most >= 0 && (length.most < 0 || length.most > most))) {
      fail(Status::kUnsupported,
           "{}: \"minLength\" or \"maxLength\" together with a \"pattern\" or \"format\" that does not imply it is not "
           "supported",
           path);
    }
  }
  const PlainCharacters plain;
  const JsonCharacters escaped;
  const CharacterWriter& writer = raw ? static_cast<const CharacterWriter&>(plain) : escaped;
  return regex_grammar(grammar_, node, match, writer, path);
}

Grammar::Part SchemaGrammar::number(const Json& schema, bool integer, const std::string& path) {
  NumberBounds bounds = bounds_of(schema);
  const Json* step = schema.find("multipleOf");
  bounds.fraction_digits = integer ? 0 : kMaxNumberDigits;
  if (step != nullptr) {
    const int digits = digits_of_step(*step);
    if (digits < 0) {
      fail(Status::kUnsupported, "{}: \"multipleOf\" {} is not supported; 1, 0.1, 0.01, … are", path, step->text());
    }
    if (!integer) bounds.fraction_digits = digits;
  }
  if (bounds.least.empty() && bounds.most.empty() && step == nullptr) {
    return json_.value(integer ? kTypeInteger : kTypeNumber);
  }
  return bounded_number(grammar_, bounds, path);
}

Grammar::Part SchemaGrammar::array(const Json& schema, const std::string& path) {
  const Json *items = schema.find("items"), *first = schema.find("prefixItems");
  const int64_t least = count_of(schema, "minItems", 0), most = count_of(schema, "maxItems", -1);
  const auto prefix = static_cast<int64_t>(first != nullptr ? first->size() : 0);
  if (most >= 0 && most < least) return grammar_.never();
  if (std::max(least, most) > Grammar::kMaxRepeat) {
    fail(Status::kUnsupported, "{}: an array of {} items, at most {} are supported", path, std::max(least, most),
         Grammar::kMaxRepeat);
  }
  if (most == 0) return grammar_.text("[]");
  const Grammar::Part item =
      items != nullptr ? value(*items, ValueForm::kJson, path + ".items") : json_.value(kAnyType);
  // What follows `n` items that are there already, from the last of prefixItems backwards.
  const Grammar::Part end = grammar_.text("]");
  const Grammar::Part next = grammar_.sequence({json_.comma(), item});
  const auto tail = [&](int64_t n) {  // only `items` come
    const int64_t more = std::max<int64_t>(least - n, 0);
    if (most < 0 && more == 0) {
      const Grammar::Rule rule = grammar_.rule();
      grammar_.define(rule, grammar_.choice({end, grammar_.sequence({next, grammar_.refer(rule)})}));
      return grammar_.refer(rule);
    }
    return grammar_.sequence({grammar_.repeat(next, more, most < 0 ? -1 : std::max<int64_t>(most - n, 0)), end});
  };
  const int64_t listed = most >= 0 ? std::min(prefix, most) : prefix;
  Grammar::Part rest = listed > 0 ? tail(listed) : end;
  for (int64_t n = listed; n > 0; --n) {
    const Grammar::Part one = value(first->items()[static_cast<size_t>(n - 1)], ValueForm::kJson,
                                    fmt::format("{}.prefixItems[{}]", path, n - 1));
    const Grammar::Rule rule = grammar_.rule();  // what follows n - 1 items
    std::vector<Grammar::Part> parts;
    if (least <= n - 1) parts.push_back(end);
    parts.push_back(n == 1 ? grammar_.sequence({one, rest}) : grammar_.sequence({json_.comma(), one, rest}));
    grammar_.define(rule, grammar_.choice(parts));
    rest = grammar_.refer(rule);
  }
  if (listed > 0) return grammar_.sequence({grammar_.text("["), rest});
  std::vector<Grammar::Part> parts;
  if (least == 0) parts.push_back(end);
  parts.push_back(grammar_.sequence({item, tail(1)}));
  return grammar_.sequence({grammar_.text("["), grammar_.choice(parts)});
}

// ---- objects

Grammar::Part SchemaGrammar::object(const Json& schema, ValueForm form, const std::string& path) {
  const Json *properties = schema.find("properties"), *required = schema.find("required");
  const Json* others = schema.find("additionalProperties");
  if (others == nullptr && form != ValueForm::kParameters) others = &accepts_all();
  if (others != nullptr && others->is_bool() && !others->bool_value()) others = nullptr;

  std::vector<ObjectField> fields;
  for (size_t i = 0; properties != nullptr && i < properties->size(); ++i) {
    const std::string& name = properties->keys()[i];
    fields.push_back({name, &properties->items()[i], false, path + ".properties." + name});
  }
  int64_t needed = 0;
  for (size_t i = 0; required != nullptr && i < required->size(); ++i) {
    const std::string& name = required->items()[i].text();
    auto field = std::find_if(fields.begin(), fields.end(), [&](const ObjectField& f) { return f.name == name; });
    if (field == fields.end()) {  // not declared: it is what additionalProperties says
      if (others == nullptr) {
        fail(Status::kInvalidArgument, "{}: nothing can satisfy it: \"{}\" is required and not allowed", path, name);
      }
      fields.push_back({name, others, false, path + ".additionalProperties"});
      field = fields.end() - 1;
    }
    needed += field->required ? 0 : 1;
    field->required = true;
  }
  const int64_t least = count_of(schema, "minProperties", 0), most = count_of(schema, "maxProperties", -1);
  const bool counts_matter =
      least > needed || (most >= 0 && (others != nullptr || most < static_cast<int64_t>(fields.size())));
  if (counts_matter) {
    // Keys of a map may repeat, which no grammar prevents: a map that must have two is not certain to.
    if (!fields.empty() || others == nullptr || least > 1 || form == ValueForm::kParameters) {
      fail(Status::kUnsupported, "{}: \"minProperties\" and \"maxProperties\" are not supported here", path);
    }
    return map(*others, least, most, path);
  }
  if (form == ValueForm::kParameters) return parameters_->parameters(*this, fields, others);
  return members(fields, others);
}

Grammar::Part SchemaGrammar::members(const std::vector<ObjectField>& fields, const Json* others) {
  const Grammar::Part end = grammar_.text("}");
  // Two chains of rules from the last property backwards: what may come when something is there already, and when
  // nothing is, so that commas are where they belong.
  Grammar::Part after = end, first = end;
  if (others != nullptr) {
    std::vector<std::string> names;
    for (const ObjectField& field : fields) names.push_back(field.name);
    const Grammar::Part other = grammar_.sequence(
        {json_.other_key(names), json_.colon(), value(*others, ValueForm::kJson, "additionalProperties")});
    const Grammar::Rule more = grammar_.rule();
    after = grammar_.refer(more);
    grammar_.define(more, grammar_.choice({end, grammar_.sequence({json_.comma(), other, after})}));
    first = grammar_.choice({end, grammar_.sequence({other, after})});
  }
  for (size_t i = fields.size(); i-- > 0;) {
    const ObjectField& field = fields[i];
    const Grammar::Part content = value(*field.schema, ValueForm::kJson, field.path);
    const Grammar::Part one = grammar_.sequence({grammar_.text(json_quoted(field.name)), json_.colon(), content});
    const Grammar::Rule after_rule = grammar_.rule(), first_rule = grammar_.rule();
    std::vector<Grammar::Part> afters = {grammar_.sequence({json_.comma(), one, after})};
    std::vector<Grammar::Part> firsts = {grammar_.sequence({one, after})};
    if (!field.required) {
      afters.push_back(after);
      firsts.push_back(first);
    }
    grammar_.define(after_rule, grammar_.choice(afters));
    grammar_.define(first_rule, grammar_.choice(firsts));
    after = grammar_.refer(after_rule);
    first = grammar_.refer(first_rule);
  }
  return grammar_.sequence({grammar_.text("{"), first});
}

Grammar::Part SchemaGrammar::map(const Json& others, int64_t at_least, int64_t at_most, const std::string& path) {
  if (at_most == 0) return at_least == 0 ? grammar_.text("{}") : grammar_.never();
  if (at_most > Grammar::kMaxRepeat) {
    fail(Status::kUnsupported, "{}: \"maxProperties\" {}, at most {} are supported", path, at_most,
         Grammar::kMaxRepeat);
  }
  const Grammar::Part one = grammar_.sequence(
      {json_.string(), json_.colon(), value(others, ValueForm::kJson, path + ".additionalProperties")});
  const Grammar::Part more =
      grammar_.repeat(grammar_.sequence({json_.comma(), one}), 0, at_most < 0 ? -1 : at_most - 1);
  const Grammar::Part some = grammar_.sequence({one, more});
  return grammar_.sequence({grammar_.text("{"), at_least == 0 ? grammar_.optional(some) : some, grammar_.text("}")});
}

}  // namespace dsv4
