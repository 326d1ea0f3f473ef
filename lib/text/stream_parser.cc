#include "lib/text/stream_parser.h"

namespace dsv4 {

void StreamParser::push(int32_t id, std::vector<StreamEvent>& out) {
  if (stopped()) return;
  std::string marked;
  const bool ends = marker_.push(id, marked);
  parser_.push(marked, out);
  if (ends) parser_.finish(EndReason::kStop, out);
}

void StreamParser::finish(EndReason reason, std::vector<StreamEvent>& out) {
  std::string marked;
  marker_.flush(marked);
  parser_.push(marked, out);
  parser_.finish(reason, out);
}

void TextStreamParser::push(std::string_view bytes, std::vector<StreamEvent>& out) {
  if (stopped()) return;
  std::string marked;
  const bool ends = marker_.push(bytes, marked);
  parser_.push(marked, out);
  if (ends) parser_.finish(EndReason::kStop, out);
}

void TextStreamParser::finish(EndReason reason, std::vector<StreamEvent>& out) {
  std::string marked;
  marker_.flush(marked);
  parser_.push(marked, out);
  parser_.finish(reason, out);
}

}  // namespace dsv4
