// The events of one answer, printed as they come: reasoning, text, tool calls and what broke the format on standard
// output, progress and warnings on standard error. Colours on a terminal only.
#pragma once

#include <dsv4.h>

#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "terminal.h"
#include "turn_flags.h"

namespace cli {

// A token as --logprobs lists it.
struct ListedToken {
  int32_t token = 0;
  bool forced = false;
  double logprob = 0;
  std::vector<dsv4_token_logprob> top;
};

class AnswerPrinter {
 public:
  // Answers DSV4_PAUSE with the token after which there are `pause_at`; 0: never.
  explicit AnswerPrinter(const TurnFlags& flags, uint64_t pause_at = 0);

  // For dsv4_session_generate. An exception may not cross the C library: it waits until generate has returned.
  static int32_t on_event(void* user, const dsv4_event* event);

  // Leaves the cursor at the beginning of a line and the terminal in its own colour. Throws what on_event could not.
  void finish();

  // Of the DONE event, which also comes where generate then answers DSV4_E_CANCELLED.
  const dsv4_generate_stats& stats() const { return stats_; }
  const std::vector<ListedToken>& tokens() const { return tokens_; }

 private:
  enum class Part { kNone, kReasoning, kContent, kCall, kMalformed };

  void event(const dsv4_event& event);
  void warning(const std::string& text);
  void print_warnings();
  void reasoning(std::string_view piece);
  void text(Part part, std::string_view piece);
  void call_begin(const dsv4_tool_call& call);
  void call_end();
  std::string change_to(Part part);
  void emit(const std::string& text);

  const uint64_t pause_at_;
  const bool show_thinking_;
  const bool coloured_;
  Progress prefill_{"reading the prompt", "tokens"};
  Progress thinking_{"thinking", ""};
  Part part_ = Part::kNone;  // of what was printed last
  bool call_open_ = false;   // its closing bracket is still to come
  bool at_line_start_ = true;
  dsv4_generate_stats stats_{};
  std::vector<ListedToken> tokens_;
  std::string warnings_;  // to be printed once the answer is
  std::exception_ptr failure_;
};

}  // namespace cli
