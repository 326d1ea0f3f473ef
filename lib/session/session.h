// Session: one timeline, and the turns of a conversation on it. One call at a time; cancel() from anywhere.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/session/engine.h"
#include "lib/session/generate.h"
#include "lib/session/open_turn.h"
#include "lib/session/timeline.h"

namespace dsv4 {

using SessionOptions = TimelineOptions;

class BackgroundTurn;

class Session {
 public:
  Session(std::shared_ptr<Engine> engine, const SessionOptions& options);
  // A fork: an independent session at the same place. Error kOutOfMemoryHost.
  Session(const Session& other);
  Session& operator=(const Session&) = delete;
  ~Session();  // a generation in the background is cancelled

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
  void append_tool_result(std::string_view call_id, std::string_view text);
  void append_json(std::string_view text);
  // Answers that this session gave itself keep their tokens.
  void set_conversation(Conversation conversation);
  void append_tokens(std::span<const int32_t> ids);
  void clear();
  void rewind(int64_t position);  // tokens only
  void sync_tokens(std::span<const int32_t> ids);
  // The prompt of the conversation as it stands, ahead of the turn that answers it.
  void evaluate_messages(const Timeline::Progress& progress);
  void evaluate(std::span<const int32_t> ids, const Timeline::Outputs& outputs, const Timeline::Progress& progress);
  // Returns the statistics; throws with the timeline as it was, but for kCancelled, which keeps what was generated.
  GenerateStats generate(const GenerateOptions& options, const EventSink& sink);
  // The same in the background: the session is busy until poll() has handed over the last event.
  void start(GenerateOptions options);
  // See BackgroundTurn::poll. Error kInvalidArgument: nothing was started; kBusy: another poll is under way.
  size_t poll(size_t most, std::chrono::milliseconds timeout, const EventSink& sink);
  void pretend(uint64_t position);  // synthetic models only, see dsv4_session_pretend
  void cancel();

  Timeline& timeline() { return timeline_; }
  const Timeline& timeline() const { return timeline_; }
  const Engine& engine() const { return *engine_; }
  const Conversation& conversation() const { return conversation_; }

  enum class Drive : uint32_t { kNone, kMessages, kTokens };
  Drive drive() const { return drive_; }
  // The turn that was interrupted last, as long as nothing else has happened since.
  const std::optional<OpenTurn>& open_turn() const { return open_turn_; }
  // Becomes all of what a snapshot holds; the timeline is of make_empty().
  void replace(Timeline& timeline, Conversation& conversation, Drive drive, std::optional<OpenTurn>& turn) noexcept;

 private:
  void need_drive(Drive drive) const;
  void take_use();
  bool is_cancelled() const { return cancel_.load(std::memory_order_relaxed); }

  std::shared_ptr<Engine> engine_;
  Timeline timeline_;
  Conversation conversation_;
  Drive drive_ = Drive::kNone;
  std::optional<OpenTurn> open_turn_;  // gone as soon as tokens or messages change in another way
  std::atomic<bool> busy_{false};
  std::atomic<bool> cancel_{false};
  std::atomic<bool> polling_{false};
  std::unique_ptr<BackgroundTurn> background_;  // last: it uses the rest

  friend class Turn;
  friend class BackgroundTurn;
};

}  // namespace dsv4
