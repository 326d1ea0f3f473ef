// dsv4 tokenize: the token ids of a text, on one line.
#include <optional>
#include <string>
#include <vector>

#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"

namespace cli {

static std::vector<int32_t> tokenize(const dsv4_model* model, const std::string& text, uint32_t flags) {
  std::vector<int32_t> ids(text.size() + 1);  // a token is at least a byte
  size_t count = 0;
  check([&](dsv4_error** error) {
    return dsv4_tokenize(model, text.data(), text.size(), flags, ids.data(), ids.size(), &count, error);
  });
  ids.resize(count);
  return ids;
}

void command_tokenize(const Arguments& arguments) {
  ModelFlags model_flags;
  std::optional<std::string> text;
  std::optional<std::string> file;
  bool special = false;
  Options options("tokenize", "MODEL [\"text\"] [options]",
                  "Prints the token ids of a text on one line, separated by blanks. The text is an argument, a file "
                  "or, where both are missing, standard input. Nothing is added to it, no BOS and no newline.");
  options.required("MODEL", model_flags.folder);
  options.optional("text", text);
  options.text("--file", "F", "read the text from file F", file);
  options.flag("--special", "control tokens such as <think> are matched in the text", special);
  if (!options.parse(arguments)) return;
  if (text && file) throw UsageError("a text or --file, not both");

  if (!text || *text == "-") text = file ? read_file(*file) : read_standard_input();
  model_flags.threads = 1;  // nothing is computed
  const Model model = open_model(model_flags);
  std::string line;
  for (const int32_t id : tokenize(model.get(), *text, special ? DSV4_TEXT_SPECIAL : 0))
    line += (line.empty() ? "" : " ") + std::to_string(id);
  write_standard_output(line + "\n");
}

}  // namespace cli
