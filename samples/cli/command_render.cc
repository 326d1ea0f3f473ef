// dsv4 render: the prompt that a request becomes, as text or as token ids.
#include <optional>
#include <string>
#include <vector>

#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "request.h"
#include "turn_flags.h"

namespace cli {
namespace {

struct RenderFlags {
  std::string file;
  std::optional<std::string> tools;
  std::string tool_choice;
  bool ids = false;
  bool json = false;
};

// The request of the file; what stands on the command line wins.
Conversation request_of(const RenderFlags& flags) {
  Conversation conversation = load_conversation(flags.file);
  if (!flags.tools && flags.tool_choice.empty()) return conversation;
  Json request = to_json(conversation.get());
  if (flags.tools) request["tools"] = load_tools(*flags.tools);
  if (!flags.tool_choice.empty()) request["tool_choice"] = tool_choice_json(flags.tool_choice);
  return from_json(request);
}

std::string ids_line(const std::vector<int32_t>& ids) {
  std::string line;
  for (const int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  return line + "\n";
}

}  // namespace

void command_render(const Arguments& arguments) {
  ModelFlags model_flags;
  RenderFlags flags;
  dsv4_render_options render = DSV4_RENDER_OPTIONS_INIT;
  Options options(
      "render", "MODEL FILE.json [options]",
      "Prints the prompt of a request exactly as the model would read it, and nothing else: no newline is added. "
      "FILE.json is a list of messages in OpenAI's shape, or an object with `messages` and, optionally, `tools`, "
      "`tool_choice`, `response_format`, `thinking`, `reasoning_effort`. Options win over what the file says.");
  options.required("MODEL", model_flags.folder);
  options.required("FILE.json", flags.file);
  add_think_flag(options, render.reasoning);
  add_profile_flag(options, model_flags);
  add_tools_flag(options, flags.tools);
  add_tool_choice_flag(options, "--", flags.tool_choice);
  options.flag("--ids", "print the prompt's token ids on one line instead", flags.ids);
  options.flag("--json", "print one JSON object instead: prompt and ids", flags.json);
  if (!options.parse(arguments)) return;
  if (flags.ids && flags.json) throw UsageError("--ids or --json, not both");

  const Conversation conversation = request_of(flags);
  model_flags.threads = 1;  // nothing is computed
  const Model model = open_model(model_flags);
  std::string text;
  std::vector<int32_t> ids;
  if (!flags.ids) {
    text = fetch<std::string>([&](char* out, size_t capacity, size_t* length, dsv4_error** error) {
      return dsv4_render(model.get(), conversation.get(), &render, out, capacity, length, error);
    });
  }
  if (flags.ids || flags.json) {
    ids = fetch<std::vector<int32_t>>([&](int32_t* out, size_t capacity, size_t* count, dsv4_error** error) {
      return dsv4_render_tokens(model.get(), conversation.get(), &render, out, capacity, count, error);
    });
  }
  if (flags.json)
    write_standard_output(dump(Json{{"prompt", text}, {"ids", ids}}) + "\n");
  else
    write_standard_output(flags.ids ? ids_line(ids) : text);
}

}  // namespace cli
