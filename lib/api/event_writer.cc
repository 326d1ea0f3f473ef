#include "lib/api/event_writer.h"

using namespace dsv4;

static_assert(DSV4_DONE_NONE == static_cast<int>(EndReason::kNone));
static_assert(DSV4_DONE_STOP == static_cast<int>(EndReason::kStop));
static_assert(DSV4_DONE_STOP_STRING == static_cast<int>(EndReason::kStopString));
static_assert(DSV4_DONE_LENGTH == static_cast<int>(EndReason::kLength));
static_assert(DSV4_DONE_HOST == static_cast<int>(EndReason::kHost));
static_assert(DSV4_DONE_CANCELLED == static_cast<int>(EndReason::kCancelled));
static_assert(DSV4_DONE_TOOL_CALLS == static_cast<int>(EndReason::kToolCalls));
static_assert(DSV4_DONE_MALFORMED == static_cast<int>(EndReason::kMalformed));
static_assert(DSV4_DONE_PAUSED == static_cast<int>(EndReason::kPaused));

const char* dsv4_done_name(int32_t reason) { return end_reason_name(static_cast<EndReason>(reason)); }

namespace dsv4::api {
namespace {

int32_t type_of(StreamEvent::Type type) {
  switch (type) {
    case StreamEvent::Type::kReasoning: return DSV4_EVENT_REASONING;
    case StreamEvent::Type::kContent: return DSV4_EVENT_CONTENT;
    case StreamEvent::Type::kCallBegin: return DSV4_EVENT_TOOL_CALL_BEGIN;
    case StreamEvent::Type::kArguments: return DSV4_EVENT_TOOL_ARGUMENTS;
    case StreamEvent::Type::kCall: return DSV4_EVENT_TOOL_CALL;
    case StreamEvent::Type::kMalformed: return DSV4_EVENT_MALFORMED;
    case StreamEvent::Type::kReasoningEnd:
    case StreamEvent::Type::kEnd: break;
  }
  return DSV4_EVENT_DONE;
}

bool is_call(StreamEvent::Type type) {
  return type == StreamEvent::Type::kCallBegin || type == StreamEvent::Type::kArguments ||
         type == StreamEvent::Type::kCall;
}

}  // namespace

dsv4_generate_stats stats_of(const GenerateStats& s) {
  dsv4_generate_stats out{};
  out.struct_size = sizeof out;
  out.prompt_tokens = s.prompt_tokens;
  out.reused_tokens = s.reused_tokens;
  out.generated_tokens = s.generated_tokens;
  out.reasoning_tokens = s.reasoning_tokens;
  out.prefill_seconds = s.prefill_seconds;
  out.decode_seconds = s.decode_seconds;
  out.seed = s.seed;
  out.reasoning = s.reasoning ? static_cast<int32_t>(*s.reasoning) : DSV4_REASONING_DEFAULT;
  out.reason = static_cast<int32_t>(s.reason);
  out.tool_calls = s.tool_calls;
  out.max_tokens = s.max_tokens;
  out.reasoning_closed = s.reasoning_closed ? 1 : 0;
  return out;
}

int32_t EventWriter::send(dsv4_event& event, std::string_view text) {
  text_.assign(text);  // NUL-terminated for the host
  event.struct_size = sizeof event;
  event.text = text_.c_str();
  event.text_length = text_.size();
  return on_event_(user_, &event);
}

int32_t EventWriter::send_token(const TokenInfo& info) {
  top_.clear();
  for (const TokenLogprob& t : info.top) top_.push_back({t.token, 0, t.logprob});
  dsv4_token_info token{};
  token.struct_size = sizeof token;
  token.token = info.token;
  token.forced = info.forced ? 1 : 0;
  token.logprob = info.logprob;
  token.top = top_.data();
  token.top_count = top_.size();
  dsv4_event event{};
  event.type = DSV4_EVENT_TOKEN;
  event.token = &token;
  return send(event, "");
}

int32_t EventWriter::send(const StreamEvent& e) {
  dsv4_event event{};
  event.type = type_of(e.type);
  event.reason = static_cast<int32_t>(e.reason);
  dsv4_tool_call call{};
  if (is_call(e.type)) {
    call.struct_size = sizeof call;
    call.index = e.index;
    call.id = e.call.id.c_str();
    call.name = e.call.name.c_str();
    call.arguments = e.call.arguments.c_str();
    call.arguments_length = e.call.arguments.size();
    event.call = &call;
  }
  return send(event, e.text);
}

int32_t EventWriter::send(const GenerateEvent& e) {
  if (e.kind == GenerateEvent::Kind::kStream) return send(*e.stream);
  if (e.kind == GenerateEvent::Kind::kToken) return send_token(*e.token);
  dsv4_event event{};
  event.type = e.kind == GenerateEvent::Kind::kPrefill   ? DSV4_EVENT_PREFILL
               : e.kind == GenerateEvent::Kind::kWarning ? DSV4_EVENT_WARNING
                                                         : DSV4_EVENT_DONE;
  event.done = e.done;
  event.total = e.total;
  dsv4_generate_stats stats{};
  if (e.stats != nullptr) {
    stats = stats_of(*e.stats);
    event.stats = &stats;
    event.reason = stats.reason;
  }
  return send(event, e.text);
}

}  // namespace dsv4::api
