#include "lib/text/stream_parser.h"

#include <utility>

#include "lib/text/protocol_text.h"

namespace dsv4 {

StreamParser::StreamParser(const Tokenizer& tokenizer, bool starts_in_reasoning, std::vector<std::string> stops)
    : tokenizer_(tokenizer),
      eos_(tokenizer.find(protocol::kEos)),
      think_end_(tokenizer.find(protocol::kThinkEnd)),
      dsml_(tokenizer.find(protocol::kDsml)),
      in_reasoning_(starts_in_reasoning),
      stops_(std::move(stops)) {}

void StreamParser::push(int32_t id, std::vector<StreamEvent>& out) {
  if (stopped_) return;
  if (tokenizer_.is_special(id) && id != dsml_) return control(id, out);
  std::string whole;
  utf8_.push(tokenizer_.bytes(id), whole);
  text(whole, out);
}

// A control token that has no meaning here (a role's, a second </think>) is left out.
void StreamParser::control(int32_t id, std::vector<StreamEvent>& out) {
  std::string rest;
  utf8_.flush(rest);  // no character goes on behind a control token
  text(rest, out);
  if (stopped_) return;
  if (id == eos_) {
    end(EndReason::kStop, out);
  } else if (id == think_end_ && in_reasoning_) {
    in_reasoning_ = false;
    StreamEvent event;
    event.type = StreamEvent::Type::kReasoningEnd;
    out.push_back(std::move(event));
  }
}

void StreamParser::text(std::string_view whole, std::vector<StreamEvent>& out) {
  std::string certain;
  bool met = false;
  if (in_reasoning_) {
    certain = whole;
  } else {
    met = stops_.push(whole, certain);
  }
  emit(std::move(certain), out);
  if (met) end(EndReason::kStopString, out);
}

void StreamParser::emit(std::string&& delta, std::vector<StreamEvent>& out) {
  if (delta.empty()) return;
  StreamEvent event;
  event.type = in_reasoning_ ? StreamEvent::Type::kReasoning : StreamEvent::Type::kContent;
  event.text = std::move(delta);
  out.push_back(std::move(event));
}

void StreamParser::end(EndReason reason, std::vector<StreamEvent>& out) {
  std::string held;
  stops_.flush(held);
  emit(std::move(held), out);
  stopped_ = true;
  reason_ = reason;
  StreamEvent event;
  event.type = StreamEvent::Type::kEnd;
  event.reason = reason;
  out.push_back(std::move(event));
}

void StreamParser::finish(EndReason reason, std::vector<StreamEvent>& out) {
  if (stopped_) return;
  std::string rest;
  utf8_.flush(rest);
  text(rest, out);
  if (!stopped_) end(reason, out);
}

}  // namespace dsv4
