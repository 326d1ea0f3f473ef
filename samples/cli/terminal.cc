// See terminal.h.
#include "terminal.h"

#include <atomic>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

namespace cli {
namespace {

std::atomic<int> interrupt_count{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler touches it");

#ifdef _WIN32
bool is_terminal(std::FILE* stream) { return _isatty(_fileno(stream)) != 0; }
#else
bool is_terminal(std::FILE* stream) { return isatty(fileno(stream)) != 0; }
#endif

extern "C" void on_interrupt(int signal) {
#ifdef _WIN32
  std::signal(signal, on_interrupt);  // Windows resets the handler
#else
  (void)signal;
#endif
  if (interrupt_count.fetch_add(1) > 0) std::_Exit(130);
}

}  // namespace

bool stdin_is_terminal() { return is_terminal(stdin); }
bool stdout_is_terminal() { return is_terminal(stdout); }
bool stderr_is_terminal() { return is_terminal(stderr); }

void handle_signals() {
#ifdef _WIN32
  std::signal(SIGINT, on_interrupt);
#else
  std::signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = 0;  // no SA_RESTART: a read from the terminal must come back
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
#endif
}

int interrupts() { return interrupt_count.load(); }
void clear_interrupts() { interrupt_count.store(0); }

std::optional<std::string> read_line() {
  std::string line;
  int c = 0;
  while ((c = std::getc(stdin)) != EOF && c != '\n') line.push_back(static_cast<char>(c));
  if (interrupts() > 0 || (c == EOF && line.empty())) return std::nullopt;
  return line;
}

bool Progress::is_due() {
  static const bool wanted = stderr_is_terminal();
  const Clock::time_point now = Clock::now();
  if (!wanted || now < next_) return false;
  next_ = now + std::chrono::milliseconds(100);
  shown_ = true;
  return true;
}

void Progress::update(uint64_t done, uint64_t total) {
  if (!is_due()) return;
  std::fprintf(stderr, "\r\033[Kdsv4: %s: %" PRIu64 " of %" PRIu64 " %s", what_.c_str(), done, total, unit_.c_str());
  std::fflush(stderr);
}

void Progress::tick() {
  if (!is_due()) return;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - start_).count();
  std::fprintf(stderr, "\r\033[Kdsv4: %s: %lld s", what_.c_str(), static_cast<long long>(seconds));
  std::fflush(stderr);
}

void Progress::clear() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

CancelOnInterrupt::CancelOnInterrupt(dsv4_session* session)
    : watcher_([this, session] {
        std::unique_lock lock(mutex_);
        // Said again until the call is over: a cancel that comes before the call has begun does nothing.
        while (!over_changed_.wait_for(lock, std::chrono::milliseconds(20), [this] { return over_; }))
          if (interrupts() > 0) dsv4_session_cancel(session);
      }) {}

CancelOnInterrupt::~CancelOnInterrupt() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  over_changed_.notify_one();
  watcher_.join();
}

}  // namespace cli
