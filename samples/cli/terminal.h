// What a program owes a person at a terminal: Ctrl-C that is noticed, a line of progress where something takes more
// than a second, no colour codes in a file.
#pragma once

#include <dsv4.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace cli {

// The arguments after the program's name, in UTF-8. On Windows main() gets them in another encoding, and the standard
// streams change line ends unless told not to: this tells them.
std::vector<std::string> program_arguments(int argc, char** argv);

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();
bool stdout_has_colours();  // a terminal, and its owner has not set NO_COLOR

// A broken pipe becomes a failed write. Ctrl-C is counted; a second one, before clear_interrupts(), ends the process
// with exit code 130 whatever it is doing. A program that people talk to allows more.
void handle_signals();
void allow_interrupts(int count);
int interrupts();
void clear_interrupts();

// One line of standard input without its newline; nothing at its end or on Ctrl-C. Reads ahead: nobody else may read it.
std::optional<std::string> read_line();

// "dsv4: opening: 1200 of 69187 tensors", on standard error, rewritten in place: only on a terminal, and only once it
// has taken a second.
class Progress {
 public:
  Progress(std::string what, std::string unit) : what_(std::move(what)), unit_(std::move(unit)) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  void update(uint64_t done, uint64_t total);
  void tick();  // seconds gone, where there is nothing to count
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool is_due();

  const std::string what_;
  const std::string unit_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_ + std::chrono::seconds(1);
  bool shown_ = false;
};

// While it lives, Ctrl-C cancels the call that is running on the session: from a thread of its own, because the event
// callback of a long prefill comes by only once per chunk, and a signal handler may not call the library.
class CancelOnInterrupt {
 public:
  explicit CancelOnInterrupt(dsv4_session* session);
  CancelOnInterrupt(const CancelOnInterrupt&) = delete;
  CancelOnInterrupt& operator=(const CancelOnInterrupt&) = delete;
  ~CancelOnInterrupt();

 private:
  std::mutex mutex_;
  std::condition_variable over_changed_;
  bool over_ = false;
  std::thread watcher_;
};

}  // namespace cli
