// Any bytes as the model's output: byte 0 holds options, up to the first zero byte follows a stop string, then comes an
// output, read as tokens of two cuts and as text of two cuts. Deltas are whole UTF-8, complete calls have JSON
// arguments, and no cut changes the result.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/json_value.h"
#include "lib/text/stream_parser.h"

namespace {

using namespace dsv4;

struct Result {
  Message message;
  std::string arguments;
  int ends = 0;
  EndReason reason = EndReason::kNone;
};

Result collect(const std::vector<StreamEvent>& events, const std::string& stop) {
  Result r;
  std::string open;  // arguments of the call that is being read
  for (const StreamEvent& e : events) {
    if (!utf8_valid(e.text) || !utf8_valid(e.call.name) || r.ends != 0) __builtin_trap();
    if (e.type == StreamEvent::Type::kCallBegin) open.clear();
    if (e.type == StreamEvent::Type::kArguments) open += e.text, r.arguments += e.text;
    if (e.type == StreamEvent::Type::kCall) {
      Json json;
      if (open != e.call.arguments || !try_parse_json(open, json) || !json.is_object()) __builtin_trap();
    }
    if (e.type == StreamEvent::Type::kEnd) ++r.ends, r.reason = e.reason;
    add_event(e, r.message);
  }
  if (r.ends != 1 || (!stop.empty() && r.message.content.find(stop) != std::string::npos)) __builtin_trap();
  return r;
}

bool same(const Result& a, const Result& b) {
  if (a.message.calls.size() != b.message.calls.size()) return false;
  for (size_t i = 0; i < a.message.calls.size(); ++i) {
    const ToolCall &x = a.message.calls[i], &y = b.message.calls[i];
    if (x.name != y.name || x.arguments != y.arguments || x.id != y.id) return false;
  }
  return a.message.reasoning == b.message.reasoning && a.message.content == b.message.content &&
         a.message.malformed == b.message.malformed && a.arguments == b.arguments && a.reason == b.reason;
}

Result run_tokens(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, const OutputParserOptions& options) {
  StreamParser parser(tokenizer, options);
  std::vector<StreamEvent> events;
  for (const int32_t id : ids) parser.push(id, events);
  parser.finish(EndReason::kStop, events);
  return collect(events, options.stops.empty() ? "" : options.stops[0]);
}

// Pieces of `size` bytes.
Result run_text(std::string_view text, size_t size, const OutputParserOptions& options) {
  TextStreamParser parser(options);
  std::vector<StreamEvent> events;
  for (size_t at = 0; at < text.size(); at += size) parser.push(text.substr(at, size), events);
  parser.finish(EndReason::kStop, events);
  return collect(events, options.stops.empty() ? "" : options.stops[0]);
}

// One token a byte; a byte of 0x00 .. 0x0e is the added token with that id.
std::vector<int32_t> bytes_as_tokens(const Tokenizer& tokenizer, std::string_view text) {
  std::array<int32_t, 256> byte_ids{};
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view b = tokenizer.bytes(id);
    if (b.size() == 1) byte_ids[static_cast<uint8_t>(b[0])] = id;
  }
  std::vector<int32_t> ids;
  for (const char c : text) {
    const uint8_t byte = static_cast<uint8_t>(c);
    ids.push_back(byte < 15 && byte != '\n' && byte != '\t' ? byte : byte_ids[byte]);
  }
  return ids;
}

// The same with longer tokens wherever two neighbours make one.
std::vector<int32_t> joined(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::vector<int32_t> out;
  std::string pair;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i + 1 < ids.size() && !tokenizer.is_added(ids[i]) && !tokenizer.is_added(ids[i + 1])) {
      pair.assign(tokenizer.bytes(ids[i])).append(tokenizer.bytes(ids[i + 1]));
      std::vector<int32_t> both;
      if (utf8_valid(pair)) tokenizer.encode(pair, false, both);
      if (both.size() == 1) {
        out.push_back(both[0]);
        ++i;
        continue;
      }
    }
    out.push_back(ids[i]);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<Tokenizer> tokenizer =
      Tokenizer::load(DSV4_SOURCE_DIR "/samples/models/tiny/tokenizer.json");
  if (size < 2) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t zero = std::min(input.find('\0'), input.size());
  const std::string stop(input.substr(0, zero));
  if (!utf8_valid(stop)) return 0;
  const std::vector<int32_t> ids = bytes_as_tokens(*tokenizer, input.substr(std::min(zero + 1, input.size())));
  OutputParserOptions options;
  options.start = static_cast<OutputStart>(data[0] % 3);
  if (!stop.empty()) options.stops = {stop};
  if (!same(run_tokens(*tokenizer, ids, options), run_tokens(*tokenizer, joined(*tokenizer, ids), options))) {
    __builtin_trap();
  }
  const std::string_view text = input.substr(std::min(zero + 1, input.size()));
  if (!same(run_text(text, std::max<size_t>(text.size(), 1), options), run_text(text, 1 + data[0] / 32, options))) {
    __builtin_trap();
  }
  return 0;
}
