// Lines of stdin for a program with one thread: it reads what is there and never waits for the rest of a line.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <deque>
#include <string>

class LineInput {
 public:
  bool is_open() const { return open_ || !lines_.empty(); }

  // Takes in what is there, after waiting up to `timeout_ms` for it (-1: as long as it takes).
  void read(int timeout_ms) {
    pollfd wanted = {STDIN_FILENO, POLLIN, 0};
    if (!open_ || !lines_.empty() || ::poll(&wanted, 1, timeout_ms) <= 0) return;
    char bytes[4096];
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
    open_ = n > 0;
    if (n > 0) partial_.append(bytes, static_cast<size_t>(n));
    for (size_t end; (end = partial_.find('\n')) != std::string::npos; partial_.erase(0, end + 1))
      if (end > 0) lines_.push_back(partial_.substr(0, end));
  }

  const std::deque<std::string>& waiting() const { return lines_; }

  bool next(std::string& line) {
    if (lines_.empty()) return false;
    line = std::move(lines_.front());
    lines_.pop_front();
    return true;
  }

 private:
  std::string partial_;
  std::deque<std::string> lines_;
  bool open_ = true;
};
