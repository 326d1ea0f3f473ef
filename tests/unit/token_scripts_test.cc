// Random scripts over everything that a session driven by tokens can do: append, eval, generate with random options,
// rewind, sync, fork, snapshots, clear, stops, pauses and cancels from a callback and from another thread, turns that are
// resumed there or in a fork or from a snapshot, start and poll, calls that must be refused. After each of them the
// session holds the ids that it should, and its logits and what it generates are those of the plain model, which computes
// everything from the ids in a fresh session.
//
// Bit for bit where the batch split is the same (tokens one by one) or the backend promises it in any split. Chunks of
// any size on the cpu backend change the order of sums, and a random network carries a flipped rounding on: there the
// mean divergence is held to what sequences_test.cc allows.

#include <optional>

#include <doctest/doctest.h>

#include "tests/support/sanitizers.h"
#include "tests/unit/script_fixture.h"

using namespace dsv4::api_test;

namespace {

constexpr uint64_t kContext = 1200;
constexpr size_t kLongest = 1100;
constexpr size_t kMostTokens = 24;  // of an answer
constexpr double kMeanDivergence = 0.15;  // as sequences_test.cc

struct Setup {
  const char* folder;
  const char* backend;
  bool same_bits_in_any_step;
  size_t most_tokens;  // of usual scripts; some are longer
};
constexpr const char* kMicro = DSV4_TEST_DATA "/golden/micro";
constexpr Setup kSetups[] = {{kMicro, "cpu", false, 60},
                             {kMicro, "reference", true, 40},
                             {kTiny, "cpu", false, 30},
                             {kTiny, "reference", true, 12}};

// A model, its plain model, and what was counted.
struct Bench {
  Setup setup;
  ModelHandle model;
  size_t vocab = 0;
  bool draft = false;
  std::unique_ptr<PlainModel> plain;
  double divergence = 0, distance = 0;
  int rows = 0, cancelled = 0, streams = 0, refused = 0, resumed = 0;

  explicit Bench(const Setup& s) : setup(s), model(open(s)) {
    dsv4_model_info info{};
    info.struct_size = sizeof info;
    REQUIRE(dsv4_model_info_get(model.get, &info, nullptr) == DSV4_OK);
    vocab = static_cast<size_t>(info.vocab);
    draft = info.draft_head != 0;
    plain = std::make_unique<PlainModel>(model.get, kContext, vocab, draft);
  }
  static ModelHandle open(const Setup& s) {
    dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
    o.backend = s.backend;
    o.threads = s.same_bits_in_any_step ? 0 : 1;
    return ModelHandle(s.folder, &o);
  }
};

double divergence(const float* got, const float* want, size_t count) {
  double sum_got = 0, sum_want = 0, kl = 0;
  for (size_t i = 0; i < count; ++i) sum_got += std::exp(double{got[i]}), sum_want += std::exp(double{want[i]});
  for (size_t i = 0; i < count; ++i) {
    const double p = std::exp(double{want[i]}) / sum_want;
    kl += p * (want[i] - std::log(sum_want) - got[i] + std::log(sum_got));
  }
  return kl;
}

// Of two rows, against the length of the second.
double distance(const float* got, const float* want, size_t count) {
  double apart = 0, length = 0;
  for (size_t i = 0; i < count; ++i) {
    apart += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    length += double{want[i]} * want[i];
  }
  return std::sqrt(apart / length);
}

class Script {
 public:
  Script(Bench& bench, uint32_t seed) : bench_(bench), random_(seed) {
    const int32_t chunks[] = {1, 1, 1, 2, 7, 64, 0};
    const int32_t checkpoints[] = {0, 0, -1, 1, 3};
    chunk_ = chunks[random_.below(7)];
    checkpoints_ = checkpoints[random_.below(5)];
    draft_ = bench.draft && random_.one_in(3);
    exact_ = chunk_ == 1 || bench.setup.same_bits_in_any_step;
    most_ = random_.one_in(40) ? kLongest : bench.setup.most_tokens;
  }

  void run() {
    for (int i = 0; i < 2; ++i) places_.push_back({fresh(), {}, {}});
    const size_t steps = random_.between(3, 9);
    for (size_t i = 0; i < steps; ++i) {
      Place& place = any();
      step(place);
      for (Place& p : places_) {
        CHECK(tokens_of(p.s.get()) == p.ids);
        if (session_info(p.s.get()).interrupted == 0) p.open.reset();  // something else has happened
        CHECK((session_info(p.s.get()).interrupted != 0) == p.open.has_value());
      }
      if (random_.one_in(2)) check_logits(any());  // often only after several changes
    }
    for (Place& place : places_) check_logits(place);
  }

 private:
  // A turn and what comes of it: the stream without an interruption, where that is exact.
  struct Turn {
    Ids whole;
    size_t prompt = 0;
    size_t most = 0;  // tokens of it
    dsv4_logits_fn edit = nullptr;
    bool at_most = false;  // it has them all
  };
  struct Place {
    Owned s;
    Ids ids;
    std::optional<Turn> open;  // interrupted
  };

  Owned fresh() {
    return make_session(bench_.model.get, kContext, chunk_, checkpoints_,
                        draft_ ? static_cast<uint32_t>(DSV4_SESSION_DRAFT) : 0u);
  }
  Place& any() { return places_[random_.below(places_.size())]; }
  Ids more_ids(size_t have) { return random_.ids(random_.below(most_ - std::min(have, most_) + 1), bench_.vocab); }
  static uint64_t evaluated(const Place& place) { return session_info(place.s.get()).evaluated; }

  void step(Place& place) {
    if (place.open && random_.one_in(2)) return resume(place);
    switch (random_.below(12)) {
      case 0: append(place); break;
      case 1: eval(place); break;
      case 2: rewind(place); break;
      case 3: sync(place); break;
      case 4: fork(place); break;
      case 5: snapshot(place); break;
      case 6: random_.one_in(2) ? clear(place) : refuse(place); break;
      case 7: interrupted_eval(place); break;
      default: generate_some(place);
    }
  }

  void append(Place& place) {
    const Ids more = more_ids(place.ids.size());
    REQUIRE(dsv4_session_append_tokens(place.s.get(), more.data(), more.size(), nullptr) == DSV4_OK);
    place.ids = joined(place.ids, more);
  }

  void rewind(Place& place) {
    const size_t back = random_.one_in(2) ? random_.below(20) : random_.below(place.ids.size() + 1);
    place.ids.resize(place.ids.size() - std::min(back, place.ids.size()));
    REQUIRE(dsv4_session_rewind(place.s.get(), place.ids.size(), nullptr) == DSV4_OK);
  }

  void sync(Place& place) {
    const Ids& from = any().ids;
    const Ids beginning = cut(from, random_.below(from.size() + 1));
    place.ids = joined(beginning, more_ids(beginning.size()));
    REQUIRE(dsv4_session_sync_tokens(place.s.get(), place.ids.data(), place.ids.size(), nullptr) == DSV4_OK);
  }

  void fork(Place& place) {
    Owned copy = fork_of(place.s.get());
    Place& other = any();
    const Ids ids = place.ids;
    const std::optional<Turn> open = place.open;
    CHECK(session_info(copy.get()).interrupted == session_info(place.s.get()).interrupted);
    other = {std::move(copy), ids, open};
  }

  void snapshot(Place& place) {
    const Bytes bytes = save(place.s.get(), random_.one_in(2));
    const Ids ids = place.ids;
    const std::optional<Turn> open = place.open;
    const int32_t interrupted = session_info(place.s.get()).interrupted;
    Place& other = any();  // may be the same
    if (random_.one_in(3)) other = {fresh(), {}, {}};
    if (random_.one_in(3)) {  // a damaged one first: nothing happens
      Bytes damaged = bytes;
      damaged[random_.below(damaged.size())] ^= static_cast<uint8_t>(1u << random_.below(8));
      if (random_.one_in(2)) damaged.resize(random_.below(bytes.size()));
      if (restore(other.s.get(), damaged) != DSV4_OK) ++bench_.refused;
      CHECK(tokens_of(other.s.get()) == other.ids);
    }
    REQUIRE(restore(other.s.get(), bytes) == DSV4_OK);
    other.ids = ids;
    other.open = open;
    CHECK(session_info(other.s.get()).interrupted == interrupted);
    if (checkpoints_ == 0) CHECK(save(other.s.get(), false) == save(place.s.get(), false));
  }

  void clear(Place& place) {
    REQUIRE(dsv4_session_clear(place.s.get(), nullptr) == DSV4_OK);
    place.ids.clear();
  }

  // Calls that cannot be followed, after which all is as before.
  void refuse(Place& place) {
    const Ids bad = {3, static_cast<int32_t>(bench_.vocab)};
    CHECK(dsv4_session_append_tokens(place.s.get(), bad.data(), 2, nullptr) == DSV4_E_INVALID_ARGUMENT);
    CHECK(dsv4_session_sync_tokens(place.s.get(), bad.data(), 2, nullptr) == DSV4_E_INVALID_ARGUMENT);
    const Ids many(kContext + 1, 2);
    CHECK(dsv4_session_append_tokens(place.s.get(), many.data(), many.size(), nullptr) == DSV4_E_CONTEXT_FULL);
    CHECK(dsv4_session_sync_tokens(place.s.get(), many.data(), many.size(), nullptr) == DSV4_E_CONTEXT_FULL);
    CHECK(dsv4_session_rewind(place.s.get(), place.ids.size() + 1, nullptr) == DSV4_E_INVALID_ARGUMENT);
    RandomOptions options(random_, bench_.vocab, 4);
    options.o.top_p = 2;
    Host host{place.s.get()};
    CHECK(generate(host, options.get(), random_.one_in(2) && options.o.logits == nullptr, random_) ==
          DSV4_E_INVALID_ARGUMENT);
    dsv4_generate_options nothing = DSV4_GENERATE_OPTIONS_INIT;
    nothing.resume = 1;
    if (!place.open) {
      CHECK(dsv4_session_generate(place.s.get(), &nothing, nullptr, nullptr, nullptr, nullptr) ==
            DSV4_E_INVALID_ARGUMENT);
    }
    ++bench_.refused;
  }

  void eval(Place& place) {
    const Ids more = more_ids(place.ids.size());
    dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
    std::vector<float> rows, draft_rows;
    const size_t from = place.ids.size();
    if (evaluated(place) == from && random_.one_in(2)) {
      rows.resize(more.size() * bench_.vocab);
      o.logits = rows.data();
      if (draft_) {
        draft_rows.resize(rows.size());
        o.draft_logits = draft_rows.data();
      }
    }
    REQUIRE(dsv4_session_eval(place.s.get(), more.data(), more.size(), &o, nullptr) == DSV4_OK);
    place.ids = joined(place.ids, more);
    CHECK(evaluated(place) == place.ids.size());
    for (size_t i = 0; i < rows.size() / bench_.vocab; ++i) {
      const Ids until = cut(place.ids, from + i + 1);
      compare(rows.data() + i * bench_.vocab, bench_.plain->logits(place.ids) - (more.size() - 1 - i) * bench_.vocab);
      if (draft_ && from + i != 0) compare(draft_rows.data() + i * bench_.vocab, bench_.plain->draft_logits(until));
    }
  }

  // Cancelled by its progress, or by another thread: what was evaluated stays.
  void interrupted_eval(Place& place) {
    const Ids more = more_ids(place.ids.size());
    size_t calls_left = random_.below(4);
    dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
    std::unique_ptr<Canceller> canceller;
    if (random_.one_in(2)) {
      canceller = std::make_unique<Canceller>(place.s.get(), random_.below(300));
    } else {
      o.progress = [](void* user, uint64_t, uint64_t) -> int32_t { return (*static_cast<size_t*>(user))-- == 0; };
      o.progress_user = &calls_left;
    }
    const dsv4_status status = dsv4_session_eval(place.s.get(), more.data(), more.size(), &o, nullptr);
    canceller.reset();
    CHECK((status == DSV4_OK || status == DSV4_E_CANCELLED));
    bench_.cancelled += status == DSV4_E_CANCELLED;
    const Ids all = joined(place.ids, more), now = tokens_of(place.s.get());
    CHECK(begins_with(all, now));
    CHECK(now.size() >= place.ids.size());
    if (status == DSV4_OK) CHECK(now.size() == all.size());
    if (now.size() > place.ids.size()) CHECK(evaluated(place) == now.size());
    place.ids = now;
  }

  void generate_some(Place& place) {
    if (place.ids.empty()) return append(place);
    RandomOptions options(random_, bench_.vocab, 12);
    const bool polled = random_.one_in(3);
    if (polled) options.o.logits = nullptr;
    Turn turn{{}, place.ids.size(), options.o.max_tokens, options.o.logits, false};
    options.o.max_tokens = kMostTokens;
    if (exact_) turn.whole = bench_.plain->generate(place.ids, options.get());
    options.o.max_tokens = turn.most;
    take_turn(place, turn, options.get(), polled);
  }

  void resume(Place& place) {
    Turn turn = *place.open;
    dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
    o.resume = 1;
    o.logits = turn.edit;
    if (turn.at_most && random_.one_in(3)) {  // there is nothing to be had within the old limit
      CHECK(dsv4_session_generate(place.s.get(), &o, nullptr, nullptr, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
      ++bench_.refused;
      return;
    }
    if (turn.at_most || random_.one_in(3)) o.max_tokens = turn.most = turn.most + random_.between(1, 6);
    if (turn.most > kMostTokens) return;
    ++bench_.resumed;
    take_turn(place, turn, &o, turn.edit == nullptr && random_.one_in(3));
  }

  void take_turn(Place& place, Turn turn, const dsv4_generate_options* o, bool polled) {
    Host host{place.s.get()};
    const bool from_outside = random_.one_in(6);
    host.way = static_cast<Host::Way>(from_outside || random_.one_in(3) ? 0 : random_.below(5));
    host.events_left = random_.below(8);
    std::unique_ptr<Canceller> canceller;
    if (from_outside) canceller = std::make_unique<Canceller>(place.s.get(), random_.below(300));
    Failure f;
    const dsv4_status status = generate(host, o, polled, random_, &f.error);
    canceller.reset();
    INFO(f.text());
    REQUIRE((status == DSV4_OK || status == DSV4_E_CANCELLED));
    CHECK(host.done == 1);
    const Ids now = tokens_of(place.s.get());
    CHECK(begins_with(now, place.ids));
    if (exact_) CHECK(begins_with(turn.whole, now));
    // The answer of a host that polls may come too late.
    const bool taken_back = host.way == Host::Way::kTakeBack && host.acted && status == DSV4_E_CANCELLED;
    CHECK(now.size() == (taken_back ? place.ids.size() : turn.prompt + host.stats.generated_tokens));
    if (!host.acted && !from_outside) {
      CHECK(status == DSV4_OK);
      if (exact_) CHECK(now.size() == std::min(turn.prompt + turn.most, turn.whole.size()));
      bench_.streams += exact_;
    }
    bench_.cancelled += status == DSV4_E_CANCELLED;
    const bool interrupted = session_info(place.s.get()).interrupted != 0;
    if (host.reason == DSV4_DONE_STOP) CHECK(!interrupted);
    if (host.reason == DSV4_DONE_PAUSED || host.reason == DSV4_DONE_LENGTH || host.reason == DSV4_DONE_HOST) {
      CHECK(interrupted);
    }
    if (taken_back) return;  // as it was before the call, what was interrupted earlier too
    place.ids = now;
    turn.at_most = now.size() >= turn.prompt + turn.most;
    place.open.reset();
    if (interrupted) place.open = std::move(turn);
  }

  void check_logits(Place& place) {
    if (place.ids.empty()) return;
    REQUIRE(dsv4_session_eval(place.s.get(), nullptr, 0, nullptr, nullptr) == DSV4_OK);
    compare(logits_of(place.s.get()).data(), bench_.plain->logits(place.ids));
  }

  void compare(const float* got, const float* want) {
    if (exact_) {
      CHECK(std::memcmp(got, want, bench_.vocab * sizeof(float)) == 0);
    } else {
      bench_.divergence += divergence(got, want, bench_.vocab);
      bench_.distance += distance(got, want, bench_.vocab);
      ++bench_.rows;
    }
  }

  Bench& bench_;
  Random random_;
  int32_t chunk_, checkpoints_;
  bool draft_, exact_;
  size_t most_;
  std::vector<Place> places_;
};

// `scripts` of each of the setups, in these shares.
void run_scripts(int scripts, uint32_t first_seed) {
  constexpr int kShares[] = {60, 30, 7, 3};  // of 100
  for (size_t i = 0; i < std::size(kSetups); ++i) {
    Bench bench(kSetups[i]);
    const std::string name = std::string(bench.setup.folder == kMicro ? "micro, " : "tiny, ") + bench.setup.backend;
    CAPTURE(name);
    const int count = scripts * kShares[i] / 100;
    for (int n = 0; n < count; ++n) {
      const uint32_t seed = first_seed + static_cast<uint32_t>(n);
      CAPTURE(seed);
      Script(bench, seed).run();
    }
    const double mean = bench.rows != 0 ? bench.divergence / bench.rows : 0;
    CHECK(mean <= kMeanDivergence);
    MESSAGE(name << ": " << count << " scripts; whole streams " << bench.streams << ", resumed turns "
                                << bench.resumed << ", cancelled calls "
                                << bench.cancelled << ", refused " << bench.refused << "; rows in other sums "
                                << bench.rows << ", mean divergence " << mean << ", mean distance "
                                << (bench.rows != 0 ? bench.distance / bench.rows : 0));
  }
}

// Every length: arrived at in order, by a fork, a snapshot, a step back from behind, and (in pieces) from nothing.
void run_lengths(const Setup& setup, bool from_nothing) {
  Bench bench(setup);
  const std::string backend = setup.backend;
  CAPTURE(backend);
  Random random(11);
  const Ids ids = random.ids(kLongest + 20, bench.vocab);
  const Owned s = make_session(bench.model.get, kContext, 1, 0, 0);
  const Owned restored = make_session(bench.model.get, kContext, 1, 0, 0);
  bench.plain->logits(ids);
  const auto check = [&](dsv4_session* session, size_t length) {  // what comes after one more token
    REQUIRE(dsv4_session_eval(session, &ids[length], 1, nullptr, nullptr) == DSV4_OK);
    const std::vector<float> got = logits_of(session);
    CHECK(std::memcmp(got.data(), bench.plain->logits(cut(ids, length + 1)), bench.vocab * sizeof(float)) == 0);
  };
  double sum = 0;
  for (size_t length = 1; length <= (dsv4::test::kSanitized ? 300 : kLongest); ++length) {
    CAPTURE(length);
    REQUIRE(dsv4_session_rewind(s.get(), length - 1, nullptr) == DSV4_OK);
    REQUIRE(dsv4_session_eval(s.get(), &ids[length - 1], 1, nullptr, nullptr) == DSV4_OK);
    check(fork_of(s.get()).get(), length);
    REQUIRE(restore(restored.get(), save(s.get(), length % 2 == 0)) == DSV4_OK);
    check(restored.get(), length);
    const size_t ahead = 1 + random.below(18);
    const Ids other = random.ids(ahead, bench.vocab);
    REQUIRE(dsv4_session_eval(restored.get(), other.data(), ahead, nullptr, nullptr) == DSV4_OK);
    REQUIRE(dsv4_session_rewind(restored.get(), length, nullptr) == DSV4_OK);
    check(restored.get(), length);
    if (!from_nothing) continue;
    const Owned whole = make_session(bench.model.get, kContext, static_cast<int32_t>(random.between(2, 300)), 0, 0);
    REQUIRE(dsv4_session_eval(whole.get(), ids.data(), length, nullptr, nullptr) == DSV4_OK);
    sum += divergence(logits_of(whole.get()).data(), bench.plain->logits(cut(ids, length)), bench.vocab);
  }
  CHECK(sum / kLongest <= (setup.same_bits_in_any_step ? 1e-12 : kMeanDivergence));
}

}  // namespace

TEST_CASE("random scripts give what the ids alone give") { run_scripts(dsv4::test::kSanitized ? 50 : 200, 1); }

TEST_CASE("every length from 1 to 1100, however it was arrived at") { run_lengths(kSetups[0], false); }

// DSV4_SCRIPTS=2000 DSV4_SEED=5000 token_scripts_test --no-skip -tc='as many*'
TEST_CASE("as many scripts as one likes" * doctest::skip()) {
  run_scripts(static_cast<int>(number_from("DSV4_SCRIPTS", 10000)), number_from("DSV4_SEED", 1000000));
}

TEST_CASE("every length on both backends, and in pieces of any size from nothing" * doctest::skip()) {
  run_lengths(kSetups[0], true);
  run_lengths(kSetups[1], true);
}
