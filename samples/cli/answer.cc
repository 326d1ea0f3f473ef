// See answer.h.
#include "answer.h"

#include <cinttypes>
#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>

#include "terminal.h"

namespace cli {
namespace {

constexpr std::string_view kDim = "\033[2m";
constexpr std::string_view kPlain = "\033[0m";

class AnswerPrinter {
 public:
  explicit AnswerPrinter(bool show_thinking) : show_thinking_(show_thinking), coloured_(stdout_is_terminal()) {}

  // For dsv4_session_generate. An exception may not cross the C library: it waits until generate has returned.
  static int32_t on_event(void* user, const dsv4_event* event) {
    auto* self = static_cast<AnswerPrinter*>(user);
    try {
      self->event(*event);
    } catch (...) {
      self->failure_ = std::current_exception();
      return DSV4_STOP;
    }
    return DSV4_CONTINUE;
  }

  // Of the DONE event, which also comes where generate then answers DSV4_E_CANCELLED.
  const dsv4_generate_stats& stats() const { return stats_; }

  // Leaves the cursor at the beginning of a line and the terminal in its own colour.
  void finish() {
    if (failure_) std::rethrow_exception(failure_);
    thinking_.clear();
    std::string end;
    if (coloured_ && last_ == DSV4_EVENT_REASONING) end += kPlain;
    if (last_ != 0 && !at_line_start_) end += '\n';
    write_standard_output(end);
  }

 private:
  void event(const dsv4_event& event) {
    switch (event.type) {
      case DSV4_EVENT_PREFILL: prefill_.update(event.done, event.total); break;
      case DSV4_EVENT_REASONING: reasoning(std::string_view(event.text, event.text_length)); break;
      case DSV4_EVENT_CONTENT: text(DSV4_EVENT_CONTENT, std::string_view(event.text, event.text_length)); break;
      case DSV4_EVENT_DONE: stats_ = *event.stats; break;
      case DSV4_EVENT_WARNING: std::fprintf(stderr, "dsv4: warning: %s\n", event.text); break;
      default: break;
    }
  }

  void reasoning(std::string_view piece) {
    prefill_.clear();
    if (show_thinking_)
      text(DSV4_EVENT_REASONING, piece);
    else
      thinking_.tick();
  }

  void text(int32_t type, std::string_view piece) {
    if (piece.empty()) return;
    prefill_.clear();
    thinking_.clear();
    std::string out;
    if (type != last_) {
      if (last_ == DSV4_EVENT_REASONING) {
        if (coloured_) out += kPlain;
        out += at_line_start_ ? "\n" : "\n\n";
      }
      if (coloured_ && type == DSV4_EVENT_REASONING) out += kDim;
    }
    last_ = type;
    at_line_start_ = piece.back() == '\n';
    write_standard_output(out.append(piece));
  }

  const bool show_thinking_;
  const bool coloured_;
  Progress prefill_{"reading the prompt", "tokens"};
  Progress thinking_{"thinking", ""};
  int32_t last_ = 0;  // kind of the text printed last, 0: none yet
  bool at_line_start_ = true;
  dsv4_generate_stats stats_{};
  std::exception_ptr failure_;
};

const char* reason_text(int32_t reason) {
  switch (reason) {
    case DSV4_DONE_STOP: return "end of turn";
    case DSV4_DONE_STOP_STRING: return "stop string";
    case DSV4_DONE_LENGTH: return "length limit";
    case DSV4_DONE_HOST: return "stopped";
    case DSV4_DONE_CANCELLED: return "cancelled";
    default: return "unknown";
  }
}

// "12 tokens (4 reused) in 0.05 s, 160.0 tokens/s": the speed is that of the tokens that were computed.
void print_work(const char* what, uint64_t tokens, uint64_t part, const char* part_name, uint64_t computed,
                double seconds) {
  std::fprintf(stderr, "%s %" PRIu64 " tokens", what, tokens);
  if (part > 0) std::fprintf(stderr, " (%" PRIu64 " %s)", part, part_name);
  if (seconds > 0) std::fprintf(stderr, " in %.2f s, %.1f tokens/s", seconds, static_cast<double>(computed) / seconds);
  std::fputs("; ", stderr);
}

void print_stats(const dsv4_generate_stats& stats, bool greedy) {
  std::fputc('[', stderr);
  print_work("prompt", stats.prompt_tokens, stats.reused_tokens, "reused", stats.prompt_tokens - stats.reused_tokens,
             stats.prefill_seconds);
  print_work("answer", stats.generated_tokens, stats.reasoning_tokens, "of reasoning", stats.generated_tokens,
             stats.decode_seconds);
  std::fputs(reason_text(stats.reason), stderr);
  if (!greedy) std::fprintf(stderr, "; seed %" PRIu64, stats.seed);
  std::fputs("]\n", stderr);
}

}  // namespace

dsv4_generate_stats answer(dsv4_session* session, const TurnFlags& flags) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  options.reasoning = flags.reasoning;
  options.temperature = flags.temperature;
  options.top_p = flags.top_p;
  options.seed = flags.seed;
  options.max_tokens = flags.max_tokens;

  AnswerPrinter printer(flags.show_thinking);
  dsv4_error* error = nullptr;
  dsv4_status status = DSV4_OK;
  {
    const CancelOnInterrupt cancel(session);
    status = dsv4_session_generate(session, &options, AnswerPrinter::on_event, &printer, nullptr, &error);
  }
  const std::unique_ptr<dsv4_error, Release> owner(error);
  printer.finish();
  if (status != DSV4_OK && status != DSV4_E_CANCELLED) throw_failure(status, owner.get());
  print_stats(printer.stats(), flags.temperature == 0);
  return printer.stats();
}

}  // namespace cli
