// Token ids -> text. A token may end inside a UTF-8 character, so a stream holds bytes back until the character is
// whole; bytes that can never become one are replaced by U+FFFD. Ids without a token give nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/text/tokenizer.h"

namespace dsv4 {

enum class ControlTokens : uint8_t { kSkip, kWrite };

// Bytes of a stream that are not whole characters yet.
class Utf8Stream {
 public:
  // Appends to `out` what is whole by now.
  void push(std::string_view bytes, std::string& out);
  // Appends the rest: bytes of an unfinished character become U+FFFD.
  void flush(std::string& out);
  bool empty() const { return pending_.empty(); }  // no character is unfinished

 private:
  std::string pending_;
};

class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, ControlTokens control = ControlTokens::kSkip)
      : tokenizer_(tokenizer), control_(control) {}

  // The text that this token completes: whole characters, possibly none.
  std::string push(int32_t id);
  // What is left at the end.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  ControlTokens control_;
  Utf8Stream stream_;
};

// The whole text of a sequence.
std::string decode(const Tokenizer& tokenizer, std::span<const int32_t> ids,
                   ControlTokens control = ControlTokens::kSkip);
// Its bytes, as they are: possibly not UTF-8.
std::string decode_bytes(const Tokenizer& tokenizer, std::span<const int32_t> ids,
                         ControlTokens control = ControlTokens::kSkip);

}  // namespace dsv4
