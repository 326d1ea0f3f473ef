// Scheduler: the steps of one model, over all sessions that have tokens to evaluate at the moment.
//
// A session asks for one chunk at a time and waits for it. Whoever comes first while no step is running leads: it takes
// what the others ask for by then into the same step, oldest first, runs it, and lets the next one lead. So a step has
// the rows of all ready sessions, and there is no thread to hand over to: a session that is alone runs its steps
// itself.
//
// Sessions that decode come back for the next token within microseconds, after their draw, and a prompt for its next
// chunk; a leader waits for them that long, or they would form two groups that take turns, each waiting for the other's
// steps. And while others decode, a prompt gets so few rows at once that a step takes two to three times as long as one
// without it.
//
// A prompt that is cancelled ends the step within a layer, and the others' rows are run again without it, at once and
// with nobody new among them: each cancel costs them less than one step, mostly a short one, as the prompt's rows are
// gone; and a step is begun no more often than it has members.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "lib/model/model.h"

namespace dsv4 {

class Scheduler {
 public:
  explicit Scheduler(Model& model) : model_(model) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Evaluates one chunk of at most model.max_rows() tokens, together with those of other sessions. Throws what the step
  // throws; the state is then as it was. chunk.cancel: kCancelled while it waits, or within a layer; a single token that
  // shares its step with others stays until that step ends.
  void evaluate(const Chunk& chunk);

  // How many of `wanted` tokens a prompt should ask for now.
  int64_t fair_rows(int64_t wanted);

  // A session that asks again as soon as a step has ended, for as long as this lives.
  enum class Kind { kDecoding, kPrefilling };
  class Presence {
   public:
    Presence(Scheduler& scheduler, Kind kind) : scheduler_(scheduler), kind_(kind) { scheduler_.change(kind_, +1); }
    ~Presence() { scheduler_.change(kind_, -1); }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;

   private:
    Scheduler& scheduler_;
    const Kind kind_;
  };

 private:
  struct Request {
    const Chunk* chunk;
    bool taken = false, done = false;
    std::exception_ptr error;
    bool is_cancelled() const { return chunk->cancel != nullptr && chunk->cancel->load(std::memory_order_relaxed); }
  };
  using Lock = std::unique_lock<std::mutex>;

  void change(Kind kind, int by);
  void wait_for_others(Lock& lock);
  void take_requests();
  void lead(Lock& lock);
  bool ends_step(const Request& request) const;  // if it is cancelled
  std::exception_ptr run();
  void settle(const std::exception_ptr& error);
  void learn(double seconds);

  Model& model_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Request*> waiting_;  // oldest first; each lies on the stack of its evaluate()
  std::vector<Request*> step_;     // of the leader: the step under way, or those whom a cancelled one left behind
  std::vector<Chunk> chunks_;      // likewise
  bool leading_ = false;
  int decoding_ = 0;           // sessions that are between two tokens
  int prefilling_ = 0;         // sessions that are between two chunks of a prompt
  double decode_seconds_ = 0;  // of a step of single rows, lately
  double row_seconds_ = 0;     // of a prompt's row beside those
};

}  // namespace dsv4
