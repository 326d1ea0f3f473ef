#include "lib/text/marked_text.h"

#include <algorithm>

#include "lib/text/protocol_text.h"

namespace dsv4 {
namespace {

struct Spelling {
  std::string_view text;
  char mark;  // '\0': the end of the turn
};
constexpr Spelling kSpellings[] = {
    {protocol::kThinkEnd, kThinkEndByte}, {protocol::kDsml, kDsmlByte}, {protocol::kEos, '\0'}};

}  // namespace

std::string spell_marks(std::string_view marked) {
  std::string out;
  out.reserve(marked.size());
  for (const char c : marked) {
    if (c == kDsmlByte) {
      out += protocol::kDsml;
    } else if (c == kThinkEndByte) {
      out += protocol::kThinkEnd;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

TokenMarker::TokenMarker(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      eos_(tokenizer.find(protocol::kEos)),
      think_end_(tokenizer.find(protocol::kThinkEnd)),
      dsml_(tokenizer.find(protocol::kDsml)) {}

bool TokenMarker::push(int32_t id, std::string& marked) {
  if (!tokenizer_.is_special(id)) {
    utf8_.push(tokenizer_.bytes(id), marked);
    return false;
  }
  utf8_.flush(marked);  // no character goes on behind a control token
  if (id == dsml_) marked.push_back(kDsmlByte);
  if (id == think_end_) marked.push_back(kThinkEndByte);
  return id == eos_;
}

bool TextMarker::push(std::string_view bytes, std::string& marked) {
  utf8_.push(bytes, held_);
  return convert(false, marked);
}

void TextMarker::flush(std::string& marked) {
  utf8_.flush(held_);
  convert(true, marked);
}

bool TextMarker::convert(bool at_end, std::string& marked) {
  std::string_view rest = held_;
  bool ended = false;
  while (!rest.empty() && !ended) {
    const size_t plain = std::min(rest.find_first_of("<\xef"), rest.size());  // every spelling begins with one of them
    marked += rest.substr(0, plain);
    rest.remove_prefix(plain);
    if (rest.empty()) break;
    const auto is_here = [&](const Spelling& s) { return rest.starts_with(s.text); };
    const auto may_come = [&](const Spelling& s) { return !at_end && s.text.starts_with(rest); };
    const auto* found = std::find_if(std::begin(kSpellings), std::end(kSpellings), is_here);
    if (found != std::end(kSpellings)) {
      ended = found->mark == '\0';
      if (!ended) marked.push_back(found->mark);
      rest.remove_prefix(found->text.size());
    } else if (std::any_of(std::begin(kSpellings), std::end(kSpellings), may_come)) {
      break;
    } else {
      marked.push_back(rest.front());
      rest.remove_prefix(1);
    }
  }
  held_.erase(0, held_.size() - rest.size());
  return ended;
}

}  // namespace dsv4
