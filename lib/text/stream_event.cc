#include "lib/text/stream_event.h"

namespace dsv4 {

const char* end_reason_name(EndReason reason) {
  switch (reason) {
    case EndReason::kNone: return "none";
    case EndReason::kStop: return "stop";
    case EndReason::kStopString: return "stop_string";
    case EndReason::kLength: return "length";
    case EndReason::kHost: return "host";
    case EndReason::kCancelled: return "cancelled";
    case EndReason::kToolCalls: return "tool_calls";
    case EndReason::kMalformed: return "malformed";
    case EndReason::kPaused: return "paused";
  }
  return "unknown";
}

void add_event(const StreamEvent& event, Message& message) {
  switch (event.type) {
    case StreamEvent::Type::kReasoning: message.reasoning += event.text; break;
    case StreamEvent::Type::kContent: message.content += event.text; break;
    case StreamEvent::Type::kMalformed: message.malformed += event.text; break;
    case StreamEvent::Type::kCall: message.calls.push_back(event.call); break;
    default: break;
  }
}

}  // namespace dsv4
