// Turn: one call of generate. The prompt becomes the timeline's end, the model's tokens follow one by one until the
// turn ends, and what was said joins the conversation. A turn that is interrupted stays with the session as an
// OpenTurn, and a later call goes on with it as if nothing had come between.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/session/session.h"
#include "lib/session/token_picker.h"
#include "lib/text/stream_parser.h"

namespace dsv4 {

class Turn {
 public:
  Turn(Session& session, const GenerateOptions& options, const EventSink& sink);
  GenerateStats run();

 private:
  void prepare();
  void begin();
  void resume();
  void replay();
  void prompt_from_messages();
  void constrain(const Prompt& prompt);
  void limit_tokens(const Prompt& prompt);
  void begin_output();
  void prefill();
  void decode();
  EndReason step();  // one token; kNone: go on
  bool closes_reasoning() const;
  void finish();
  void keep_message();
  TurnIds answer_ids(bool& exact) const;
  OpenTurn interrupted() const;
  void roll_back();

  HostAnswer send(const GenerateEvent& event);
  void send_token(int32_t id, bool forced);
  void send_stream(const std::vector<StreamEvent>& events);
  void warn(const std::string& text);

  Session& session_;
  Timeline& timeline_;
  const GenerateOptions options_;
  const EventSink& sink_;
  const uint64_t seed_;
  TokenPicker picker_;
  std::unique_ptr<StreamParser> parser_;  // nullptr without a tokenizer
  std::vector<int32_t> before_;           // the timeline as it was
  int64_t prompt_ = 0;                    // tokens of the whole prompt
  int64_t answer_begin_ = 0;  // in the timeline: behind <think>, or behind the </think> that stands for none
  OutputStart start_ = OutputStart::kContent;
  ConstraintSpec constraint_;
  std::optional<ContinuedMessage> continued_;
  bool replaces_last_ = false;  // the conversation's last message: the one that is continued, or this turn's so far
  Message message_;             // as streamed
  HostAnswer answer_ = HostAnswer::kContinue;
  GenerateStats stats_;
};

}  // namespace dsv4
