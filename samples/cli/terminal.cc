// See terminal.h.
#include "terminal.h"

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <utility>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <windows.h>
// after windows.h
#include <shellapi.h>
#else
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#endif

namespace cli {
namespace {

std::atomic<int> interrupt_count{0};
std::atomic<int> interrupts_allowed{1};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler touches it");

#ifdef _WIN32
bool is_terminal(std::FILE* stream) { return _isatty(_fileno(stream)) != 0; }

std::string utf8(const wchar_t* text, int length) {
  const int bytes = WideCharToMultiByte(CP_UTF8, 0, text, length, nullptr, 0, nullptr, nullptr);
  std::string out(static_cast<size_t>(bytes), '\0');
  WideCharToMultiByte(CP_UTF8, 0, text, length, out.data(), bytes, nullptr, nullptr);
  return out;
}

// A console gives what was typed as UTF-16 only; as bytes, letters beyond ASCII are lost. "": the end, or Ctrl-C.
std::string read_console() {
  wchar_t text[4096];
  DWORD count = 0;
  const DWORD room = static_cast<DWORD>(std::size(text));
  SetLastError(ERROR_SUCCESS);
  if (!ReadConsoleW(GetStdHandle(STD_INPUT_HANDLE), text, room, &count, nullptr) || count == 0) {
    // Ctrl-C: its handler runs in a thread of its own, which may come after this.
    const bool aborted = GetLastError() == ERROR_OPERATION_ABORTED;
    for (int i = 0; aborted && interrupts() == 0 && i < 100; ++i) Sleep(10);
    return "";
  }
  return text[0] == 0x1a ? "" : utf8(text, static_cast<int>(count));  // Ctrl-Z
}

std::string read_bytes() {
  char bytes[4096];
  const int count = _read(_fileno(stdin), bytes, sizeof bytes);
  return {bytes, static_cast<size_t>(count > 0 ? count : 0)};
}
#else
bool is_terminal(std::FILE* stream) { return isatty(fileno(stream)) != 0; }

// The handler writes a byte into it, read_line waits for it: a signal that comes just before the wait, or to another
// thread, ends the wait all the same.
int wake_pipe[2] = {-1, -1};
#endif

extern "C" void on_interrupt(int signal) {
#ifdef _WIN32
  std::signal(signal, on_interrupt);  // Windows resets the handler
#else
  (void)signal;
  const int error = errno;
  (void)!write(wake_pipe[1], "", 1);
  errno = error;
#endif
  if (interrupt_count.fetch_add(1) >= interrupts_allowed.load()) std::_Exit(130);
}

}  // namespace

#ifdef _WIN32
std::vector<std::string> program_arguments(int, char**) {
  for (std::FILE* stream : {stdin, stdout, stderr}) _setmode(_fileno(stream), _O_BINARY);
  if (stdout_is_terminal() || stderr_is_terminal()) SetConsoleOutputCP(CP_UTF8);
  for (const DWORD output : {STD_OUTPUT_HANDLE, STD_ERROR_HANDLE}) {  // colours, lines rewritten in place
    DWORD mode = 0;
    if (GetConsoleMode(GetStdHandle(output), &mode))
      SetConsoleMode(GetStdHandle(output), mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
  }
  int count = 0;
  wchar_t** const words = CommandLineToArgvW(GetCommandLineW(), &count);
  std::vector<std::string> out;
  for (int i = 1; words != nullptr && i < count; ++i) out.push_back(utf8(words[i], lstrlenW(words[i])));
  LocalFree(words);
  return out;
}
#else
std::vector<std::string> program_arguments(int argc, char** argv) {
  return argc > 1 ? std::vector<std::string>(argv + 1, argv + argc) : std::vector<std::string>();
}
#endif

bool stdin_is_terminal() { return is_terminal(stdin); }
bool stdout_is_terminal() { return is_terminal(stdout); }
bool stderr_is_terminal() { return is_terminal(stderr); }

bool stdout_has_colours() {
  const char* const no_color = std::getenv("NO_COLOR");
  return stdout_is_terminal() && (no_color == nullptr || *no_color == '\0');
}

void handle_signals() {
#ifdef _WIN32
  std::signal(SIGINT, on_interrupt);
#else
  std::signal(SIGPIPE, SIG_IGN);
  if (pipe(wake_pipe) == 0)
    for (const int end : wake_pipe) fcntl(end, F_SETFL, O_NONBLOCK);
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = 0;  // no SA_RESTART: a read from the terminal must come back
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
#endif
}

int interrupts() { return interrupt_count.load(); }
void allow_interrupts(int count) { interrupts_allowed.store(count); }

#ifdef _WIN32
void clear_interrupts() { interrupt_count.store(0); }

std::optional<std::string> read_line() {
  static std::string ahead;  // read, and not asked for yet
  size_t end = 0;
  while ((end = ahead.find('\n')) == std::string::npos) {
    const std::string more = stdin_is_terminal() ? read_console() : read_bytes();
    if (interrupts() > 0) ahead.clear();
    if (interrupts() > 0 || (more.empty() && ahead.empty())) return std::nullopt;
    if (more.empty()) return std::exchange(ahead, "");
    ahead += more;
  }
  std::string line = ahead.substr(0, end);
  ahead.erase(0, end + 1);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}
#else
void clear_interrupts() {
  char bytes[64];
  while (read(wake_pipe[0], bytes, sizeof bytes) > 0) {
  }
  interrupt_count.store(0);
}

std::optional<std::string> read_line() {
  static std::string ahead;  // read, and not asked for yet
  size_t end = 0;
  while ((end = ahead.find('\n')) == std::string::npos) {
    pollfd ready[] = {{STDIN_FILENO, POLLIN, 0}, {wake_pipe[0], POLLIN, 0}};
    const int changed = poll(ready, std::size(ready), -1);
    if (interrupts() > 0) {
      ahead.clear();
      return std::nullopt;
    }
    if (changed < 0) continue;  // another signal
    char bytes[4096];
    const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count > 0) {
      ahead.append(bytes, static_cast<size_t>(count));
    } else if (ahead.empty()) {
      return std::nullopt;
    } else {
      return std::exchange(ahead, "");
    }
  }
  std::string line = ahead.substr(0, end);
  ahead.erase(0, end + 1);
  return line;
}
#endif

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
