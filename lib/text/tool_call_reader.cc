#include "lib/text/tool_call_reader.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/mix.h"
#include "lib/text/json_value.h"
#include "lib/text/marked_text.h"

namespace dsv4 {
namespace {

// Names longer than this do not come from a tool's definition: without a bound an unclosed quote would hold back
// everything that follows.
constexpr size_t kMaxName = 1024;

// The tags in marked text; \xff is kDsmlByte.
constexpr std::string_view kInvoke = "<\xffinvoke name=\"";
constexpr std::string_view kInvokeClose = "\">";
constexpr std::string_view kInvokeEnd = "</\xffinvoke>";
constexpr std::string_view kParameter = "<\xffparameter name=\"";
constexpr std::string_view kParameterString = "\" string=\"true\">";
constexpr std::string_view kParameterJson = "\" string=\"false\">";
constexpr std::string_view kParameterEnd = "</\xffparameter>";
constexpr std::string_view kBlockEnd = "</\xfftool_calls>";

bool may_become(std::string_view s, std::string_view whole) { return s.size() < whole.size() && whole.starts_with(s); }

}  // namespace

struct ToolCallReader::Tag {
  enum class Kind : uint8_t { kMore, kBad, kInvoke, kInvokeEnd, kString, kJson, kBlockEnd };
  Kind kind = Kind::kBad;
  size_t length = 0;
  std::string_view name;
};

ToolCallReader::Tag ToolCallReader::read_tag(std::string_view marked) {
  using Kind = Tag::Kind;
  struct Form {
    std::string_view open, close;  // close "": the tag has no name
    Kind kind;
  };
  static constexpr Form kForms[] = {{kInvokeEnd, "", Kind::kInvokeEnd},
                                    {kBlockEnd, "", Kind::kBlockEnd},
                                    {kInvoke, kInvokeClose, Kind::kInvoke},
                                    {kParameter, kParameterString, Kind::kString},
                                    {kParameter, kParameterJson, Kind::kJson}};
  bool more = false;
  for (const Form& form : kForms) {
    more = more || may_become(marked, form.open);
    if (!marked.starts_with(form.open)) continue;
    if (form.close.empty()) return {form.kind, form.open.size(), {}};
    const std::string_view rest = marked.substr(form.open.size());
    // A name ends at its quote; the format has no escape for one inside.
    const size_t quote = rest.find_first_of("\"\n\xff\xfe");
    if (quote == 0 || std::min(quote, rest.size()) > kMaxName) return {};
    if (quote == std::string_view::npos) return {Kind::kMore, 0, {}};
    const std::string_view end = rest.substr(quote);
    if (end.starts_with(form.close)) {
      return {form.kind, form.open.size() + quote + form.close.size(), rest.substr(0, quote)};
    }
    more = more || may_become(end, form.close);
  }
  return {more ? Kind::kMore : Kind::kBad, 0, {}};
}

void ToolCallReader::begin(std::string_view opening) {
  place_ = Place::kBlock;
  raw_ = opening;
  calls_before_ = calls_;
}

ToolCallReader::Result ToolCallReader::read(std::string& marked, std::vector<StreamEvent>& out) {
  for (;;) {
    const Step step = place_ == Place::kValue ? read_value(marked, out) : read_between(marked, out);
    if (step == Step::kMore) return Result::kMore;
    if (step == Step::kClosed) return Result::kClosed;
    if (step == Step::kBroken) return Result::kBroken;
  }
}

void ToolCallReader::take(std::string& marked, size_t count) {
  raw_.append(marked, 0, count);
  marked.erase(0, count);
}

ToolCallReader::Step ToolCallReader::read_between(std::string& marked, std::vector<StreamEvent>& out) {
  take(marked, std::min(marked.find_first_not_of(" \t\r\n"), marked.size()));
  const Tag tag = read_tag(marked);
  if (tag.kind == Tag::Kind::kMore) return Step::kMore;
  bool fits = false;
  const bool in_call = place_ == Place::kCall;
  switch (tag.kind) {
    case Tag::Kind::kInvoke: fits = !in_call && begin_call(tag, out); break;
    case Tag::Kind::kString:
    case Tag::Kind::kJson: fits = in_call && begin_parameter(tag, out); break;
    case Tag::Kind::kInvokeEnd: fits = in_call; break;
    case Tag::Kind::kBlockEnd: fits = !in_call && calls_ != calls_before_; break;  // a block without calls is none
    default: break;
  }
  if (!fits) return Step::kBroken;
  take(marked, tag.length);
  if (tag.kind == Tag::Kind::kInvokeEnd) end_call(out);
  return tag.kind == Tag::Kind::kBlockEnd ? Step::kClosed : Step::kGoOn;
}

bool ToolCallReader::begin_call(const Tag& tag, std::vector<StreamEvent>& out) {
  call_ = {fmt::format("call_{:016x}", mix64(id_seed_ + (calls_ + 1) * kMixStep)), std::string(tag.name), ""};
  keys_.clear();
  place_ = Place::kCall;
  StreamEvent event;
  event.type = StreamEvent::Type::kCallBegin;
  event.index = calls_;
  event.call = call_;
  out.push_back(std::move(event));
  return true;
}

bool ToolCallReader::begin_parameter(const Tag& tag, std::vector<StreamEvent>& out) {
  if (std::find(keys_.begin(), keys_.end(), tag.name) != keys_.end()) return false;  // which of the two would count?
  std::string head = keys_.empty() ? "{\"" : ", \"";
  json_escape(tag.name, head);
  is_json_ = tag.kind == Tag::Kind::kJson;
  head += is_json_ ? "\": " : "\": \"";
  arguments(head, out);
  keys_.emplace_back(tag.name);
  json_.clear();
  place_ = Place::kValue;
  return true;
}

ToolCallReader::Step ToolCallReader::read_value(std::string& marked, std::vector<StreamEvent>& out) {
  size_t i = 0;
  Step step = Step::kMore;
  while (i < marked.size()) {
    i = std::min(marked.find_first_of("<\xfe", i), marked.size());
    if (i == marked.size()) break;
    const std::string_view rest = std::string_view(marked).substr(i);
    if (rest.starts_with(kParameterEnd)) {
      step = Step::kGoOn;
    } else if (may_become(rest, kParameterEnd) || rest == "<") {
      break;
    } else if (rest[0] == kThinkEndByte || rest.starts_with("<\xff") || rest.starts_with("</\xff")) {
      step = Step::kBroken;  // another tag, where this parameter's end is missing
    } else {
      ++i;
      continue;
    }
    break;
  }
  value(std::string_view(marked).substr(0, i), out);
  take(marked, i);
  if (step != Step::kGoOn) return step;
  if (!end_parameter(out)) return Step::kBroken;
  take(marked, kParameterEnd.size());
  return step;
}

void ToolCallReader::value(std::string_view text, std::vector<StreamEvent>& out) {
  if (text.empty()) return;
  const std::string spelled = spell_marks(text);
  if (is_json_) {
    json_ += spelled;
    arguments(spelled, out);
  } else {
    std::string escaped;
    json_escape(spelled, escaped);
    arguments(escaped, out);
  }
}

bool ToolCallReader::end_parameter(std::vector<StreamEvent>& out) {
  place_ = Place::kCall;
  if (!is_json_) {
    arguments("\"", out);
    return true;
  }
  Json parsed;
  return try_parse_json(json_, parsed);
}

void ToolCallReader::end_call(std::vector<StreamEvent>& out) {
  arguments(keys_.empty() ? "{}" : "}", out);
  StreamEvent event;
  event.type = StreamEvent::Type::kCall;
  event.index = calls_++;
  event.call = std::move(call_);
  out.push_back(std::move(event));
  call_ = {};
  raw_.clear();
  place_ = Place::kBlock;
}

void ToolCallReader::arguments(std::string_view json, std::vector<StreamEvent>& out) {
  call_.arguments += json;
  StreamEvent event;
  event.type = StreamEvent::Type::kArguments;
  event.index = calls_;
  event.text = json;
  event.call.id = call_.id;
  event.call.name = call_.name;
  out.push_back(std::move(event));
}

}  // namespace dsv4
