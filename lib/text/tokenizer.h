// Tokenizer: text <-> token ids as a published tokenizer.json defines them (spec: model.md §5): added tokens, regular
// expressions that cut the text into pieces, the byte alphabet, byte-pair merges. All of it is read from the file;
// what the file asks for and this does not do is an error when it is loaded, never a silent difference.
// Immutable once loaded: any number of threads may use one at the same time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/added_tokens.h"
#include "lib/text/bpe.h"
#include "lib/text/pre_tokenizer.h"

namespace dsv4 {

class Tokenizer {
 public:
  // Errors: kNotFound, kIo; kCorrupt names the field that is malformed, kUnsupported what is not implemented.
  static std::unique_ptr<Tokenizer> load(const std::string& path);
  // The same from a file's text; `name` stands for the file in messages.
  static std::unique_ptr<Tokenizer> parse(std::string_view json, const std::string& name);

  // Appends the ids of `text`. With parse_special false the text never becomes an added token, whatever it spells.
  // Error kInvalidArgument for malformed UTF-8 (names the byte).
  void encode(std::string_view text, bool parse_special, std::vector<int32_t>& out) const;

  // The bytes a token stands for, possibly part of a character; an added token gives its content; "" for an id that
  // has no token (a model may have more rows than the tokenizer has tokens).
  std::string_view bytes(int32_t id) const;
  // Control tokens: added tokens that the file marks as special, and the protocol's own (which it does not all mark).
  bool is_special(int32_t id) const { return has_flag(id, kSpecial); }
  bool is_added(int32_t id) const { return has_flag(id, kAdded); }
  // The id of an added token by its content, -1 when there is none.
  int32_t find(std::string_view token) const;
  // Largest id + 1.
  int64_t vocab_size() const { return static_cast<int64_t>(flags_.size()); }

 private:
  friend class TokenizerLoader;
  enum : uint8_t { kPresent = 1, kAdded = 2, kSpecial = 4 };
  struct Call;  // what one encode works in

  Tokenizer() = default;
  bool has_flag(int32_t id, uint8_t flag) const {
    return id >= 0 && static_cast<size_t>(id) < flags_.size() && (flags_[static_cast<size_t>(id)] & flag) != 0;
  }
  void encode_ordinary(std::string_view text, Call& call) const;
  void encode_added(std::string_view text, const AddedTokens* added, const AddedTokens* next, Call& call) const;

  std::string pool_;               // the bytes of all tokens, by id
  std::vector<uint32_t> offsets_;  // [vocab + 1] into pool_
  std::vector<uint8_t> flags_;     // [vocab]
  std::array<int32_t, 256> byte_tokens_{};
  MergeTable merges_;
  AddedTokens raw_added_;         // "normalized": false. These are found before the others,
  AddedTokens normalized_added_;  // even where one of the others would begin further left.
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
};

}  // namespace dsv4
