// The GPT-2 byte alphabet: byte-level vocabularies are written with one printable character per byte. Printable
// Latin-1 bytes stand for themselves; the other 68 are U+0100, U+0101, ... in the order of their values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace dsv4 {

class ByteAlphabet {
 public:
  ByteAlphabet();
  // Appends the bytes that `text` stands for. False when a character is not of the alphabet.
  bool decode(std::string_view text, std::string& out) const;
  // The character of a byte, as UTF-8.
  std::string encode(uint8_t byte) const;

 private:
  std::array<uint16_t, 256> character_;  // byte -> code point
  std::array<int16_t, 0x144> byte_;      // code point -> byte, -1: none
};

}  // namespace dsv4
