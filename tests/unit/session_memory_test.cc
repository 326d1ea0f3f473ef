// The account of sessions' memory: what they hold is what is counted, the limit is kept at every moment, what does not
// fit is an error when it is created, and what was created runs to the end of its context.

#include <algorithm>
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "backends/reference/reference_backend.h"
#include "lib/base/error.h"
#include "lib/session/session.h"

using namespace dsv4;

namespace {

constexpr int64_t kContext = 400;

std::shared_ptr<Engine> open_engine() {
  return std::make_shared<Engine>(std::make_unique<Model>(Checkpoint::open(DSV4_TEST_DATA "/golden/micro", {}),
                                                          make_reference_backend(), 512));
}

uint64_t bytes_of(const Engine& engine, int64_t context) {
  const Model& model = *engine.model;
  const StateShape shape = Model::state_shape(model.config(), context, model.max_rows(), false);
  return model.backend().state_bytes(shape) + 4 * static_cast<uint64_t>(2 * model.config().vocab + context);
}

std::vector<int32_t> some_ids(const Engine& engine, int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids;
  while (static_cast<int64_t>(ids.size()) < count) {
    ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(engine.model->config().vocab)));
  }
  return ids;
}

SessionOptions options(int64_t context = kContext) { return {context, 0, false, 8}; }

}  // namespace

TEST_CASE("what is counted is what the sessions hold, whatever is done with them, and nothing stays behind") {
  const auto engine = open_engine();
  const uint64_t one = bytes_of(*engine, kContext);
  std::mt19937 random(3);
  std::list<Session> sessions;
  const std::vector<int32_t> ids = some_ids(*engine, kContext, 1);
  for (int step = 0; step < 60; ++step) {
    const auto pick = [&]() -> Session& {
      return *std::next(sessions.begin(), static_cast<std::ptrdiff_t>(random() % sessions.size()));
    };
    switch (sessions.empty() ? 0 : random() % 5) {
      case 0: sessions.emplace_back(engine, options()); break;
      case 1: sessions.emplace_back(std::as_const(pick())); break;  // a fork shares the checkpoints
      case 2: sessions.pop_front(); break;
      case 3: pick().rewind(0); break;
      default: {
        Session& s = pick();
        s.sync_tokens(std::span(ids).first(1 + random() % ids.size()));
        s.evaluate({}, {}, {});
        s.timeline().mark();
      }
    }
    std::map<const void*, uint64_t> copies;
    for (const Session& s : sessions) {
      for (int64_t p = 1; p <= kContext; ++p) {
        if (const auto* rows = s.timeline().checkpoints().rows_at(p)) copies[rows] = rows->size();
      }
    }
    uint64_t want = one * sessions.size();
    for (const auto& [rows, bytes] : copies) want += bytes;
    CHECK(engine->memory_used.load() == want);
  }
  sessions.clear();
  CHECK(engine->memory_used.load() == 0);
}

TEST_CASE("appending takes no memory: the token ids have their place from the beginning, in forks and restored ones too") {
  const auto engine = open_engine();
  const std::vector<int32_t> ids = some_ids(*engine, kContext, 2);
  Session s(engine, options());
  s.append_tokens(std::span(ids).first(1));
  Session fork(s);
  const std::unique_ptr<Timeline> restored = s.timeline().make_empty();
  const int32_t* const none = restored->tokens().data();
  restored->set_restored(s.timeline().tokens(), 0, {});
  CHECK(restored->tokens().data() == none);
  for (Timeline* t : {&s.timeline(), &fork.timeline(), restored.get()}) {
    const int32_t* const place = t->tokens().data();
    while (t->size() < kContext) t->append(std::span(ids).subspan(static_cast<size_t>(t->size()), 1));
    CHECK(t->tokens().data() == place);
  }
}

TEST_CASE("under any limit: so many sessions as fit, an error for one more, and those there go on to their end") {
  const auto engine = open_engine();
  const uint64_t one = bytes_of(*engine, kContext);
  const std::vector<int32_t> ids = some_ids(*engine, kContext, 4);
  for (uint64_t quarters = 0; quarters <= 11; ++quarters) {
    CAPTURE(quarters);
    engine->memory_limit = std::max<uint64_t>(1, one * quarters / 4);
    std::list<Session> sessions;
    const auto full = [&](const Error& e) {
      CHECK(e.status() == Status::kOutOfMemoryHost);
      CHECK(std::string(e.what()).find("host_memory_limit") != std::string::npos);
    };
    try {
      while (sessions.size() < 10) sessions.emplace_back(engine, options());
    } catch (const Error& e) {
      full(e);
    }
    CHECK(sessions.size() == quarters / 4);
    for (Session& s : sessions) {
      s.evaluate(ids, {}, {});
      CHECK(s.timeline().evaluated() == kContext);
      CHECK(engine->memory_used.load() <= engine->memory_limit);
    }
    if (sessions.empty()) continue;
    try {
      const Session fork(sessions.front());
      CHECK(false);
    } catch (const Error& e) {
      full(e);
    }
    CHECK(sessions.front().timeline().evaluated() == kContext);
  }
}

TEST_CASE("a session that fits is never refused because of one that does not, and the limit holds at every moment") {
  const auto engine = open_engine();
  engine->memory_limit = 1000;
  const MemoryShare held(*engine, 500);
  std::atomic<bool> stop{false};
  std::thread greedy([&] {
    while (!stop) CHECK_THROWS_AS(MemoryShare(*engine, 999), Error);
  });
  std::thread watch([&] {
    while (!stop) {
      if (engine->memory_used.load() > 1000) {
        CHECK(false);
        break;
      }
    }
  });
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    try {
      const MemoryShare fits(*engine, 500);
    } catch (const Error&) {
      ++refused;
    }
  }
  stop = true;
  greedy.join();
  watch.join();
  CHECK(refused == 0);
  CHECK_THROWS_AS(MemoryShare(*engine, UINT64_MAX), Error);
  CHECK(engine->memory_used.load() == 500);
}
