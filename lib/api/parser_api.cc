// dsv4.h, section "parser".

#include <memory>
#include <random>
#include <vector>

#include "lib/api/event_writer.h"
#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/text/stream_parser.h"

using namespace dsv4;

static_assert(DSV4_START_CONTENT == static_cast<int>(OutputStart::kContent));
static_assert(DSV4_START_REASONING == static_cast<int>(OutputStart::kReasoning));
static_assert(DSV4_START_TOOL_CALLS == static_cast<int>(OutputStart::kToolCalls));

struct dsv4_parser {
  std::shared_ptr<Engine> engine;        // keeps the tokenizer; nullptr: text only
  std::unique_ptr<StreamParser> tokens;  // one of the two, from the first push on
  std::unique_ptr<TextStreamParser> text;
  OutputParserOptions options;
  dsv4_event_fn on_event = nullptr;
  void* user = nullptr;
  Message message;
};

namespace {

OutputParserOptions read_parser_options(const dsv4_parser_options* options) {
  const dsv4_parser_options defaults = DSV4_PARSER_OPTIONS_INIT;
  const dsv4_parser_options o = api::read_options(options, defaults, "parser options");
  if (o.start < DSV4_START_CONTENT || o.start > DSV4_START_TOOL_CALLS) {
    fail(Status::kInvalidArgument, "parser options: start {}: a DSV4_START_* value expected", o.start);
  }
  OutputParserOptions out;
  out.start = static_cast<OutputStart>(o.start);
  out.stops = api::read_stops(o.stop, o.stop_count);
  std::random_device device;  // ids of calls must differ between the turns of a conversation
  out.id_seed = static_cast<uint64_t>(device()) << 32 | device();
  const OutputParser check(out);  // the stop strings
  return out;
}

void deliver(dsv4_parser& parser, const std::vector<StreamEvent>& events) {
  for (const StreamEvent& e : events) add_event(e, parser.message);
  if (parser.on_event == nullptr) return;
  api::EventWriter writer(parser.on_event, parser.user);
  for (const StreamEvent& e : events) {
    if (e.type != StreamEvent::Type::kReasoningEnd) writer.send(e);
  }
}

TextStreamParser& text_parser(dsv4_parser& parser) {
  if (parser.tokens != nullptr) fail(Status::kInvalidArgument, "this parser was given tokens: text cannot follow");
  if (parser.text == nullptr) parser.text = std::make_unique<TextStreamParser>(parser.options);
  return *parser.text;
}

StreamParser& token_parser(dsv4_parser& parser) {
  if (parser.text != nullptr) fail(Status::kInvalidArgument, "this parser was given text: tokens cannot follow");
  if (parser.engine == nullptr) fail(Status::kInvalidArgument, "tokens: the parser was created without a model");
  if (parser.tokens == nullptr) {
    parser.tokens = std::make_unique<StreamParser>(parser.engine->need_tokenizer(), parser.options);
  }
  return *parser.tokens;
}

}  // namespace

void dsv4_parser_options_init(dsv4_parser_options* options, size_t struct_size) {
  const dsv4_parser_options defaults = DSV4_PARSER_OPTIONS_INIT;
  api::init_options(options, struct_size, defaults);
}

dsv4_status dsv4_parser_create(dsv4_model* model, const dsv4_parser_options* options, dsv4_event_fn on_event,
                               void* user, dsv4_parser** parser, dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(parser, "parser");
    auto out = std::make_unique<dsv4_parser>();
    if (model != nullptr) out->engine = model->engine;
    out->options = read_parser_options(options);
    out->on_event = on_event;
    out->user = user;
    out->message.role = Role::kAssistant;
    *parser = out.release();
  });
}

void dsv4_parser_release(dsv4_parser** parser) {
  if (parser == nullptr) return;
  delete *parser;
  *parser = nullptr;
}

dsv4_status dsv4_parser_push_text(dsv4_parser* parser, const char* text, size_t length, dsv4_error** error) {
  return api::guard(error, [&] {
    std::vector<StreamEvent> events;
    text_parser(api::required(parser, "parser")).push(api::text_of(text, length, "text"), events);
    deliver(*parser, events);
  });
}

dsv4_status dsv4_parser_push_tokens(dsv4_parser* parser, const int32_t* ids, size_t count, dsv4_error** error) {
  return api::guard(error, [&] {
    StreamParser& tokens = token_parser(api::required(parser, "parser"));
    if (count != 0) api::required(ids, "ids");
    std::vector<StreamEvent> events;
    for (size_t i = 0; i < count; ++i) tokens.push(ids[i], events);
    deliver(*parser, events);
  });
}

dsv4_status dsv4_parser_finish(dsv4_parser* parser, int32_t reason, dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(parser, "parser");
    if (reason != DSV4_DONE_STOP && reason != DSV4_DONE_LENGTH && reason != DSV4_DONE_HOST &&
        reason != DSV4_DONE_CANCELLED) {
      fail(Status::kInvalidArgument, "reason {}: expected DSV4_DONE_STOP, _LENGTH, _HOST or _CANCELLED", reason);
    }
    std::vector<StreamEvent> events;
    if (parser->tokens != nullptr) {
      parser->tokens->finish(static_cast<EndReason>(reason), events);
    } else {
      text_parser(*parser).finish(static_cast<EndReason>(reason), events);
    }
    deliver(*parser, events);
  });
}

dsv4_status dsv4_parser_message_json(const dsv4_parser* parser, char* text, size_t capacity, size_t* length,
                                     dsv4_error** error) {
  return api::guard(error, [&] {
    api::write_items(to_json(api::required(parser, "parser").message).dump(), text, capacity, length);
  });
}
