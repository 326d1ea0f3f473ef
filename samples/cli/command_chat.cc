// dsv4 chat: a conversation at the terminal, or one message from a pipe.
#include <optional>
#include <string>

#include "chat.h"
#include "chat_prompt.h"
#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "terminal.h"
#include "turn_flags.h"

namespace cli {

void command_chat(const Arguments& arguments) {
  ModelFlags model_flags;
  StartFlags start;
  TurnFlags turn;
  bool hide_thinking = false;
  Options options("chat", "MODEL [options]",
                  "A conversation at the terminal, with the reasoning shown; /help there lists its commands. Where "
                  "standard input is not a terminal, the whole of it is one message, which is answered. With "
                  "--messages the chat continues the conversation of the file.");
  options.required("MODEL", model_flags.folder);
  add_turn_flags(options, model_flags, start, turn);
  options.flag("--hide-thinking", "do not show the reasoning", hide_thinking);
  if (!options.parse(arguments)) return;

  const bool talks = stdin_is_terminal();
  if (talks) turn.show_thinking = !hide_thinking;
  std::optional<std::string> message;
  if (!talks) message = read_standard_input();
  const Conversation beginning = start_conversation(start);  // what is wrong with it should not have to wait
  const Model model = open_model(model_flags);
  Chat chat(model.get(), beginning.get(), start.context, turn);
  if (message)
    chat.send(*message);
  else
    ChatPrompt(chat).talk();
}

}  // namespace cli
