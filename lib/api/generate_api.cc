// dsv4.h, section "generate".

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "lib/api/event_writer.h"
#include "lib/api/guard.h"
#include "lib/api/handles.h"

using namespace dsv4;

namespace {

SamplerOptions read_sampling(const dsv4_generate_options& o) {
  SamplerOptions out;
  out.temperature = o.temperature;
  out.top_k = o.top_k;
  out.top_p = o.top_p;
  out.min_p = o.min_p;
  out.repetition = o.repetition_penalty;
  out.presence = o.presence_penalty;
  out.frequency = o.frequency_penalty;
  out.penalty_window = static_cast<int64_t>(std::min<uint64_t>(o.penalty_window, INT64_MAX));
  if (o.logit_bias_count != 0) api::required(o.logit_bias, "generate options: logit_bias");
  for (size_t i = 0; i < o.logit_bias_count; ++i) out.bias.push_back({o.logit_bias[i].token, o.logit_bias[i].bias});
  return out;
}

EditLogits read_edit(const dsv4_generate_options& o) {
  if (o.logits == nullptr) return {};
  return [edit = o.logits, user = o.logits_user](std::span<float> logits) {
    return edit(user, logits.data(), logits.size()) == 0;
  };
}

std::optional<ToolChoice> read_tool_choice(const dsv4_generate_options& o) {
  ToolChoice choice;
  switch (o.tool_choice) {
    case DSV4_TOOL_CHOICE_DEFAULT: return std::nullopt;
    case DSV4_TOOL_CHOICE_AUTO: return choice;
    case DSV4_TOOL_CHOICE_NONE: choice.kind = ToolChoice::Kind::kNone; return choice;
    case DSV4_TOOL_CHOICE_REQUIRED: choice.kind = ToolChoice::Kind::kRequired; return choice;
    case DSV4_TOOL_CHOICE_NAMED:
      choice.kind = ToolChoice::Kind::kNamed;
      choice.name = &api::required(o.tool_name, "generate options: tool_name");
      return choice;
    default: fail(Status::kInvalidArgument, "tool_choice {}: a DSV4_TOOL_CHOICE_* value expected", o.tool_choice);
  }
}

std::optional<ConstraintSpec> read_grammar(const dsv4_generate_options& o) {
  ConstraintSpec spec;
  switch (o.grammar_kind) {
    case DSV4_GRAMMAR_NONE:
      if (o.grammar != nullptr) fail(Status::kInvalidArgument, "grammar: grammar_kind does not say what it is");
      return std::nullopt;
    case DSV4_GRAMMAR_JSON: spec.kind = ConstraintSpec::Kind::kJsonObject; return spec;
    case DSV4_GRAMMAR_JSON_SCHEMA: spec.kind = ConstraintSpec::Kind::kJsonSchema; break;
    case DSV4_GRAMMAR_EBNF: spec.kind = ConstraintSpec::Kind::kEbnf; break;
    case DSV4_GRAMMAR_REGEX: spec.kind = ConstraintSpec::Kind::kRegex; break;
    default: fail(Status::kInvalidArgument, "grammar_kind {}: a DSV4_GRAMMAR_* value expected", o.grammar_kind);
  }
  spec.text = &api::required(o.grammar, "generate options: grammar");
  return spec;
}

GenerateOptions read_generate_options(const dsv4_generate_options* options) {
  const dsv4_generate_options defaults = DSV4_GENERATE_OPTIONS_INIT;
  const dsv4_generate_options o = api::read_options(options, defaults, "generate options");
  GenerateOptions out;
  out.reasoning = api::reasoning_of(o.reasoning);
  out.sampling = read_sampling(o);
  out.seed = o.seed;
  out.max_tokens = o.max_tokens;
  out.stops = api::read_stops(o.stop, o.stop_count);
  out.reasoning_budget = o.reasoning_budget;
  out.edit = read_edit(o);
  out.token_events = o.token_events != 0;
  out.top_logprobs = o.top_logprobs;
  out.tool_choice = read_tool_choice(o);
  out.grammar = read_grammar(o);
  if (o.resume != 0 && o.resume != 1) fail(Status::kInvalidArgument, "resume {}: 0 or 1 expected", o.resume);
  out.resume = o.resume == 1;
  return out;
}

EventSink sink_of(dsv4_event_fn on_event, void* user) {
  if (on_event == nullptr) return {};
  return [writer = api::EventWriter(on_event, user)](const GenerateEvent& e) mutable {
    const int32_t answer = writer.send(e);
    return answer == DSV4_STOP     ? HostAnswer::kStop
           : answer == DSV4_CANCEL ? HostAnswer::kCancel
           : answer == DSV4_PAUSE  ? HostAnswer::kPause
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
    if (stats != nullptr) api::write_info(stats, api::stats_of(result), "stats");
  });
}

dsv4_status dsv4_session_start(dsv4_session* session, const dsv4_generate_options* options, dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(session, "session");
    GenerateOptions own = read_generate_options(options);
    if (own.edit) {
      fail(Status::kUnsupported, "generate options: logits: a callback on another thread than yours; use generate");
    }
    session->session.start(std::move(own));
  });
}

dsv4_status dsv4_session_poll(dsv4_session* session, dsv4_event_fn on_event, void* user, size_t max_events,
                              uint32_t timeout_ms, size_t* delivered, dsv4_error** error) {
  if (delivered != nullptr) *delivered = 0;
  return api::guard(error, [&] {
    Session& own = api::required(session, "session").session;
    const size_t count = own.poll(max_events, std::chrono::milliseconds(timeout_ms), sink_of(on_event, user));
    if (delivered != nullptr) *delivered = count;
  });
}
