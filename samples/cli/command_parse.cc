// dsv4 parse: a model's raw output as the library's parser reads it, one JSON object; for people who debug prompts.
#include <algorithm>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "request.h"

namespace cli {
namespace {

struct ParseFlags {
  std::string file;
  int32_t reasoning = DSV4_REASONING_DEFAULT;
  int32_t profile = DSV4_PROFILE_PREVIEW;
  std::optional<uint64_t> split;
  bool starts_in_calls = false;
};

// What the events of one output amount to.
class Collector {
 public:
  static int32_t on_event(void* user, const dsv4_event* event) {
    auto* self = static_cast<Collector*>(user);
    try {
      self->event(*event);
    } catch (...) {  // may not cross the C library
      self->failure_ = std::current_exception();
    }
    return DSV4_CONTINUE;
  }

  Json json() const {
    if (failure_) std::rethrow_exception(failure_);
    return {{"reasoning", reasoning_},
            {"content", content_},
            {"tool_calls", calls_},
            {"finish", dsv4_done_name(reason_)},
            {"malformed", malformed_ ? Json(*malformed_) : Json()}};
  }

 private:
  void event(const dsv4_event& event) {
    const std::string_view text(event.text, event.text_length);
    switch (event.type) {
      case DSV4_EVENT_REASONING: reasoning_ += text; break;
      case DSV4_EVENT_CONTENT: content_ += text; break;
      case DSV4_EVENT_TOOL_CALL:
        calls_.push_back({{"name", event.call->name},
                          {"arguments", std::string(event.call->arguments, event.call->arguments_length)}});
        break;
      case DSV4_EVENT_MALFORMED: malformed_ = malformed_.value_or("").append(text); break;
      case DSV4_EVENT_DONE: reason_ = event.reason; break;
      default: break;
    }
  }

  std::string reasoning_;
  std::string content_;
  Json calls_ = Json::array();
  std::optional<std::string> malformed_;
  int32_t reason_ = DSV4_DONE_NONE;
  std::exception_ptr failure_;
};

// Where the output begins. There is no model here to ask for its profile's modes.
int32_t start_of(const ParseFlags& flags) {
  const bool preview = flags.profile == DSV4_PROFILE_PREVIEW;
  if (flags.reasoning == DSV4_REASONING_LOW && preview)
    throw Failure(DSV4_E_UNSUPPORTED, "profile preview has no reasoning mode low (it has none, high, max)");
  if (flags.starts_in_calls) {
    if (flags.reasoning != DSV4_REASONING_DEFAULT && flags.reasoning != DSV4_REASONING_NONE)
      throw UsageError("--start-in-calls goes with --think none");
    return DSV4_START_TOOL_CALLS;
  }
  if (flags.reasoning == DSV4_REASONING_DEFAULT) return preview ? DSV4_START_CONTENT : DSV4_START_REASONING;
  return flags.reasoning == DSV4_REASONING_NONE ? DSV4_START_CONTENT : DSV4_START_REASONING;
}

Json parse(const std::string& output, int32_t start, size_t piece) {
  Collector collector;
  dsv4_parser_options options = DSV4_PARSER_OPTIONS_INIT;
  options.start = start;
  dsv4_parser* created = nullptr;
  check([&](dsv4_error** error) {
    return dsv4_parser_create(nullptr, &options, Collector::on_event, &collector, &created, error);
  });
  const Parser parser(created);
  for (size_t at = 0; at < output.size(); at += piece) {
    const size_t length = std::min(piece, output.size() - at);
    check([&](dsv4_error** error) { return dsv4_parser_push_text(parser.get(), output.data() + at, length, error); });
  }
  check([&](dsv4_error** error) { return dsv4_parser_finish(parser.get(), DSV4_DONE_STOP, error); });
  return collector.json();
}

}  // namespace

void command_parse(const Arguments& arguments) {
  ParseFlags flags;
  Options options("parse", "FILE [options]",
                  "Reads a model's raw output (FILE, - for standard input) as the library would and prints one JSON "
                  "object: reasoning, content, tool_calls (name, arguments as JSON text), finish (why the turn ended), "
                  "malformed (null, or the text that broke the format). Needs no model. The end of the file is the end "
                  "of the turn.");
  options.required("FILE", flags.file);
  options.choice("--think",
                 "reasoning mode of the prompt: with none the output begins as content, else inside the reasoning "
                 "(default: the profile's, none for preview, high for 0731)",
                 kReasoningChoices, flags.reasoning);
  options.choice("--profile", "prompt rules of the checkpoint (default preview)",
                 {{"preview", DSV4_PROFILE_PREVIEW}, {"0731", DSV4_PROFILE_0731}}, flags.profile);
  options.flag("--start-in-calls", "the output begins inside the block of calls, as with tool_choice required",
               flags.starts_in_calls);
  options.integer("--split", "N", "hand the output over in pieces of N bytes: the result is the same", 1, UINT32_MAX,
                  flags.split);
  if (!options.parse(arguments)) return;

  const int32_t start = start_of(flags);
  const std::string output = flags.file == "-" ? read_standard_input() : read_file(flags.file);
  const Json json = parse(output, start, flags.split.value_or(std::max<size_t>(output.size(), 1)));
  write_standard_output(dump(json) + "\n");
}

}  // namespace cli
