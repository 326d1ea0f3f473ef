// dsv4 render: the exact text of the prompt that a conversation becomes.
#include <string>

#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"

namespace cli {

void command_render(const Arguments& arguments) {
  ModelFlags model_flags;
  std::string file;
  dsv4_render_options render = DSV4_RENDER_OPTIONS_INIT;
  Options options(
      "render", "MODEL FILE.json [options]",
      "Prints the prompt of a conversation exactly as the model would read it, and nothing else: no newline is added. "
      "FILE.json is a list of messages in OpenAI's shape, or an object with `messages` and `tools`.");
  options.required("MODEL", model_flags.folder);
  options.required("FILE.json", file);
  add_think_flag(options, render.reasoning);
  add_profile_flag(options, model_flags);
  if (!options.parse(arguments)) return;

  const Conversation conversation = load_conversation(file);
  model_flags.threads = 1;  // nothing is computed
  const Model model = open_model(model_flags);
  size_t length = 0;
  check([&](dsv4_error** error) {
    return dsv4_render(model.get(), conversation.get(), &render, nullptr, 0, &length, error);
  });
  std::string text(length, '\0');
  check([&](dsv4_error** error) {
    return dsv4_render(model.get(), conversation.get(), &render, text.data(), text.size(), &length, error);
  });
  write_standard_output(text);
}

}  // namespace cli
