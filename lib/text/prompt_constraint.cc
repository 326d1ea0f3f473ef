#include "lib/text/prompt_constraint.h"

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {
namespace {

void read_format(const Json& format, ConstraintSpec& spec) {
  const Json* type = format.find("type");
  const std::string_view name = type != nullptr && type->is_string() ? std::string_view(type->text()) : "";
  if (name == "text") return;
  if (name == "json_object") {
    spec.kind = ConstraintSpec::Kind::kJsonObject;
    return;
  }
  spec.kind = ConstraintSpec::Kind::kJsonSchema;
  if (name == "json_schema") {
    const JsonAt at(&format, "response_format", Status::kInvalidArgument);
    spec.text = at.at("json_schema").object().at("schema").object().value().dump();
  } else {
    spec.text = format.dump();  // a message may hold the bare schema
  }
}

}  // namespace

ConstraintSpec constraint_for(const Prompt& prompt) {
  ConstraintSpec spec;
  spec.profile = prompt.profile;
  if (prompt.response_format.has_value()) read_format(*prompt.response_format, spec);
  if (prompt.starts_in_tool_calls) {
    spec.tools = ConstraintSpec::Tools::kRequired;
    spec.starts_in_tool_calls = true;
    spec.forced_tool = prompt.forced_tool;
  } else if (!prompt.tools.empty()) {
    spec.tools = ConstraintSpec::Tools::kAllowed;
  }
  spec.functions = prompt.tools;
  return spec;
}

}  // namespace dsv4
