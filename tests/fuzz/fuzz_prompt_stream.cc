// Any bytes as the model's output: byte 0 holds options, up to the first zero byte follows a stop string, then comes a
// text that is cut into tokens in two ways. Deltas are whole UTF-8, and both cuts give the same result.
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
#include "lib/text/stream_parser.h"

namespace {

using namespace dsv4;

struct Result {
  std::string reasoning, content;
  int ends = 0;
  EndReason reason = EndReason::kNone;
  bool operator==(const Result&) const = default;
};

Result run(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool reasoning, const std::string& stop) {
  StreamParser parser(tokenizer, reasoning, stop.empty() ? std::vector<std::string>() : std::vector<std::string>{stop});
  std::vector<StreamEvent> events;
  for (const int32_t id : ids) parser.push(id, events);
  parser.finish(EndReason::kLength, events);
  Result r;
  for (const StreamEvent& e : events) {
    if (!utf8_valid(e.text) || r.ends != 0) __builtin_trap();
    if (e.type == StreamEvent::Type::kReasoning) r.reasoning += e.text;
    if (e.type == StreamEvent::Type::kContent) r.content += e.text;
    if (e.type == StreamEvent::Type::kEnd) ++r.ends, r.reason = e.reason;
  }
  if (r.ends != 1 || (!stop.empty() && r.content.find(stop) != std::string::npos)) __builtin_trap();
  return r;
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
  const bool reasoning = (data[0] & 1) != 0;
  if (!(run(*tokenizer, ids, reasoning, stop) == run(*tokenizer, joined(*tokenizer, ids), reasoning, stop))) {
    __builtin_trap();
  }
  return 0;
}
