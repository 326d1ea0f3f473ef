// A turn's output into typed events, token by token or as text: the marker knows what a control token is, the parser
// what it means (output_parser.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/marked_text.h"
#include "lib/text/output_parser.h"

namespace dsv4 {

// Tokens. The tokenizer must outlive it.
class StreamParser {
 public:
  // Error kInvalidArgument: a stop string that is empty or not UTF-8.
  StreamParser(const Tokenizer& tokenizer, const OutputParserOptions& options) : marker_(tokenizer), parser_(options) {}

  // Appends the events of one more token. After the end, nothing happens.
  void push(int32_t id, std::vector<StreamEvent>& out);
  // The stream ends from outside: see OutputParser::finish.
  void finish(EndReason reason, std::vector<StreamEvent>& out);

  bool stopped() const { return parser_.stopped(); }
  EndReason reason() const { return parser_.reason(); }
  bool in_reasoning() const { return parser_.in_reasoning(); }
  bool mid_character() const { return marker_.mid_character(); }

 private:
  TokenMarker marker_;
  OutputParser parser_;
};

// Text, in which control tokens are spelled out.
class TextStreamParser {
 public:
  explicit TextStreamParser(const OutputParserOptions& options) : parser_(options) {}

  void push(std::string_view bytes, std::vector<StreamEvent>& out);
  void finish(EndReason reason, std::vector<StreamEvent>& out);
  bool stopped() const { return parser_.stopped(); }

 private:
  TextMarker marker_;
  OutputParser parser_;
};

}  // namespace dsv4
