// The library's events as dsv4_event: for generate and for the parser.
#pragma once

#include <string>
#include <vector>

#include "include/dsv4.h"
#include "lib/session/session.h"

namespace dsv4::api {

dsv4_generate_stats stats_of(const GenerateStats& stats);

// Holds what an event points to while the host looks at it.
class EventWriter {
 public:
  EventWriter(dsv4_event_fn on_event, void* user) : on_event_(on_event), user_(user) {}

  int32_t send(const GenerateEvent& event);  // the host's answer
  int32_t send(const StreamEvent& event);    // of any type but kReasoningEnd; kEnd becomes DONE
 private:
  int32_t send(dsv4_event& event, std::string_view text);
  int32_t send_token(const TokenInfo& info);

  dsv4_event_fn on_event_;
  void* user_;
  std::string text_;
  std::vector<dsv4_token_logprob> top_;
};

}  // namespace dsv4::api
