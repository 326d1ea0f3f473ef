// The prompt of dsv4 chat: what a person types becomes a message or, after a slash, a command. Line editing is the
// terminal's own.
#pragma once

#include <optional>
#include <string>

#include "chat.h"
#include "options.h"

namespace cli {

class ChatPrompt {
 public:
  explicit ChatPrompt(Chat& chat);
  ChatPrompt(const ChatPrompt&) = delete;
  ChatPrompt& operator=(const ChatPrompt&) = delete;

  // Until the end of the input, /quit, or Ctrl-C twice at the prompt.
  void talk();

 private:
  void add_commands();
  void obey(const std::string& line);
  void send(const std::string& text);
  void give_result(const std::string& text);
  void list_open_calls();
  void load(const std::string& path);
  void tools(const std::string& path);
  void think(const std::string& name);
  void show_stats();
  std::string modes() const;

  Chat& chat_;
  Options commands_{"", "", ""};
  bool over_ = false;
};

}  // namespace cli
