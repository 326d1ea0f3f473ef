// What a reader of the model's output says: typed events, in the order of the output (spec: prompt.md, "Reading the
// model's output").
#pragma once

#include <cstdint>
#include <string>

#include "lib/text/conversation.h"

namespace dsv4 {

// The values are those of DSV4_DONE_* in include/dsv4.h.
enum class EndReason : int32_t {
  kNone = 0,
  kStop = 1,
  kStopString = 2,
  kLength = 3,
  kHost = 4,
  kCancelled = 5,
  kToolCalls = 6,
  kMalformed = 7,
  kPaused = 8
};
const char* end_reason_name(EndReason reason);  // "stop", "stop_string" ...; static

struct StreamEvent {
  enum class Type : uint8_t {
    kReasoning,     // text
    kReasoningEnd,  // </think> was met
    kContent,       // text
    kCallBegin,     // call: id and name; its arguments follow
    kArguments,     // call as above; text: the next piece of the arguments' JSON
    kCall,          // call: complete, the arguments are a JSON object
    kMalformed,     // text: output that breaks the format, as it was written
    kEnd            // reason; the last event
  };
  Type type = Type::kContent;
  std::string text;    // a delta of whole UTF-8 characters, never empty where there is one
  uint64_t index = 0;  // of the call in this turn
  ToolCall call;
  EndReason reason = EndReason::kNone;
};

// Adds what an event says to the message that the events make up.
void add_event(const StreamEvent& event, Message& message);

}  // namespace dsv4
