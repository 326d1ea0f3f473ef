// A step that several sequences share, when one of them is cancelled: the step ends within the layer, the others' rows
// are run again without it, nobody's logits change, and the one that was cancelled can go on.
#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "lib/backend/decorator.h"
#include "lib/base/error.h"
#include "lib/model/model.h"
#include "lib/session/scheduler.h"
#include "tests/support/backends_under_test.h"

namespace dsv4::test {
namespace {

constexpr int64_t kTokens = 64;

// A sequence that one thread evaluates in chunks of random sizes.
struct Member {
  std::unique_ptr<SequenceState> state;
  std::vector<int32_t> ids;
  std::vector<float> logits;  // [kTokens, vocab]
  std::atomic<bool> cancel{false};
  std::thread::id thread;
};

// Watches steps from the inside: who is in them, how far they get, and, at a random layer of some of them, cancels a
// member. What follows is checked by the next verbs; they come one at a time, whichever thread leads.
class Watch final : public Decorator {
 public:
  using Decorator::Decorator;
  bool watching = false;
  int layers = 0;
  std::map<const SequenceState*, Member*> members;
  // How often a step ended for its leader, for another member, for several at once; how often a single row stayed.
  int leader = 0, other = 0, several = 0, stayed = 0;
  int wrong_members = 0, late_layers = 0;

  void append(const Cache& cache, Mat kv, Mat rope, const Append& options) override {
    Decorator::append(cache, kv, rope, options);
    if (!watching) return;
    if (cache.layer == 0) begin(cache.runs);
    if (ends_) ++late_layers;
    if (cache.layer == strike_at_) strike(cache.runs);
  }
  void commit(std::span<const Run> runs) override {
    ends_ = false;
    Decorator::commit(runs);
  }

 private:
  void begin(std::span<const Run> runs) {
    std::set<const SequenceState*> now;
    for (const Run& r : runs) now.insert(r.state);
    if (ends_ && !remaining_.empty() && now != remaining_) ++wrong_members;
    ends_ = false;
    remaining_ = std::move(now);
    strike_at_ = random_() % 2 == 0 ? static_cast<int>(random_() % static_cast<unsigned>(layers - 1)) : -1;
  }
  void strike(std::span<const Run> runs) {
    const size_t first = random_() % runs.size(), count = 1 + random_() % 2;
    int ended = 0;
    for (size_t i = first; i < std::min(first + count, runs.size()); ++i) {
      Member& m = *members.at(runs[i].state);
      m.cancel.store(true);
      if (runs.size() > 1 && runs[i].rows == 1) {
        ++stayed;
        continue;
      }
      ends_ = true;
      remaining_.erase(runs[i].state);
      ++ended;
      if (runs.size() > 1) ++(m.thread == std::this_thread::get_id() ? leader : other);
    }
    several += ended > 1;
    // A single row that is alone in what is run again has nobody to wait for.
    if (ends_ && remaining_.size() == 1 && members.at(*remaining_.begin())->cancel.load()) remaining_.clear();
  }

  std::mt19937 random_{5};
  int strike_at_ = -1;
  bool ends_ = false;  // this step may not come to another layer
  std::set<const SequenceState*> remaining_;
};

void evaluate_all(Scheduler& scheduler, Member& m, int64_t vocab, uint32_t seed) {
  m.thread = std::this_thread::get_id();
  std::mt19937 random(seed);
  for (int64_t at = 0; at < kTokens;) {
    const int64_t most = random() % 2 == 0 ? 1 : 1 + static_cast<int64_t>(random() % 16);
    Chunk chunk;
    chunk.state = m.state.get();
    chunk.position = at;
    chunk.tokens =
        std::span(m.ids).subspan(static_cast<size_t>(at), static_cast<size_t>(std::min(most, kTokens - at)));
    chunk.all_logits = m.logits.data() + at * vocab;
    chunk.cancel = &m.cancel;
    try {
      scheduler.evaluate(chunk);
      at += static_cast<int64_t>(chunk.tokens.size());
    } catch (const Error& e) {
      if (e.status() != Status::kCancelled) throw;
    }
    m.cancel.store(false);
  }
}

}  // namespace

TEST_CASE("a member's cancel ends a shared step within the layer and costs the others no more than that") {
  auto backend = std::make_unique<Watch>(backends_under_test().front().make());  // the reference: same bits in any step
  Watch& watch = *backend;
  Model model(Checkpoint::open(DSV4_TEST_DATA "/golden/micro", {}), std::move(backend), 100);
  Scheduler scheduler(model);
  const int64_t vocab = model.config().vocab;
  watch.layers = static_cast<int>(model.config().layers);
  constexpr size_t kMembers = 4;
  std::mt19937 random(1);
  int rounds = 0;
  for (; rounds < 200 && std::min({watch.leader, watch.other, watch.several, watch.stayed}) < 5; ++rounds) {
    std::vector<Member> members(kMembers);
    watch.members.clear();
    for (Member& m : members) {
      m.state = model.make_state(kTokens, false);
      m.logits.resize(static_cast<size_t>(kTokens * vocab));
      for (int64_t i = 0; i < kTokens; ++i) m.ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)));
      watch.members[m.state.get()] = &m;
    }
    watch.watching = true;
    std::vector<std::thread> threads;
    for (Member& m : members) {
      threads.emplace_back([&, seed = static_cast<uint32_t>(random())] { evaluate_all(scheduler, m, vocab, seed); });
    }
    for (std::thread& t : threads) t.join();
    watch.watching = false;
    CHECK(watch.wrong_members == 0);
    CHECK(watch.late_layers == 0);
    for (Member& m : members) {
      std::vector<float> alone(m.logits.size());
      const auto state = model.make_state(kTokens, false);
      for (int64_t at = 0; at < kTokens; at += 32) {
        Chunk chunk;
        chunk.state = state.get();
        chunk.position = at;
        chunk.tokens = std::span(m.ids).subspan(static_cast<size_t>(at), 32);
        chunk.all_logits = alone.data() + at * vocab;
        model.evaluate({&chunk, 1});
      }
      CHECK(m.logits == alone);
    }
  }
  MESSAGE(rounds << " rounds; steps ended for their leader " << watch.leader << ", for another " << watch.other
                 << ", for several " << watch.several << "; single rows that stayed " << watch.stayed);
  CHECK(watch.leader >= 5);
  CHECK(watch.other >= 5);
  CHECK(watch.several >= 5);
  CHECK(watch.stayed >= 5);
}

}  // namespace dsv4::test
