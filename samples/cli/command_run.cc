// dsv4 run: one prompt, one answer.
#include <optional>
#include <string>

#include "answer.h"
#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "turn_flags.h"

namespace cli {

void command_run(const Arguments& arguments) {
  ModelFlags model_flags;
  StartFlags start;
  TurnFlags turn;
  std::optional<std::string> prompt;
  Options options("run", "MODEL [\"prompt\"] [options]",
                  "Answers one prompt: the answer on standard output, timings on standard error. The prompt is read "
                  "from standard input where it is - or missing. With --messages it follows the conversation of the "
                  "file, and may be missing: the file's last message is then answered.");
  options.required("MODEL", model_flags.folder);
  options.optional("prompt", prompt);
  add_turn_flags(options, model_flags, start, turn);
  if (!options.parse(arguments)) return;

  // The input first: what is wrong with it should not have to wait for a large checkpoint.
  if (prompt ? *prompt == "-" : !start.messages) prompt = read_standard_input();
  const Conversation conversation = start_conversation(start);
  if (prompt) {
    check([&](dsv4_error** error) {
      return dsv4_conversation_add(conversation.get(), DSV4_ROLE_USER, prompt->data(), prompt->size(), error);
    });
  }

  const Model model = open_model(model_flags);
  dsv4_session_options session_options = DSV4_SESSION_OPTIONS_INIT;
  session_options.context = start.context;
  const Session session = create_session(model.get(), session_options);
  check([&](dsv4_error** error) { return dsv4_session_set_conversation(session.get(), conversation.get(), error); });
  const dsv4_generate_stats stats = answer(model.get(), session.get(), turn);
  if (stats.reason == DSV4_DONE_CANCELLED) throw Failure(DSV4_E_CANCELLED, "interrupted");
}

}  // namespace cli
