// dsv4.h, section "generate".

#include "lib/api/guard.h"
#include "lib/api/handles.h"

using namespace dsv4;

static_assert(DSV4_DONE_NONE == static_cast<int>(EndReason::kNone));
static_assert(DSV4_DONE_STOP == static_cast<int>(EndReason::kStop));
static_assert(DSV4_DONE_STOP_STRING == static_cast<int>(EndReason::kStopString));
static_assert(DSV4_DONE_LENGTH == static_cast<int>(EndReason::kLength));
static_assert(DSV4_DONE_HOST == static_cast<int>(EndReason::kHost));
static_assert(DSV4_DONE_CANCELLED == static_cast<int>(EndReason::kCancelled));

namespace {

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
  return out;
}

GenerateOptions read_generate_options(const dsv4_generate_options* options) {
  const dsv4_generate_options defaults = DSV4_GENERATE_OPTIONS_INIT;
  const dsv4_generate_options o = api::read_options(options, defaults, "generate options");
  GenerateOptions out;
  out.reasoning = api::reasoning_of(o.reasoning);
  out.sampling.temperature = o.temperature;
  out.sampling.top_k = o.top_k;
  out.sampling.top_p = o.top_p;
  out.sampling.min_p = o.min_p;
  out.seed = o.seed;
  out.max_tokens = o.max_tokens;
  if (o.stop_count != 0) api::required(o.stop, "generate options: stop");
  for (size_t i = 0; i < o.stop_count; ++i) {
    const char& first = api::required(o.stop[i], "generate options: a stop string");
    if (first == '\0') fail(Status::kInvalidArgument, "generate options: stop string {} is empty", i);
    out.stops.emplace_back(&first);
  }
  return out;
}

int32_t type_of(GenerateEvent::Kind kind) {
  switch (kind) {
    case GenerateEvent::Kind::kPrefill: return DSV4_EVENT_PREFILL;
    case GenerateEvent::Kind::kReasoning: return DSV4_EVENT_REASONING;
    case GenerateEvent::Kind::kContent: return DSV4_EVENT_CONTENT;
    case GenerateEvent::Kind::kWarning: return DSV4_EVENT_WARNING;
    case GenerateEvent::Kind::kDone: return DSV4_EVENT_DONE;
  }
  return 0;
}

EventSink sink_of(dsv4_event_fn on_event, void* user) {
  if (on_event == nullptr) return {};
  return [on_event, user, text = std::string()](const GenerateEvent& e) mutable {
    text.assign(e.text);  // NUL-terminated for the host
    dsv4_generate_stats stats{};
    dsv4_event event{};
    event.struct_size = sizeof event;
    event.type = type_of(e.kind);
    event.text = text.c_str();
    event.text_length = text.size();
    event.done = e.done;
    event.total = e.total;
    if (e.stats != nullptr) {
      stats = stats_of(*e.stats);
      event.stats = &stats;
      event.reason = stats.reason;
    }
    const int32_t answer = on_event(user, &event);
    return answer == DSV4_STOP     ? HostAnswer::kStop
           : answer == DSV4_CANCEL ? HostAnswer::kCancel
                                   : HostAnswer::kContinue;
  };
}

}  // namespace

void dsv4_generate_options_init(dsv4_generate_options* options, size_t struct_size) {
  const dsv4_generate_options defaults = DSV4_GENERATE_OPTIONS_INIT;
  api::init_options(options, struct_size, defaults);
}

dsv4_status dsv4_session_generate(dsv4_session* session, const dsv4_generate_options* options, dsv4_event_fn on_event,
                                  void* user, dsv4_generate_stats* stats, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(api::required(session, "session").session);
    const GenerateOptions own = read_generate_options(options);
    if (stats != nullptr) api::write_info(stats, *stats, "stats");  // refuses a struct_size that was not set
    const GenerateStats result = session->session.generate(own, sink_of(on_event, user));
    if (stats != nullptr) api::write_info(stats, stats_of(result), "stats");
  });
}
