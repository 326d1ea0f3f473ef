#include "lib/text/tool_grammar.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/json_grammar.h"
#include "lib/text/protocol_text.h"
#include "lib/text/schema_document.h"
#include "lib/text/schema_grammar.h"

namespace dsv4 {

namespace {

constexpr size_t kMaxFunctions = 512;
constexpr int64_t kMaxOtherName = 64;

// A text of the protocol, with the mark in place of the token's spelling.
std::string marked(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text.substr(at, protocol::kDsml.size()) == protocol::kDsml) {
      utf8_append(out, kDsmlMark);
      at += protocol::kDsml.size();
    } else {
      out += text[at++];
    }
  }
  return out;
}

// Names stand between quotation marks, unescaped.
void check_name(const std::string& name, const std::string& path) {
  if (name.empty()) fail(Status::kInvalidArgument, "{}: a name is empty", path);
  for (size_t at = 0; at < name.size();) {
    const uint32_t c = utf8_next(name, at);
    if (c < 0x20 || c == '"' || c > CharSet::kLast) {
      fail(Status::kUnsupported, "{}: \"{}\" cannot be the name of a function or parameter: the character U+{:04X}",
           path, name, c);
    }
  }
  if (name.find(protocol::kDsml) != std::string::npos) {
    fail(Status::kUnsupported, "{}: \"{}\" cannot be a name: it spells a control token", path, name);
  }
}

class ParameterList final : public ParameterWriter {
 public:
  ParameterList(Grammar& grammar, Profile profile) : g_(grammar), profile_(profile) {}

  // From behind the line <…invoke name="N"> to the end of the call.
  Grammar::Part parameters(SchemaGrammar& schemas, const std::vector<ObjectField>& fields,
                           const Json* others) override {
    const Grammar::Part close = text(protocol::kInvokeEnd);
    const Grammar::Part line = g_.text("\n");
    const Grammar::Part end = g_.sequence({line, close});
    Grammar::Part after = end;
    // Nothing was written: an empty line between (preview), or none (0731).
    Grammar::Part first = profile_ == Profile::k0731 ? close : end;
    if (others != nullptr) {
      const Grammar::Part other = parameter(schemas, other_name(fields), others, "additionalProperties");
      const Grammar::Rule more = g_.rule();
      const Grammar::Part again = g_.refer(more);
      g_.define(more, g_.choice({after, g_.sequence({line, other, again})}));
      first = g_.choice({first, g_.sequence({other, again})});
      after = again;
    }
    for (size_t i = fields.size(); i-- > 0;) {
      const ObjectField& field = fields[i];
      check_name(field.name, field.path);
      const Grammar::Part one = parameter(schemas, g_.text(field.name), field.schema, field.path);
      const Grammar::Rule after_rule = g_.rule(), first_rule = g_.rule();
      std::vector<Grammar::Part> afters = {g_.sequence({line, one, after})};
      std::vector<Grammar::Part> firsts = {g_.sequence({one, after})};
      if (!field.required) {
        afters.push_back(after);
        firsts.push_back(first);
      }
      g_.define(after_rule, g_.choice(afters));
      g_.define(first_rule, g_.choice(firsts));
      after = g_.refer(after_rule);
      first = g_.refer(first_rule);
    }
    return first;
  }
  Grammar::Part raw_end() override { return text(protocol::kParameterEnd); }

 private:
  Grammar::Part text(std::string_view protocol_text) { return g_.text(marked(protocol_text)); }

  Grammar::Part parameter(SchemaGrammar& schemas, Grammar::Part name, const Json* schema, const std::string& path) {
    const Grammar::Part raw = schemas.value(*schema, ValueForm::kRawString, path);
    const Grammar::Part json = schemas.value(*schema, ValueForm::kJsonNotString, path);
    return g_.sequence({text(protocol::kParameterBegin), name,
                        g_.choice({g_.sequence({text(protocol::kParameterString), raw}),
                                   g_.sequence({text(protocol::kParameterJson), json, raw_end()})})});
  }

  // A name that no field has.
  Grammar::Part other_name(const std::vector<ObjectField>& fields) {
    const CharSet letters = CharSet('0', '9').add('A', 'Z').add('a', 'z').add('_').add('.').add('-');
    std::vector<std::string> taken;
    for (const ObjectField& field : fields) taken.push_back(field.name);
    return text_except(g_, taken, letters, kMaxOtherName);
  }

  Grammar& g_;
  const Profile profile_;
};

struct Function {
  std::string name;
  Grammar::Part body = 0;
};

Grammar::Part call_of(Grammar& g, const Json& function, const std::string& name, const std::string& path,
                      Profile profile) {
  const Json* schema = function.find("parameters");
  Json none = Json::object();
  none.append("type", Json::string("object"));
  const SchemaDocument document(schema == nullptr || schema->is_null() ? none : *schema, path + ".parameters");
  JsonGrammar json(g);
  ParameterList list(g, profile);
  SchemaGrammar schemas(json, document, &list);
  return g.sequence({g.text(marked(protocol::kInvokeBegin) + name + std::string(protocol::kInvokeNameEnd)),
                     schemas.value(document.root(), ValueForm::kParameters, document.what())});
}

}  // namespace

Grammar::Part tool_grammar(Grammar& g, const std::vector<Json>& functions, const ToolGrammarOptions& options) {
  if (functions.empty()) fail(Status::kInvalidArgument, "tools: a call is wanted, and there is no function to call");
  if (functions.size() > kMaxFunctions) {
    fail(Status::kInvalidArgument, "tools: {} functions, at most {} expected", functions.size(), kMaxFunctions);
  }
  std::vector<std::string> names;
  std::vector<Grammar::Part> calls;
  for (size_t i = 0; i < functions.size(); ++i) {
    const std::string path = fmt::format("tools[{}].function", i);
    const JsonAt function(&functions[i], path, Status::kInvalidArgument);
    const std::string& name = function.object().at("name").string();
    check_name(name, path + ".name");
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      fail(Status::kInvalidArgument, "{}.name: there are two functions \"{}\"", path, name);
    }
    names.push_back(name);
    if (!options.forced_tool.empty() && name != options.forced_tool) continue;
    calls.push_back(call_of(g, functions[i], name, path, options.profile));
  }
  if (calls.empty()) {
    fail(Status::kInvalidArgument, "tool_choice: there is no function \"{}\"", options.forced_tool);
  }
  const Grammar::Rule call_rule = g.rule();
  g.define(call_rule, g.choice(calls));
  const Grammar::Part call = g.refer(call_rule);
  Grammar::Part block = call;
  if (options.forced_tool.empty()) block = g.sequence({call, g.many(g.sequence({g.text("\n"), call}))});
  block = g.sequence({block, g.text(marked(protocol::kToolCallsEnd))});
  if (!options.starts_inside) block = g.sequence({g.text(marked(protocol::kToolCallsBegin)), block});
  if (options.after_text) block = g.sequence({g.many(g.set(CharSet::all())), g.optional(block)});
  return block;
}

}  // namespace dsv4
