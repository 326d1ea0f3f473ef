// A turn's output into typed events, token by token or as text: the marker knows what a control token is, the parser
// what it means (output_parser.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/text/marked_text.h"
#include "lib/text/output_parser.h"

namespace dsv4 {

// Marker: TokenMarker or TextMarker; Piece: what that one takes.
template <class Marker, class Piece>
class MarkedStreamParser {
 public:
  // Error kInvalidArgument: a stop string that is empty or not UTF-8.
  MarkedStreamParser(Marker marker, const OutputParserOptions& options)
      : marker_(std::move(marker)), parser_(options) {}

  // Appends the events of one more piece. After the end, nothing happens.
  void push(Piece piece, std::vector<StreamEvent>& out) {
    if (stopped()) return;
    std::string marked;
    const bool ends = marker_.push(piece, marked);
    parser_.push(marked, out);
    if (ends) parser_.finish(EndReason::kStop, out);
  }
  // The stream ends from outside: see OutputParser::finish.
  void finish(EndReason reason, std::vector<StreamEvent>& out) {
    std::string marked;
    marker_.flush(marked);
    parser_.push(marked, out);
    parser_.finish(reason, out);
  }

  bool stopped() const { return parser_.stopped(); }
  EndReason reason() const { return parser_.reason(); }
  bool in_reasoning() const { return parser_.in_reasoning(); }

 protected:
  Marker marker_;

 private:
  OutputParser parser_;
};

// Tokens. The tokenizer must outlive it.
class StreamParser : public MarkedStreamParser<TokenMarker, int32_t> {
 public:
  StreamParser(const Tokenizer& tokenizer, const OutputParserOptions& options)
      : MarkedStreamParser(TokenMarker(tokenizer), options) {}
  bool mid_character() const { return marker_.mid_character(); }
};

// Text, in which control tokens are spelled out.
class TextStreamParser : public MarkedStreamParser<TextMarker, std::string_view> {
 public:
  explicit TextStreamParser(const OutputParserOptions& options) : MarkedStreamParser(TextMarker(), options) {}
};

}  // namespace dsv4
