// See answer_printer.h.
#include "answer_printer.h"

#include <cstdio>

#include "client.h"

namespace cli {
namespace {

constexpr std::string_view kDim = "\033[2m";
constexpr std::string_view kCyan = "\033[36m";
constexpr std::string_view kRed = "\033[31m";
constexpr std::string_view kPlain = "\033[0m";

}  // namespace

AnswerPrinter::AnswerPrinter(const TurnFlags& flags, uint64_t pause_at)
    : pause_at_(pause_at), show_thinking_(flags.show_thinking), coloured_(stdout_has_colours() && !flags.no_color) {}

int32_t AnswerPrinter::on_event(void* user, const dsv4_event* event) {
  auto* self = static_cast<AnswerPrinter*>(user);
  try {
    self->event(*event);
  } catch (...) {
    self->failure_ = std::current_exception();
    return DSV4_STOP;
  }
  const bool pause = event->type == DSV4_EVENT_TOKEN && self->tokens_.size() == self->pause_at_;
  return pause ? DSV4_PAUSE : DSV4_CONTINUE;
}

void AnswerPrinter::finish() {
  if (failure_) std::rethrow_exception(failure_);
  prefill_.clear();
  thinking_.clear();
  call_end();
  std::string end;
  if (coloured_ && part_ != Part::kNone && part_ != Part::kContent) end += kPlain;
  if (part_ != Part::kNone && !at_line_start_) end += '\n';
  write_standard_output(end);
  print_warnings();
}

void AnswerPrinter::event(const dsv4_event& event) {
  const std::string_view piece(event.text, event.text_length);
  switch (event.type) {
    case DSV4_EVENT_PREFILL: prefill_.update(event.done, event.total); break;
    case DSV4_EVENT_REASONING: reasoning(piece); break;
    case DSV4_EVENT_CONTENT: text(Part::kContent, piece); break;
    case DSV4_EVENT_TOOL_CALL_BEGIN: call_begin(*event.call); break;
    case DSV4_EVENT_TOOL_ARGUMENTS: text(Part::kCall, piece); break;
    case DSV4_EVENT_TOOL_CALL:
      emit("]");
      call_open_ = false;
      break;
    case DSV4_EVENT_MALFORMED: text(Part::kMalformed, piece); break;
    case DSV4_EVENT_TOKEN:
      tokens_.push_back({event.token->token,
                         event.token->forced != 0,
                         event.token->logprob,
                         {event.token->top, event.token->top + event.token->top_count}});
      break;
    case DSV4_EVENT_WARNING: warning(event.text); break;
    case DSV4_EVENT_DONE: stats_ = *event.stats; break;
    default: break;
  }
}

// Not into the middle of a line that is being written.
void AnswerPrinter::warning(const std::string& text) {
  warnings_ += "dsv4: warning: " + text + "\n";
  if (part_ == Part::kNone) print_warnings();
}

void AnswerPrinter::print_warnings() {
  prefill_.clear();
  thinking_.clear();
  std::fputs(warnings_.c_str(), stderr);
  warnings_.clear();
}

void AnswerPrinter::reasoning(std::string_view piece) {
  prefill_.clear();
  if (show_thinking_)
    text(Part::kReasoning, piece);
  else
    thinking_.tick();
}

void AnswerPrinter::text(Part part, std::string_view piece) {
  if (piece.empty()) return;
  emit(change_to(part).append(piece));
}

// "[call 1: get_weather {"city": "Paris"}]", the arguments as they come.
void AnswerPrinter::call_begin(const dsv4_tool_call& call) {
  call_end();
  std::string line = change_to(Part::kCall);
  if (!at_line_start_ && line.empty()) line += '\n';
  call_open_ = true;
  emit(line + "[call " + std::to_string(call.index + 1) + ": " + call.name + " ");
}

void AnswerPrinter::call_end() {
  if (call_open_) emit("... broken off]");
  call_open_ = false;
}

// What has to be printed before the first text of `part`: colours, and the space between it and what came before.
std::string AnswerPrinter::change_to(Part part) {
  if (part == part_) return "";
  if (part != Part::kCall) call_end();
  std::string out;
  if (coloured_ && part_ != Part::kNone && part_ != Part::kContent) out += kPlain;
  if (part_ == Part::kReasoning)
    out += at_line_start_ ? "\n" : "\n\n";
  else if (part_ != Part::kNone && !at_line_start_)
    out += '\n';
  if (coloured_ && part == Part::kReasoning) out += kDim;
  if (coloured_ && part == Part::kCall) out += kCyan;
  if (coloured_ && part == Part::kMalformed) out += kRed;
  if (part == Part::kMalformed) out += "[malformed output]\n";
  part_ = part;
  return out;
}

void AnswerPrinter::emit(const std::string& text) {
  if (text.empty()) return;
  prefill_.clear();
  thinking_.clear();
  at_line_start_ = text.back() == '\n';
  write_standard_output(text);
}

}  // namespace cli
