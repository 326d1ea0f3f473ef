// What a host says about one turn and what it hears of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/sample/sampler.h"
#include "lib/sample/top_logprobs.h"
#include "lib/text/constraint.h"
#include "lib/text/stream_event.h"

namespace dsv4 {

// kPause: ends here as kStop does, but says nothing that only an end makes certain, as the turn will be resumed.
enum class HostAnswer { kContinue, kStop, kCancel, kPause };

// One token of the answer, for hosts that ask.
struct TokenInfo {
  int32_t token = 0;
  bool forced = false;  // put there by the library, not drawn
  double logprob = 0;
  std::vector<TokenLogprob> top;
};

struct GenerateStats {
  uint64_t prompt_tokens = 0;
  uint64_t reused_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t reasoning_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  uint64_t seed = 0;
  std::optional<ReasoningMode> reasoning;  // none in force in a session driven by tokens
  EndReason reason = EndReason::kNone;
  uint64_t tool_calls = 0;
  uint64_t max_tokens = 0;        // the limit in force
  bool reasoning_closed = false;  // by the library
};

struct GenerateEvent {
  enum class Kind { kPrefill, kWarning, kToken, kStream, kDone };
  Kind kind = Kind::kStream;
  uint64_t done = 0, total = 0;          // kPrefill
  std::string_view text;                 // kWarning
  const TokenInfo* token = nullptr;      // kToken
  const StreamEvent* stream = nullptr;   // kStream: of any type but kReasoningEnd and kEnd
  const GenerateStats* stats = nullptr;  // kDone
};

struct GenerateOptions {
  std::optional<ReasoningMode> reasoning;  // none: the conversation's own, else the profile's default
  SamplerOptions sampling;
  uint64_t seed = 0;        // 0: a fresh one
  uint64_t max_tokens = 0;  // 0: the profile's limit, else what the context holds
  std::vector<std::string> stops;
  uint64_t reasoning_budget = 0;  // tokens; 0: none
  EditLogits edit;                // the host's hand in the logits; may be empty
  bool token_events = false;
  int32_t top_logprobs = 0;
  std::optional<ToolChoice> tool_choice;  // none: the conversation's
  std::optional<ConstraintSpec> grammar;  // none: what the conversation's response_format asks for
  bool resume = false;                    // the session's open turn goes on, see resumed_options()
};

using EventSink = std::function<HostAnswer(const GenerateEvent&)>;

}  // namespace dsv4
