// The model's output as typed events, token by token (spec: prompt.md, "Reading the model's output"): reasoning text up
// to </think>, then content, until EOS or a stop string. Text comes in deltas of whole UTF-8 characters, as soon as it
// is certain; control tokens never show as text. Deltas put together do not depend on token borders.
//
// Tool calls: a block passes through as content, with the text form of ｜DSML｜, so that nothing the model said is
// lost; hosts that want calls parse that text. ｜DSML｜ is the one control token whose text is emitted.
//
// Layers, for what is to come: token -> (control | text) in push; control tokens change the phase in control(); text
// goes through Utf8Stream, then, in content, StopMatcher; emit() is the only place that makes events.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/detokenizer.h"
#include "lib/text/stop_matcher.h"
#include "lib/text/tokenizer.h"

namespace dsv4 {

// The values are those of DSV4_DONE_* in include/dsv4.h.
enum class EndReason : int32_t { kNone = 0, kStop = 1, kStopString = 2, kLength = 3, kHost = 4, kCancelled = 5 };

struct StreamEvent {
  enum class Type : uint8_t {
    kReasoning,     // text
    kReasoningEnd,  // </think> was met
    kContent,       // text
    kEnd            // reason; the last event
  };
  Type type = Type::kContent;
  std::string text;
  EndReason reason = EndReason::kNone;
};

class StreamParser {
 public:
  // starts_in_reasoning: the prompt ends with <think>. Stop strings count in content only, never in the reasoning.
  // The tokenizer must outlive the parser. Error kInvalidArgument: a stop string that is empty or not UTF-8.
  StreamParser(const Tokenizer& tokenizer, bool starts_in_reasoning, std::vector<std::string> stops);

  // Appends the events of one more token. After the end, nothing happens.
  void push(int32_t id, std::vector<StreamEvent>& out);
  // The stream ends from outside (length, host, cancelled): what was held back, then kEnd. Nothing after an end.
  void finish(EndReason reason, std::vector<StreamEvent>& out);

  bool stopped() const { return stopped_; }  // EOS, a stop string, or finish: kEnd was emitted
  bool in_reasoning() const { return in_reasoning_; }
  EndReason reason() const { return reason_; }

 private:
  void control(int32_t id, std::vector<StreamEvent>& out);
  void text(std::string_view whole, std::vector<StreamEvent>& out);
  void emit(std::string&& delta, std::vector<StreamEvent>& out);
  void end(EndReason reason, std::vector<StreamEvent>& out);

  const Tokenizer& tokenizer_;
  const int32_t eos_;
  const int32_t think_end_;
  const int32_t dsml_;
  bool in_reasoning_;
  bool stopped_ = false;
  EndReason reason_ = EndReason::kNone;
  Utf8Stream utf8_;
  StopMatcher stops_;
};

}  // namespace dsv4
