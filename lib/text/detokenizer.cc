#include "lib/text/detokenizer.h"

#include "lib/base/utf8.h"

namespace dsv4 {

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  pending_ += bytes;
  const size_t whole = utf8_complete_prefix(pending_);
  out += utf8_sanitize(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
}

void Utf8Stream::flush(std::string& out) {
  out += utf8_sanitize(pending_);
  pending_.clear();
}

std::string StreamDecoder::push(int32_t id) {
  std::string out;
  if (tokenizer_.is_special(id)) {
    stream_.flush(out);  // no character goes on behind a control token
    if (control_ == ControlTokens::kSkip) return out;
  }
  stream_.push(tokenizer_.bytes(id), out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  stream_.flush(out);
  return out;
}

std::string decode(const Tokenizer& tokenizer, std::span<const int32_t> ids, ControlTokens control) {
  StreamDecoder decoder(tokenizer, control);
  std::string out;
  for (const int32_t id : ids) out += decoder.push(id);
  return out + decoder.finish();
}

std::string decode_bytes(const Tokenizer& tokenizer, std::span<const int32_t> ids, ControlTokens control) {
  std::string out;
  for (const int32_t id : ids) {
    if (control == ControlTokens::kWrite || !tokenizer.is_special(id)) out += tokenizer.bytes(id);
  }
  return out;
}

}  // namespace dsv4
