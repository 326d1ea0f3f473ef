#include "lib/text/output_parser.h"

#include <algorithm>
#include <utility>

#include "lib/text/marked_text.h"

namespace dsv4 {
namespace {

constexpr std::string_view kBlock = "<\xfftool_calls>";
constexpr size_t kBlockNewlines = 2;  // before it

}  // namespace

OutputParser::OutputParser(const OutputParserOptions& options)
    : phase_(options.start == OutputStart::kReasoning ? Phase::kReasoning : Phase::kContent),
      stops_(options.stops),
      calls_(options.id_seed) {
  if (options.start != OutputStart::kToolCalls) return;
  phase_ = Phase::kCalls;
  calls_.begin("");
}

void OutputParser::push(std::string_view marked, std::vector<StreamEvent>& out) {
  if (stopped()) return;
  held_ += marked;
  while (!stopped() && step(out)) {
  }
}

bool OutputParser::step(std::vector<StreamEvent>& out) {
  switch (phase_) {
    case Phase::kReasoning: return read_reasoning(out);
    case Phase::kRawReasoning: return read_raw_reasoning(out);
    case Phase::kContent: return read_content(out);
    case Phase::kCalls: return read_calls(out);
    case Phase::kAfterCalls: return read_after_calls(out);
    case Phase::kRaw: return read_raw(out);
  }
  return false;
}

// What `marked`, which begins with '<', is the beginning of.
OutputParser::Opening OutputParser::find_opening(std::string_view marked) const {
  if (marked.starts_with(kBlock)) return Opening::kBlock;
  const bool tag = marked.starts_with("<\xff") || marked.starts_with("</\xff");
  if (at_end_) return tag ? Opening::kStray : Opening::kNo;
  if (kBlock.starts_with(marked) || marked == "</") return Opening::kMaybe;
  return tag ? Opening::kStray : Opening::kNo;
}

bool OutputParser::enter(Phase phase, size_t consumed) {
  phase_ = phase;
  held_.erase(0, consumed);
  return true;
}

bool OutputParser::end_reasoning(size_t consumed, std::vector<StreamEvent>& out) {
  StreamEvent event;
  event.type = StreamEvent::Type::kReasoningEnd;
  out.push_back(std::move(event));
  return enter(Phase::kContent, consumed);
}

bool OutputParser::read_reasoning(std::vector<StreamEvent>& out) {
  std::string plain;
  const auto pass = [&] { emit(StreamEvent::Type::kReasoning, spell_marks(plain), out); };
  size_t i = 0;
  while (i < held_.size()) {
    const size_t next = std::min(held_.find_first_of("\n<\xfe", i), held_.size());
    plain.append(held_, i, next - i);
    i = next;
    // Newlines, perhaps none, and what they lead to.
    const size_t past = std::min(held_.find_first_not_of('\n', i), held_.size());
    if (past == held_.size()) {
      if (at_end_) i = past;
      break;
    }
    if (held_[past] == kThinkEndByte) {
      pass();
      return end_reasoning(past + 1, out);
    }
    const Opening opening = held_[past] == '<' ? find_opening(std::string_view(held_).substr(past)) : Opening::kNo;
    if (opening == Opening::kMaybe) break;
    if (opening == Opening::kBlock) {
      pass();
      malformed_ = true;
      return enter(Phase::kRawReasoning, i);
    }
    if (reasoned_ || !plain.empty()) plain.append(past - i, '\n');
    i = past;
    if (held_[i] == '<') plain.push_back(held_[i++]);
  }
  held_.erase(0, i);
  pass();
  return false;
}

bool OutputParser::read_raw_reasoning(std::vector<StreamEvent>& out) {
  const size_t end = held_.find(kThinkEndByte);
  emit(StreamEvent::Type::kMalformed, spell_marks(std::string_view(held_).substr(0, end)), out);
  if (end != std::string::npos) return end_reasoning(end + 1, out);
  held_.clear();
  return false;
}

bool OutputParser::read_content(std::vector<StreamEvent>& out) {
  std::string plain;
  size_t i = 0;
  while (i < held_.size()) {
    const size_t next = std::min(held_.find_first_of("\n<\xfe", i), held_.size());
    plain.append(held_, i, next - i);
    i = next;
    if (i == held_.size()) break;
    if (held_[i] == kThinkEndByte) {  // has no meaning here
      ++i;
      continue;
    }
    size_t past = i;
    while (past < held_.size() && past < i + kBlockNewlines && held_[past] == '\n') ++past;
    Opening opening = Opening::kNo;
    if (past == held_.size()) {
      opening = at_end_ ? Opening::kNo : Opening::kMaybe;
    } else if (held_[past] == '<') {
      opening = find_opening(std::string_view(held_).substr(past));
    }
    if (opening == Opening::kMaybe) break;
    if (opening != Opening::kNo) {
      held_.erase(0, i);
      content(plain, out);
      return stopped() ? false : leave_content(opening, past - i, out);
    }
    plain.push_back(held_[i++]);
  }
  held_.erase(0, i);
  content(plain, out);
  return false;
}

// held_ begins with a tag and the newlines that lead to it.
bool OutputParser::leave_content(Opening opening, size_t newlines, std::vector<StreamEvent>& out) {
  std::string rest;
  stops_.flush(rest);
  emit(StreamEvent::Type::kContent, std::move(rest), out);
  if (opening == Opening::kStray) return break_off("", out);
  const size_t length = newlines + kBlock.size();
  calls_.begin(std::string_view(held_).substr(0, length));
  return enter(Phase::kCalls, length);
}

bool OutputParser::break_off(std::string_view before, std::vector<StreamEvent>& out) {
  malformed_ = true;
  emit(StreamEvent::Type::kMalformed, spell_marks(before), out);
  return enter(Phase::kRaw, 0);
}

bool OutputParser::read_calls(std::vector<StreamEvent>& out) {
  switch (calls_.read(held_, out)) {
    case ToolCallReader::Result::kClosed: return enter(Phase::kAfterCalls, 0);
    case ToolCallReader::Result::kBroken: return break_off(calls_.raw(), out);
    case ToolCallReader::Result::kMore: break;
  }
  return false;
}

bool OutputParser::read_after_calls(std::vector<StreamEvent>& out) {
  held_.erase(0, std::min(held_.find_first_not_of(" \t\r\n"), held_.size()));
  return held_.empty() ? false : break_off("", out);
}

bool OutputParser::read_raw(std::vector<StreamEvent>& out) {
  emit(StreamEvent::Type::kMalformed, spell_marks(held_), out);
  held_.clear();
  return false;
}

void OutputParser::content(std::string_view marked, std::vector<StreamEvent>& out) {
  std::string certain;
  const bool met = stops_.push(spell_marks(marked), certain);
  emit(StreamEvent::Type::kContent, std::move(certain), out);
  if (met) end(EndReason::kStopString, out);
}

void OutputParser::emit(StreamEvent::Type type, std::string text, std::vector<StreamEvent>& out) {
  if (text.empty()) return;
  reasoned_ = reasoned_ || type == StreamEvent::Type::kReasoning;
  StreamEvent event;
  event.type = type;
  event.text = std::move(text);
  out.push_back(std::move(event));
}

void OutputParser::end(EndReason reason, std::vector<StreamEvent>& out) {
  reason_ = reason;
  StreamEvent event;
  event.type = StreamEvent::Type::kEnd;
  event.reason = reason;
  out.push_back(std::move(event));
}

void OutputParser::finish(EndReason reason, std::vector<StreamEvent>& out) {
  if (stopped()) return;
  at_end_ = true;
  while (!stopped() && step(out)) {
  }
  if (phase_ == Phase::kCalls) {
    break_off(calls_.raw(), out);
    read_raw(out);
  }
  if (stopped()) return;
  std::string rest;
  stops_.flush(rest);
  emit(StreamEvent::Type::kContent, std::move(rest), out);
  if (reason == EndReason::kStop && malformed_) reason = EndReason::kMalformed;
  if (reason == EndReason::kStop && calls_.calls() != 0) reason = EndReason::kToolCalls;
  end(reason, out);
}

}  // namespace dsv4
