#include "lib/text/byte_alphabet.h"

#include "lib/base/utf8.h"

namespace dsv4 {

ByteAlphabet::ByteAlphabet() {
  byte_.fill(-1);
  uint16_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    const uint16_t c = printable ? static_cast<uint16_t>(b) : next++;
    character_[static_cast<size_t>(b)] = c;
    byte_[c] = static_cast<int16_t>(b);
  }
}

bool ByteAlphabet::decode(std::string_view text, std::string& out) const {
  for (size_t at = 0; at < text.size();) {
    const uint32_t c = utf8_next(text, at);
    if (c >= byte_.size() || byte_[c] < 0) return false;
    out.push_back(static_cast<char>(byte_[c]));
  }
  return true;
}

std::string ByteAlphabet::encode(uint8_t byte) const {
  std::string out;
  utf8_append(out, character_[byte]);
  return out;
}

}  // namespace dsv4
