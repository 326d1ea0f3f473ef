// See chat_prompt.h.
#include "chat_prompt.h"

#include <cinttypes>
#include <cstdio>
#include <vector>

#include "answer.h"
#include "client.h"
#include "model_flags.h"
#include "terminal.h"

namespace cli {
namespace {

constexpr int kInterruptsInATurn = 2;  // the first cancels; a third one ends a program that hangs

// Nothing: the person wants to leave. At the prompt one Ctrl-C only drops the line.
std::optional<std::string> next_line() {
  for (bool warned = false;; warned = true) {
    clear_interrupts();
    std::fputs("> ", stderr);
    std::optional<std::string> line = read_line();
    if (line) return line;
    std::fputc('\n', stderr);
    if (interrupts() == 0 || warned) return std::nullopt;
    std::fputs("Ctrl-C once more, Ctrl-D or /quit leaves.\n", stderr);
  }
}

// "first rest of it" -> "first", "rest of it"
std::pair<std::string, std::string> split_word(const std::string& text) {
  const size_t end = text.find(' ');
  const size_t next = text.find_first_not_of(' ', end);
  return {text.substr(0, end), next == std::string::npos ? "" : text.substr(next)};
}

std::string plural(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

ChatPrompt::ChatPrompt(Chat& chat) : chat_(chat) { add_commands(); }

void ChatPrompt::add_commands() {
  using Text = const std::string&;
  commands_.action("/help", "", "this list", [this](Text) {
    commands_.print_table(stderr);
    std::fputs("A message that begins with a slash is typed with two.\n", stderr);
  });
  commands_.action("/think", "MODE", "reasoning: " + modes(), [this](Text name) { think(name); });
  add_sampling_flags(commands_, "/", chat_.turn());
  commands_.action("/system", "[TEXT]", "another system prompt; without TEXT none",
                   [this](Text text) { chat_.set_system(text); });
  commands_.action("/tools", "[FILE]", "tools from a JSON list; without FILE: which there are",
                   [this](Text path) { tools(path); });
  add_tool_choice_flag(commands_, "/", chat_.turn().tool_choice);
  commands_.action("/tool", "[CALL TEXT]",
                   "the result of an open call, by its number or id; when all results are there the model goes on. "
                   "Without CALL: which calls are open",
                   [this](Text text) { text.empty() ? list_open_calls() : give_result(text); });
  commands_.action("/save", "FILE", "write the conversation as JSON", [this](Text path) { chat_.save(path); });
  commands_.action("/load", "FILE", "go on with the conversation in FILE", [this](Text path) { load(path); });
  commands_.action("/undo", "", "take the last turn back", [this](Text) {
    if (!chat_.undo()) std::fputs("There is no turn to take back.\n", stderr);
  });
  commands_.action("/clear", "", "begin again: the system prompt, the tools and the settings stay",
                   [this](Text) { chat_.clear(); });
  commands_.action("/show", "", "the prompt exactly as the model reads it",
                   [this](Text) { write_standard_output(chat_.prompt() + "\n"); });
  commands_.action("/stats", "", "the last turn, and what the session holds", [this](Text) { show_stats(); });
  commands_.action("/quit", "", "leave; so do Ctrl-D, and Ctrl-C twice at the prompt", [this](Text) { over_ = true; });
}

void ChatPrompt::talk() {
  allow_interrupts(kInterruptsInATurn);
  std::fputs("Type a message. /help lists the commands; Ctrl-C stops an answer.\n", stderr);
  while (!over_) {
    const std::optional<std::string> line = next_line();
    if (!line) return;
    if (line->empty()) continue;
    try {
      if (line->front() != '/')
        send(*line);
      else if (line->starts_with("//"))
        send(line->substr(1));
      else
        obey(*line);
    } catch (const UsageError& error) {
      std::fprintf(stderr, "dsv4: %s\n", error.what());
    } catch (const Failure& failure) {  // the conversation goes on
      std::fprintf(stderr, "dsv4: %s (%s)\n", failure.what(), dsv4_status_name(failure.status()));
      if (failure.status() == DSV4_E_CONTEXT_FULL)
        std::fputs("/clear begins a new conversation, /undo takes the last turn back.\n", stderr);
    }
  }
}

void ChatPrompt::obey(const std::string& line) {
  const auto [name, value] = split_word(line);
  if (!commands_.has(name)) {
    std::fprintf(stderr, "%s is not a command. /help lists them.\n", name.c_str());
    return;
  }
  commands_.apply(name, value);
}

void ChatPrompt::send(const std::string& text) {
  const size_t open = chat_.open_calls().size();
  if (open > 0) std::fprintf(stderr, "(without the result of %s)\n", plural(open, "tool call").c_str());
  chat_.send(text);
  list_open_calls();
}

void ChatPrompt::give_result(const std::string& text) {
  const auto [call, result] = split_word(text);
  if (result.empty()) throw UsageError("/tool needs the call's number or id, and its result");
  chat_.give_result(call, result);
  list_open_calls();
}

void ChatPrompt::list_open_calls() {
  for (const OpenCall& call : chat_.open_calls())
    std::fprintf(stderr, "Call %zu, %s (id %s), waits for its result: /tool %zu TEXT\n", call.number, call.name.c_str(),
                 call.id.c_str(), call.number);
}

void ChatPrompt::load(const std::string& path) {
  chat_.load(path);
  std::fprintf(stderr, "%s.\n", plural(chat_.message_count(), "message").c_str());
  list_open_calls();
}

void ChatPrompt::tools(const std::string& path) {
  if (!path.empty()) chat_.set_tools(path);
  std::string names;
  for (const std::string& name : chat_.tool_names()) names += (names.empty() ? "" : ", ") + name;
  std::fprintf(stderr, "Tools: %s\n", names.empty() ? "none" : names.c_str());
}

// "none, high, max": what this checkpoint's profile has.
std::string ChatPrompt::modes() const {
  std::string text;
  for (const auto& [name, mode] : kReasoningChoices)
    if ((chat_.info().reasoning_modes >> mode & 1) != 0) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void ChatPrompt::think(const std::string& name) {
  for (const auto& [candidate, mode] : kReasoningChoices) {
    if (candidate == name && (chat_.info().reasoning_modes >> mode & 1) != 0) {
      chat_.turn().reasoning = mode;
      return;
    }
  }
  throw UsageError("/think takes one of " + modes() + ", not '" + name + "'");
}

void ChatPrompt::show_stats() {
  if (chat_.last_turn()) print_stats(*chat_.last_turn(), chat_.turn().temperature == 0);
  const dsv4_session_info info = chat_.session_info();
  std::fprintf(stderr, "%s; %" PRIu64 " tokens, %" PRIu64 " of them evaluated, of a context of %" PRIu64 "; state %s\n",
               plural(chat_.message_count(), "message").c_str(), info.tokens, info.evaluated, info.context,
               bytes_text(info.state_bytes).c_str());
}

}  // namespace cli
