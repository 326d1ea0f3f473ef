// The model's output, as marked text in pieces of any size, into typed events (spec: prompt.md, "Reading the model's
// output"). The events put together do not depend on how the output was cut.
//
//   reasoning --</think>--> content --block of calls--> calls --block's end--> after the calls
//
// Newlines around the reasoning are not part of it, nor are those that lead to a block of calls. Text is held back only
// while it may turn out to be one of those, a tag or a stop string; stop strings count in content alone.
//
// What breaks the format comes as kMalformed, with the raw text, and the end says so: a block of calls inside the
// reasoning (what follows </think> is read as usual), a tag that the format does not have there, a parameter twice or
// with broken JSON, an unfinished block, text behind one. Complete calls before the break stay what they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/stop_matcher.h"
#include "lib/text/stream_event.h"
#include "lib/text/tool_call_reader.h"

namespace dsv4 {

// Where the output begins. The values are those of DSV4_START_* in include/dsv4.h.
enum class OutputStart : int32_t { kContent = 0, kReasoning = 1, kToolCalls = 2 };

struct OutputParserOptions {
  OutputStart start = OutputStart::kContent;
  std::vector<std::string> stops;
  uint64_t id_seed = 0;  // see ToolCallReader
};

class OutputParser {
 public:
  // Error kInvalidArgument: a stop string that is empty or not UTF-8.
  explicit OutputParser(const OutputParserOptions& options);

  // More output. After the end, nothing happens.
  void push(std::string_view marked, std::vector<StreamEvent>& out);
  // No more output. kStop: the model ended its turn, and what that amounts to (kStop, kToolCalls, kMalformed) is found
  // here; any other reason stays.
  void finish(EndReason reason, std::vector<StreamEvent>& out);

  bool stopped() const { return reason_ != EndReason::kNone; }  // kEnd was emitted
  EndReason reason() const { return reason_; }
  bool in_reasoning() const { return phase_ == Phase::kReasoning || phase_ == Phase::kRawReasoning; }

 private:
  enum class Phase : uint8_t { kReasoning, kRawReasoning, kContent, kCalls, kAfterCalls, kRaw };
  enum class Opening : uint8_t { kNo, kMaybe, kBlock, kStray };
  Opening find_opening(std::string_view marked) const;

  bool step(std::vector<StreamEvent>& out);  // true: there may be more to do
  bool read_reasoning(std::vector<StreamEvent>& out);
  bool read_raw_reasoning(std::vector<StreamEvent>& out);
  bool read_content(std::vector<StreamEvent>& out);
  bool read_calls(std::vector<StreamEvent>& out);
  bool read_after_calls(std::vector<StreamEvent>& out);
  bool read_raw(std::vector<StreamEvent>& out);
  bool enter(Phase phase, size_t consumed);
  bool leave_content(Opening opening, size_t newlines, std::vector<StreamEvent>& out);
  bool break_off(std::string_view before, std::vector<StreamEvent>& out);
  bool end_reasoning(size_t consumed, std::vector<StreamEvent>& out);

  void content(std::string_view marked, std::vector<StreamEvent>& out);
  void emit(StreamEvent::Type type, std::string text, std::vector<StreamEvent>& out);
  void end(EndReason reason, std::vector<StreamEvent>& out);

  Phase phase_;
  std::string held_;  // marked text that is not decided
  bool at_end_ = false;
  bool reasoned_ = false;  // some reasoning was emitted
  bool malformed_ = false;
  EndReason reason_ = EndReason::kNone;
  StopMatcher stops_;
  ToolCallReader calls_;
};

}  // namespace dsv4
