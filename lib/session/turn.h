// Turn: one call of generate. The prompt becomes the timeline's end, the model's tokens follow one by one until the
// turn ends, and what was said joins the conversation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/session/session.h"

namespace dsv4 {

class Turn {
 public:
  Turn(Session& session, const GenerateOptions& options, const EventSink& sink);
  GenerateStats run();

 private:
  void prepare();
  void prompt_from_messages();
  void prefill();
  void decode();
  EndReason step();  // one token; kNone: go on
  void finish();
  void keep_message();
  void roll_back();

  HostAnswer send(const GenerateEvent& event);
  HostAnswer send_text(const std::vector<StreamEvent>& events);
  void warn(const std::string& text);

  Session& session_;
  Timeline& timeline_;
  const GenerateOptions& options_;
  const EventSink& sink_;
  Sampler sampler_;
  uint64_t seed_;
  Rng rng_;
  std::unique_ptr<StreamParser> parser_;  // nullptr without a tokenizer
  std::vector<int32_t> before_;           // the timeline as it was
  int64_t prompt_ = 0;                    // tokens of the whole prompt
  bool starts_in_reasoning_ = false;
  std::string reasoning_, content_;  // as streamed
  HostAnswer answer_ = HostAnswer::kContinue;
  GenerateStats stats_;
};

}  // namespace dsv4
