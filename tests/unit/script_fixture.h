// What random scripts over sessions share: random options of a generation, a host that ends it in some way, and the
// plain model that the scripts are held to, which computes everything from the ids in a fresh session.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/snapshot_fixture.h"

namespace dsv4::api_test {

using Ids = std::vector<int32_t>;
using Owned = std::unique_ptr<dsv4_session, void (*)(dsv4_session*)>;

// A number that whoever runs a long test may set.
inline uint32_t number_from(const char* variable, uint32_t otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? static_cast<uint32_t>(std::strtoul(text, nullptr, 10)) : otherwise;
}

class Random {
 public:
  explicit Random(uint32_t seed) : bits_(seed) {}
  size_t below(size_t n) { return n == 0 ? 0 : bits_() % n; }
  bool one_in(size_t n) { return below(n) == 0; }
  size_t between(size_t low, size_t high) { return low + below(high - low + 1); }
  Ids ids(size_t count, size_t vocab) {
    Ids out(count);
    for (int32_t& id : out) id = static_cast<int32_t>(below(vocab));
    return out;
  }

 private:
  std::mt19937 bits_;
};

inline Ids cut(const Ids& ids, size_t count) {
  return Ids(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
}
inline Ids joined(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
inline bool begins_with(const Ids& ids, const Ids& beginning) {
  return beginning.size() <= ids.size() && std::equal(beginning.begin(), beginning.end(), ids.begin());
}

inline Owned make_session(dsv4_model* m, uint64_t context, int32_t chunk, int32_t checkpoints, uint32_t flags) {
  dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
  o.context = context;
  o.prefill_chunk = chunk;
  o.checkpoints = checkpoints;
  o.flags = flags;
  dsv4_session* s = nullptr;
  REQUIRE(dsv4_session_create(m, &o, &s, nullptr) == DSV4_OK);
  return Owned(s, [](dsv4_session* p) { dsv4_session_release(&p); });
}

inline Owned fork_of(dsv4_session* s) {
  dsv4_session* fork = nullptr;
  REQUIRE(dsv4_session_fork(s, &fork, nullptr) == DSV4_OK);
  return Owned(fork, [](dsv4_session* p) { dsv4_session_release(&p); });
}

inline Ids tokens_of(dsv4_session* s) {
  Ids ids(session_info(s).tokens);
  size_t n = 0;
  REQUIRE(dsv4_session_tokens(s, ids.data(), ids.size(), &n, nullptr) == DSV4_OK);
  REQUIRE(n == ids.size());
  return ids;
}

// Options of a generation, with what they point to.
struct RandomOptions {
  dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
  dsv4_logit_bias bias[2] = {};

  RandomOptions(Random& random, size_t vocab, size_t most_tokens) {
    const double temperatures[] = {0, 0.5, 1, 2};
    o.temperature = temperatures[random.below(4)];
    o.seed = 1 + random.below(1u << 30);
    o.max_tokens = random.between(1, most_tokens);
    if (random.one_in(3)) o.top_k = static_cast<int32_t>(random.between(1, 40));
    if (random.one_in(3)) o.top_p = 0.1 * static_cast<double>(random.between(1, 9));
    if (random.one_in(4)) o.min_p = 0.05;
    if (random.one_in(3)) o.repetition_penalty = 1.3;
    if (random.one_in(4)) o.presence_penalty = 0.5;
    if (random.one_in(4)) o.frequency_penalty = -0.5;
    if (random.one_in(3)) o.penalty_window = random.between(1, 30);
    if (random.one_in(4)) {
      bias[0] = {static_cast<int32_t>(random.below(vocab / 2)), 2};
      bias[1] = {static_cast<int32_t>(vocab / 2 + random.below(vocab / 2)), -INFINITY};
      o.logit_bias_count = 2;
    }
    if (random.one_in(4)) o.logits = prefer_small;
    if (random.one_in(3)) {
      o.token_events = 1;
      o.top_logprobs = static_cast<int32_t>(random.below(4));
    }
  }
  // The struct points into this object, wherever that lies now.
  const dsv4_generate_options* get() {
    if (o.logit_bias_count != 0) o.logit_bias = bias;
    return &o;
  }
  static int32_t prefer_small(void*, float* logits, size_t count) {
    for (size_t i = 0; i < count; ++i) logits[i] -= 0.01f * static_cast<float>(i);
    return 0;
  }
};

// A host that lets a generation run, or ends it at some event in some way.
struct Host {
  enum class Way { kNot, kStop, kTakeBack, kPause, kCancel };
  dsv4_session* session;
  Way way = Way::kNot;
  size_t events_left = 0;
  bool acted = false;  // before DONE
  int done = 0;
  int32_t reason = 0;
  dsv4_generate_stats stats = {};

  static int32_t on_event(void* user, const dsv4_event* e) {
    Host& h = *static_cast<Host*>(user);
    CHECK(h.done == 0);
    if (e->type == DSV4_EVENT_DONE) {
      ++h.done;
      h.reason = e->reason;
      h.stats = *e->stats;
      return DSV4_CONTINUE;
    }
    if (h.way == Way::kNot || h.events_left-- != 0) return DSV4_CONTINUE;
    h.acted = true;
    if (h.way == Way::kCancel) dsv4_session_cancel(h.session);
    constexpr int32_t kAnswers[] = {DSV4_CONTINUE, DSV4_STOP, DSV4_CANCEL, DSV4_PAUSE, DSV4_CONTINUE};
    return kAnswers[static_cast<int>(h.way)];
  }
};

// Cancels again and again from a thread of its own, after some time of no particular length, while it lives.
class Canceller {
 public:
  Canceller(dsv4_session* session, size_t patience) : thread_([this, session, patience] {
      for (size_t i = 0; i < patience && !ended_; ++i) std::this_thread::yield();
      while (!ended_) {
        dsv4_session_cancel(session);
        std::this_thread::yield();
      }
    }) {}
  ~Canceller() {
    ended_ = true;
    thread_.join();
  }
  Canceller(const Canceller&) = delete;
  Canceller& operator=(const Canceller&) = delete;

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// Blocking, or started and polled in small portions. CANCELLED where the turn was.
inline dsv4_status generate(Host& host, const dsv4_generate_options* o, bool polled, Random& random,
                            dsv4_error** error = nullptr) {
  if (!polled) return dsv4_session_generate(host.session, o, Host::on_event, &host, nullptr, error);
  const dsv4_status started = dsv4_session_start(host.session, o, error);
  if (started != DSV4_OK) return started;
  while (host.done == 0) {
    const dsv4_status status = dsv4_session_poll(host.session, Host::on_event, &host, random.between(1, 4),
                                                 static_cast<uint32_t>(random.below(3)), nullptr, error);
    if (status != DSV4_OK) return status;
  }
  return host.reason == DSV4_DONE_CANCELLED ? DSV4_E_CANCELLED : DSV4_OK;
}

// The plain model: everything from the ids, one by one, in order, in a session that never did anything else.
class PlainModel {
 public:
  PlainModel(dsv4_model* m, uint64_t context, size_t vocab, bool draft)
      : model_(m), context_(context), vocab_(vocab), flags_(draft ? static_cast<uint32_t>(DSV4_SESSION_DRAFT) : 0u) {}

  // After the newest of these ids, at least one.
  const float* logits(const Ids& ids) { return rows(ids).data() + (ids.size() - 1) * vocab_; }
  const float* draft_logits(const Ids& ids) { return (rows(ids), draft_rows_).data() + (ids.size() - 1) * vocab_; }

  // The prompt and what follows it.
  Ids generate(const Ids& prompt, const dsv4_generate_options* o) {
    const Owned s = make_session(model_, context_, 1, -1, 0);
    REQUIRE(dsv4_session_append_tokens(s.get(), prompt.data(), prompt.size(), nullptr) == DSV4_OK);
    Failure f;
    const dsv4_status status = dsv4_session_generate(s.get(), o, nullptr, nullptr, nullptr, &f.error);
    INFO(f.text());
    REQUIRE(status == DSV4_OK);
    return tokens_of(s.get());
  }

 private:
  const std::vector<float>& rows(const Ids& ids) {
    if (begins_with(ids_, ids)) return rows_;
    if (session_ == nullptr || !begins_with(ids, ids_)) {
      session_ = make_session(model_, context_, 1, -1, flags_);
      ids_.clear();
    }
    const size_t from = ids_.size();
    rows_.resize(ids.size() * vocab_);
    draft_rows_.resize(flags_ != 0 ? rows_.size() : 0);
    dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
    o.logits = rows_.data() + from * vocab_;
    o.draft_logits = flags_ != 0 ? draft_rows_.data() + from * vocab_ : nullptr;
    REQUIRE(dsv4_session_eval(session_.get(), ids.data() + from, ids.size() - from, &o, nullptr) == DSV4_OK);
    ids_ = ids;
    return rows_;
  }

  dsv4_model* model_;
  uint64_t context_;
  size_t vocab_;
  uint32_t flags_;
  Owned session_{nullptr, [](dsv4_session* p) { dsv4_session_release(&p); }};
  Ids ids_;
  std::vector<float> rows_, draft_rows_;
};

}  // namespace dsv4::api_test
