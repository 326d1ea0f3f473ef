// dsv4 run: one prompt, one answer.
#include <optional>
#include <string>

#include "answer.h"
#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "terminal.h"

namespace cli {
namespace {

void add_message(dsv4_conversation* conversation, int32_t role, const std::string& text) {
  check([&](dsv4_error** error) { return dsv4_conversation_add(conversation, role, text.data(), text.size(), error); });
}

Conversation empty_conversation() {
  dsv4_conversation* conversation = nullptr;
  check([&](dsv4_error** error) { return dsv4_conversation_create(&conversation, error); });
  return Conversation(conversation);
}

Conversation build_conversation(const TurnFlags& turn, const std::optional<std::string>& prompt) {
  Conversation conversation = turn.messages ? load_conversation(*turn.messages) : empty_conversation();
  if (turn.system) add_message(conversation.get(), DSV4_ROLE_SYSTEM, *turn.system);
  if (prompt) add_message(conversation.get(), DSV4_ROLE_USER, *prompt);
  return conversation;
}

}  // namespace

void command_run(const Arguments& arguments) {
  ModelFlags model_flags;
  TurnFlags turn;
  std::optional<std::string> prompt;
  Options options("run", "MODEL [\"prompt\"] [options]",
                  "Answers one prompt: the answer on standard output, timings on standard error. The prompt is read "
                  "from standard input where it is - or missing. With --messages it follows the conversation of the "
                  "file, and may be missing: the file's last message is then answered.");
  options.required("MODEL", model_flags.folder);
  options.optional("prompt", prompt);
  add_turn_flags(options, model_flags, turn);
  if (!options.parse(arguments)) return;
  if (turn.system && turn.messages) throw UsageError("--system goes into the file of --messages");

  // The input first: what is wrong with it should not have to wait for a large checkpoint.
  if (prompt ? *prompt == "-" : !turn.messages) prompt = read_standard_input();
  const Conversation conversation = build_conversation(turn, prompt);

  const Model model = open_model(model_flags);
  dsv4_session_options session_options = DSV4_SESSION_OPTIONS_INIT;
  session_options.context = turn.context;
  const Session session = create_session(model.get(), session_options);
  check([&](dsv4_error** error) { return dsv4_session_set_conversation(session.get(), conversation.get(), error); });
  if (answer(session.get(), turn).reason == DSV4_DONE_CANCELLED) throw Failure(DSV4_E_CANCELLED, "interrupted");
}

}  // namespace cli
