// Session: one timeline, and the turns of a conversation on it. One call at a time; cancel() from anywhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/sample/sampler.h"
#include "lib/session/engine.h"
#include "lib/session/timeline.h"
#include "lib/text/stream_parser.h"

namespace dsv4 {

using SessionOptions = TimelineOptions;

enum class HostAnswer { kContinue, kStop, kCancel };

struct GenerateStats {
  uint64_t prompt_tokens = 0;
  uint64_t reused_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t reasoning_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  uint64_t seed = 0;
  std::optional<ReasoningMode> reasoning;  // none in force in a session driven by tokens
  EndReason reason = EndReason::kNone;
};

struct GenerateEvent {
  enum class Kind { kPrefill, kReasoning, kContent, kWarning, kDone };
  Kind kind = Kind::kContent;
  std::string_view text;
  uint64_t done = 0, total = 0;
  const GenerateStats* stats = nullptr;
};

struct GenerateOptions {
  std::optional<ReasoningMode> reasoning;  // none: the conversation's own, else the profile's default
  SamplerOptions sampling;
  uint64_t seed = 0;        // 0: a fresh one
  uint64_t max_tokens = 0;  // 0: what the context holds
  std::vector<std::string> stops;
};

using EventSink = std::function<HostAnswer(const GenerateEvent&)>;

class Session {
 public:
  Session(std::shared_ptr<Engine> engine, const SessionOptions& options);

  // Exclusive use for the length of one call. Error kBusy.
  class Use {
   public:
    explicit Use(Session& session);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Session& session_;
  };

  void append_message(Role role, std::string_view text);
  void set_conversation(Conversation conversation);
  void append_tokens(std::span<const int32_t> ids);
  void clear();
  void evaluate(std::span<const int32_t> ids, const Timeline::Outputs& outputs, const Timeline::Progress& progress);
  // Returns the statistics; throws with the timeline as it was, but for kCancelled, which keeps what was generated.
  GenerateStats generate(const GenerateOptions& options, const EventSink& sink);
  void pretend(uint64_t position);  // synthetic models only, see dsv4_session_pretend
  void cancel();

  Timeline& timeline() { return timeline_; }
  const Engine& engine() const { return *engine_; }

 private:
  enum class Drive { kNone, kMessages, kTokens };
  void need_drive(Drive drive) const;
  bool is_cancelled() const { return cancel_.load(std::memory_order_relaxed); }

  std::shared_ptr<Engine> engine_;
  MemoryShare share_;
  Timeline timeline_;
  Conversation conversation_;
  Drive drive_ = Drive::kNone;
  std::atomic<bool> busy_{false};
  std::atomic<bool> cancel_{false};

  friend class Turn;
};

}  // namespace dsv4
