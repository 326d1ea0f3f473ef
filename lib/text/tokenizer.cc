#include "lib/text/tokenizer.h"

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {

struct Tokenizer::Call {
  explicit Call(const Tokenizer& tokenizer, std::vector<int32_t>& ids) : matcher(*tokenizer.pre_tokenizer_), out(ids) {}
  PreTokenizer::Matcher matcher;
  BpeScratch scratch;
  std::vector<int32_t>& out;
};

void Tokenizer::encode(std::string_view text, bool parse_special, std::vector<int32_t>& out) const {
  if (text.size() > kPieceLimit) {
    fail(Status::kInvalidArgument, "text: {} bytes, at most {} can be tokenized at once", text.size(), kPieceLimit);
  }
  if (!utf8_valid(text)) {
    size_t at = 0;
    for (size_t next = 0; next < text.size();) {
      at = next;
      if (utf8_next(text, next) == 0xfffd && next - at == 1) break;
    }
    fail(Status::kInvalidArgument, "text: not valid UTF-8 at byte {} (0x{:02x})", at, static_cast<uint8_t>(text[at]));
  }
  Call call(*this, out);
  const size_t before = out.size();
  try {
    if (parse_special) {
      encode_added(text, &raw_added_, &normalized_added_, call);
    } else {
      encode_ordinary(text, call);
    }
  } catch (...) {
    out.resize(before);  // all or nothing
    throw;
  }
}

void Tokenizer::encode_added(std::string_view text, const AddedTokens* added, const AddedTokens* next,
                             Call& call) const {
  const auto rest = [&](std::string_view part) {
    if (part.empty()) return;
    if (next != nullptr) {
      encode_added(part, next, nullptr, call);
    } else {
      encode_ordinary(part, call);
    }
  };
  size_t done = 0;
  while (!added->empty() && done < text.size()) {
    const AddedTokens::Match match = added->search(text, done);
    if (match.id < 0) break;
    rest(text.substr(done, match.begin - done));
    call.out.push_back(match.id);
    done = match.end;
  }
  rest(text.substr(done));
}

void Tokenizer::encode_ordinary(std::string_view text, Call& call) const {
  size_t begin = 0;
  for (const size_t end : call.matcher.split(text)) {
    bpe_encode(merges_, byte_tokens_, text.substr(begin, end - begin), call.scratch, call.out);
    begin = end;
  }
}

std::string_view Tokenizer::bytes(int32_t id) const {
  if (!has_flag(id, kPresent)) return {};
  const size_t i = static_cast<size_t>(id);
  return std::string_view(pool_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
}

int32_t Tokenizer::find(std::string_view token) const {
  const int32_t id = raw_added_.find(token);
  return id >= 0 ? id : normalized_added_.find(token);
}

}  // namespace dsv4
