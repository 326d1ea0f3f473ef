// dsv4 chat: a conversation at the terminal, or one message from a pipe. Line editing is the terminal's own.
#include <cstdio>
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

class Chat {
 public:
  Chat(dsv4_model* model, const TurnFlags& turn) : info_(model_info(model)), turn_(turn) {
    if (turn_.messages) history_ = load_conversation(*turn_.messages);
    dsv4_session_options options = DSV4_SESSION_OPTIONS_INIT;
    options.context = turn_.context;
    session_ = create_session(model, options);
    begin();
  }

  void send(const std::string& text) {
    append(DSV4_ROLE_USER, text);
    answer(session_.get(), turn_);
  }

  // Until the end of the input, /quit, or Ctrl-C at the prompt.
  void talk() {
    std::fputs("Type a message. /help lists the commands; Ctrl-C stops an answer, and leaves at the prompt.\n", stderr);
    for (;;) {
      clear_interrupts();
      std::fputs("> ", stderr);
      const std::optional<std::string> line = read_line();
      if (!line) {
        std::fputc('\n', stderr);
        return;
      }
      if (line->empty()) continue;
      if (*line == "/quit") return;
      try {
        if (line->front() == '/')
          obey(*line);
        else
          send(*line);
      } catch (const Failure& failure) {  // the conversation goes on
        std::fprintf(stderr, "dsv4: %s (%s)\n", failure.what(), dsv4_status_name(failure.status()));
        if (failure.status() == DSV4_E_CONTEXT_FULL) std::fputs("/reset begins a new conversation.\n", stderr);
      }
    }
  }

 private:
  void append(int32_t role, const std::string& text) {
    check([&](dsv4_error** error) {
      return dsv4_session_append_message(session_.get(), role, text.data(), text.size(), error);
    });
  }

  // What stands before the first message that is typed.
  void begin() {
    if (history_)
      check([&](dsv4_error** error) { return dsv4_session_set_conversation(session_.get(), history_.get(), error); });
    if (turn_.system) append(DSV4_ROLE_SYSTEM, *turn_.system);
  }

  void obey(const std::string& line) {
    if (line == "/help") {
      std::fprintf(stderr,
                   "/reset          begin a new conversation\n"
                   "/think MODE     %s\n"
                   "/quit           leave (so does Ctrl-D)\n",
                   modes().c_str());
    } else if (line == "/reset") {
      check([&](dsv4_error** error) { return dsv4_session_clear(session_.get(), error); });
      begin();
    } else if (line == "/think" || line.starts_with("/think ")) {
      think(line.size() > 7 ? line.substr(7) : "");
    } else {
      std::fprintf(stderr, "%s is not a command. /help lists them.\n", line.c_str());
    }
  }

  bool has_mode(int32_t mode) const { return (info_.reasoning_modes >> mode & 1) != 0; }

  // "none, high or max": what this checkpoint's profile has.
  std::string modes() const {
    std::string text;
    for (const auto& [name, mode] : kReasoningChoices)
      if (has_mode(mode)) text += (text.empty() ? "" : ", ") + name;
    return text;
  }

  void think(const std::string& name) {
    for (const auto& [candidate, mode] : kReasoningChoices) {
      if (candidate == name && has_mode(mode)) {
        turn_.reasoning = mode;
        return;
      }
    }
    std::fprintf(stderr, "/think takes one of: %s\n", modes().c_str());
  }

  const dsv4_model_info info_;
  TurnFlags turn_;
  Conversation history_;
  Session session_;
};

}  // namespace

void command_chat(const Arguments& arguments) {
  ModelFlags model_flags;
  TurnFlags turn;
  Options options("chat", "MODEL [options]",
                  "A conversation at the terminal. Commands there: /reset, /think MODE, /help, /quit. Where standard "
                  "input is not a terminal, the whole of it is one message, which is answered. With --messages the "
                  "chat continues the conversation of the file.");
  options.required("MODEL", model_flags.folder);
  add_turn_flags(options, model_flags, turn);
  if (!options.parse(arguments)) return;
  if (turn.system && turn.messages) throw UsageError("--system goes into the file of --messages");

  std::optional<std::string> message;
  if (!stdin_is_terminal()) message = read_standard_input();
  const Model model = open_model(model_flags);
  Chat chat(model.get(), turn);
  if (message)
    chat.send(*message);
  else
    chat.talk();
}

}  // namespace cli
