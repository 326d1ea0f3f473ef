// The decorator that runs two backends in step: the cpu backend at every level against the reference over whole models,
// the reference against itself, and backends with one wrong number, which has to be found where it is and nowhere else.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/backend/check.h"
#include "lib/backend/decorator.h"
#include "lib/backend/state_parts.h"
#include "lib/base/error.h"
#include "lib/model/model.h"
#include "tests/support/failing_backend.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {
namespace {

using Kind = CheckReport::Kind;
using Line = CheckReport::Line;

constexpr int64_t kStepRows = 64;
constexpr int64_t kContext = 400;

std::string folder(const std::string& name) { return std::string(DSV4_TEST_DATA "/golden/") + name; }

std::vector<int32_t> golden_tokens(const std::string& name) {
  return GoldenFile(folder(name) + "/golden.safetensors").get("tokens").ints();
}

// A model on some backend, and sequences that it evaluates.
struct Bench {
  std::unique_ptr<Model> model;
  std::vector<std::unique_ptr<SequenceState>> states;
  std::vector<int64_t> positions;
  std::vector<float> seen;  // every logit, as they came

  Bench(const std::string& name, std::unique_ptr<Backend> backend, size_t sequences = 2)
      : model(std::make_unique<Model>(Checkpoint::open(folder(name), {}), std::move(backend), kStepRows)),
        positions(sequences) {
    for (size_t i = 0; i < sequences; ++i) states.push_back(model->make_state(kContext, model->has_draft()));
  }

  struct Part {
    size_t sequence;
    std::span<const int32_t> tokens;
  };
  void step(const std::vector<Part>& parts) {
    const auto vocab = static_cast<size_t>(model->config().vocab);
    std::vector<Chunk> chunks;
    std::vector<std::vector<float>> logits(parts.size()), draft(parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      logits[i].resize(vocab);
      draft[i].resize(vocab * parts[i].tokens.size());
      Chunk c;
      c.state = states[parts[i].sequence].get();
      c.position = positions[parts[i].sequence];
      c.tokens = parts[i].tokens;
      c.last_logits = logits[i].data();
      c.draft = model->has_draft();
      if (c.draft) c.draft_logits = draft[i].data();
      chunks.push_back(c);
    }
    model->evaluate(chunks);
    for (size_t i = 0; i < parts.size(); ++i) {
      positions[parts[i].sequence] += static_cast<int64_t>(parts[i].tokens.size());
      seen.insert(seen.end(), logits[i].begin(), logits[i].end());
      seen.insert(seen.end(), draft[i].begin(), draft[i].end());
    }
  }
};

struct Checked {
  std::shared_ptr<CheckReport> report = std::make_shared<CheckReport>();
  Bench bench;

  Checked(const std::string& name, std::unique_ptr<Backend> tested)
      : bench(name, std::make_unique<Check>(std::move(tested), make_reference_backend(), report)) {}
};

// A prompt in chunks, another beside it, both decoded, one going back; what every kind of row of a state needs to be
// written and read.
void live(Bench& bench, const std::vector<int32_t>& tokens) {
  const std::span<const int32_t> all(tokens);
  for (const size_t at : {0, 64, 128}) bench.step({{0, all.subspan(at, at == 128 ? 40 : 64)}});
  bench.step({{1, all.subspan(40, 1)}});  // a first token: no row of the draft
  bench.step({{0, all.subspan(168, 21)}, {1, all.subspan(41, 40)}});
  for (size_t i = 0; i < 9; ++i) bench.step({{1, all.subspan(100 + i, 1)}, {0, all.subspan(189 + i, 1)}});
  bench.positions[0] -= 7;
  for (size_t i = 0; i < 3; ++i) bench.step({{0, all.subspan(30 + i, 3)}});
}

// Of a short step, for the tests that look for one wrong number.
void live_shortly(Bench& bench, const std::vector<int32_t>& tokens) {
  const std::span<const int32_t> all(tokens);
  bench.step({{0, all.subspan(0, 40)}});
  bench.step({{0, all.subspan(40, 9)}, {1, all.subspan(0, 6)}});
  bench.step({{0, all.subspan(49, 1)}, {1, all.subspan(6, 1)}});
}

const Line* line(const std::vector<Line>& lines, const std::string& verb, const std::string& output) {
  const auto at =
      std::find_if(lines.begin(), lines.end(), [&](const Line& l) { return l.verb == verb && l.output == output; });
  return at == lines.end() ? nullptr : &*at;
}

const std::vector<std::string> kVerbs = {
    "embed",    "hc_pre", "hc_post", "hc_post_pre", "hc_head", "norm",    "linear", "rope",  "query", "append",
    "compress", "index",  "attend",  "project_out", "route",   "experts", "logits", "carry", "merge"};

}  // namespace

TEST_CASE("the cpu backend agrees with the reference verb by verb over whole models") {
  for (const std::string name : {"micro", "micro2"}) {
    const std::vector<int32_t> tokens = golden_tokens(name);
    for (const std::string& isa : cpu_isa_levels()) {
      CAPTURE(name);
      CAPTURE(isa);
      Checked checked(name, make_cpu_backend({2, isa}));
      live(checked.bench, tokens);
      const std::vector<Line> lines = checked.report->lines();
      INFO(check_table(lines));
      std::map<std::string, std::pair<int64_t, int64_t>> bf16;  // beyond, elements
      for (const Line& l : lines) {
        if (l.kind != Kind::kBF16) continue;
        bf16[l.verb].first += l.beyond;
        bf16[l.verb].second += l.elements;
      }
      for (const auto& of_verb : bf16) {
        const std::pair<int64_t, int64_t> counts = of_verb.second;
        CAPTURE(of_verb.first);
        CHECK(counts.second > 1000);
        CHECK(static_cast<double>(counts.first) <= 0.002 * static_cast<double>(counts.second));
      }
    }
  }
}

TEST_CASE("the reference does not differ from itself, in any verb") {
  for (const std::string name : {"micro", "micro2"}) {
    CAPTURE(name);
    const std::vector<int32_t> tokens = golden_tokens(name);
    Checked checked(name, make_reference_backend());
    Bench plain(name, make_reference_backend());
    live(checked.bench, tokens);
    live(plain, tokens);
    CHECK((checked.bench.seen == plain.seen));  // and the caller sees what the tested backend alone would give
    const std::vector<Line> lines = checked.report->lines();
    for (const Line& l : lines) {
      CAPTURE(l.verb);
      CAPTURE(l.output);
      CHECK(l.elements > 0);
      CHECK(l.differing == 0);
      CHECK(l.steps == 0);
    }
    for (const std::string& verb : kVerbs) {
      CAPTURE(verb);
      CHECK(std::any_of(lines.begin(), lines.end(), [&](const Line& l) { return l.verb == verb; }));
    }
    for (const char* rows : {"compressed", "index", "tail", "index tail"}) CHECK(line(lines, "compress", rows));
    CHECK(line(lines, "carry", "carried"));
    checked.report->clear();
    CHECK(checked.report->lines().empty());
  }
}

// --------------------------------------------------------------------------------------------- backends with a fault

namespace {

// Where a fault is planted, and as what it has to come back.
struct Fault {
  std::string verb, output;
  int64_t call = 0;  // of the verb, from 1
  int64_t row = 0, col = 0;
};

// Disturbs one element of a verb's first output.
class WrongElement final : public Decorator {
 public:
  WrongElement(std::unique_ptr<Backend> inner, Fault fault) : Decorator(std::move(inner)), fault_(std::move(fault)) {}

 protected:
  void verb(const char* name, const Mat& out, const std::function<void()>& call) override {
    call();
    if (name != fault_.verb || ++calls_ != fault_.call) return;
    const Mat row = out.slice(fault_.row, 1);
    const auto width = static_cast<size_t>(dtype_bits(out.dtype) / 8);
    std::vector<uint8_t> bytes(static_cast<size_t>(out.cols) * width);
    inner().download(bytes.data(), row);
    // Of a float the exponent, a factor of 4 or more; of a pick the lowest bit, so that it still exists.
    bytes[static_cast<size_t>(fault_.col) * width + (out.dtype == DType::kI32 ? 0 : width - 1)] ^= 0x01;
    inner().upload(row, bytes.data());
  }

 private:
  Fault fault_;
  int64_t calls_ = 0;
};

// Gives a token another expert, or swaps two.
class WrongPick final : public Decorator {
 public:
  WrongPick(std::unique_ptr<Backend> inner, bool swap) : Decorator(std::move(inner)), swap_(swap) {}
  void route(const Route& out, Mat x, Mat tokens, const Gate& gate) override {
    inner().route(out, x, tokens, gate);
    if (++calls_ != 3) return;
    std::vector<int32_t> picks(static_cast<size_t>(out.experts.cols));
    std::vector<float> weights(picks.size());
    inner().download(picks.data(), out.experts.slice(2, 1));
    inner().download(weights.data(), out.weights.slice(2, 1));
    if (swap_) {
      std::swap(picks[0], picks[1]);
      std::swap(weights[0], weights[1]);
    } else {
      int32_t other = 0;
      while (std::find(picks.begin(), picks.end(), other) != picks.end()) ++other;
      picks[1] = other;
    }
    inner().upload(out.experts.slice(2, 1), picks.data());
    inner().upload(out.weights.slice(2, 1), weights.data());
  }

 private:
  bool swap_;
  int64_t calls_ = 0;
};

// Disturbs one byte of one row of a state: right after a verb wrote it, or after the commit.
class WrongStateRow final : public Decorator {
 public:
  struct Spot {
    const char* verb;
    int64_t call;
    int layer;
    StateRows rows;
    int64_t at, byte;
  };
  WrongStateRow(std::unique_ptr<Backend> inner, Spot spot) : Decorator(std::move(inner)), spot_(spot) {}
  std::unique_ptr<SequenceState> make_state(const StateShape& shape) override {
    shape_ = shape;
    return Decorator::make_state(shape);
  }
  void append(const Cache& cache, Mat kv, Mat rope, const Append& options) override {
    inner().append(cache, kv, rope, options);
    come_by("append", cache.runs);
  }
  void compress(const Cache& cache, Mat k, Mat z, const Compressor& options) override {
    inner().compress(cache, k, z, options);
    come_by("compress", cache.runs);
  }
  void commit(std::span<const Run> runs) override {
    inner().commit(runs);
    come_by("commit", runs);
  }

 private:
  void come_by(const std::string& verb, std::span<const Run> runs) {
    if (verb != spot_.verb || ++calls_ != spot_.call) return;
    const bool carry = spot_.rows == StateRows::kCarry;
    std::vector<uint8_t> row(carry ? static_cast<size_t>(2 * shape_.carry)
                                   : row_bytes(shape_.layers[static_cast<size_t>(spot_.layer)], spot_.rows));
    SequenceState& state = *runs.front().state;
    state.export_rows(spot_.layer, spot_.rows, spot_.at, 1, row.data());
    row[static_cast<size_t>(spot_.byte)] ^= 0x01;
    state.import_rows(spot_.layer, spot_.rows, spot_.at, 1, row.data());
  }

  Spot spot_;
  StateShape shape_;
  int64_t calls_ = 0;
};

// One line has one difference, at the fault, and the others have none.
void check_found(const std::vector<Line>& lines, const Fault& fault) {
  CAPTURE(fault.verb);
  CAPTURE(fault.output);
  INFO(check_table(lines));
  const Line* found = line(lines, fault.verb, fault.output);
  REQUIRE(found != nullptr);
  CHECK(found->differing == 1);
  CHECK(found->distance > 0);
  CHECK(found->worst.call == fault.call);
  CHECK(found->worst.row == fault.row);
  CHECK(found->worst.col == fault.col);
  CHECK(found->worst.tested != found->worst.reference);
  for (const Line& l : lines) CHECK((&l == found || l.differing == 0));
  const std::string place =
      "  " + std::to_string(fault.call) + ", " + std::to_string(fault.row) + ", " + std::to_string(fault.col) + ": ";
  CHECK(check_table(lines).find(place) != std::string::npos);
}

}  // namespace

TEST_CASE("one wrong element is found in its verb, at its row and column, and nowhere behind it") {
  const std::vector<int32_t> tokens = golden_tokens("micro");
  const std::vector<Fault> faults = {
      {"embed", "X", 1, 3, 17},      {"hc_pre", "x", 2, 39, 127},    {"hc_post", "X", 3, 4, 511},
      {"hc_post_pre", "X", 4, 0, 0}, {"hc_head", "x", 2, 5, 7},      {"norm", "y", 3, 11, 99},
      {"linear", "1/7", 3, 20, 64},  {"rope", "table", 2, 38, 63},   {"query", "q", 2, 1, 255},
      {"index", "top", 1, 39, 0},    {"attend", "o", 3, 39, 200},    {"route", "weights", 2, 8, 1},
      {"experts", "y", 5, 6, 77},    {"logits", "out", 2, 3, 259},   {"carry", "previous", 2, 10, 500},
      {"merge", "X", 1, 30, 300},    {"project_out", "y", 2, 25, 1},
  };
  for (const Fault& fault : faults) {
    Checked checked("micro", std::make_unique<WrongElement>(make_reference_backend(), fault));
    live_shortly(checked.bench, tokens);
    check_found(checked.report->lines(), fault);
  }
}

TEST_CASE("one wrong row of a state is found, whichever kind it is, with the row of the step that wrote it") {
  const std::vector<int32_t> tokens = golden_tokens("micro");
  // Layer 1 of micro is CSA: of its two compressors the first writes key/value rows, the second the indexer's.
  // Position 48 is row 8 of the second step; so is the end of entry 11's group, 47, row 7.
  struct Case {
    WrongStateRow::Spot spot;
    Fault found;
  };
  const std::vector<Case> cases = {
      {{"append", 2, 1, StateRows::kWindow, 13, 130}, {"append", "window", 2, 13, 130}},
      {{"append", 5, 0, StateRows::kWindow, 48, 0}, {"append", "window", 5, 8, 0}},
      {{"append", 1, 0, StateRows::kWindow, 39, 192}, {"append", "window", 1, 39, 192}},
      {{"compress", 1, 1, StateRows::kCompressed, 9, 140}, {"compress", "compressed", 1, 39, 140}},
      {{"compress", 5, 1, StateRows::kIndex, 11, 20}, {"compress", "index", 5, 7, 20}},
      {{"commit", 1, 1, StateRows::kTail, 37, 4 * 300 + 3}, {"compress", "tail", 1, 37, 300}},
      {{"commit", 2, 2, StateRows::kTail, 45, 3}, {"compress", "tail", 6, 5, 0}},
      {{"commit", 2, 1, StateRows::kIndexTail, 47, 4 * 255 + 3}, {"compress", "index tail", 5, 7, 255}},
      {{"commit", 2, -1, StateRows::kCarry, 48, 2 * 40 + 1}, {"carry", "carried", 2, 8, 40}},
  };
  for (const Case& c : cases) {
    Checked checked("micro", std::make_unique<WrongStateRow>(make_reference_backend(), c.spot));
    live_shortly(checked.bench, tokens);
    check_found(checked.report->lines(), c.found);
  }
}

TEST_CASE("other picks are told from picks in another order, and their weights are compared only where picks agree") {
  const std::vector<int32_t> tokens = golden_tokens("micro");
  for (const bool swap : {false, true}) {
    CAPTURE(swap);
    Checked checked("micro", std::make_unique<WrongPick>(make_reference_backend(), swap));
    live_shortly(checked.bench, tokens);
    const std::vector<Line> lines = checked.report->lines();
    const Line *picks = line(lines, "route", "experts"), *weights = line(lines, "route", "weights");
    REQUIRE((picks != nullptr && weights != nullptr));
    CHECK(picks->differing == (swap ? 2 : 1));
    CHECK(picks->beyond == (swap ? 0 : 1));
    CHECK(picks->worst.call == 3);
    CHECK(picks->worst.row == 2);
    CHECK(picks->worst.col == (swap ? 0 : 1));
    CHECK(weights->differing == 0);
    CHECK(weights->elements == picks->elements - (swap ? 0 : 2));
    for (const Line& l : lines) CHECK((&l == picks || l.differing == 0));
  }
}

TEST_CASE("a failure of either backend comes out as it is, and the step can be run again") {
  const std::vector<int32_t> tokens = golden_tokens("micro");
  const std::span<const int32_t> all(tokens);
  for (const bool of_tested : {true, false}) {
    CAPTURE(of_tested);
    const auto fault = std::make_shared<VerbFault>();
    auto failing = std::make_unique<FailingBackend>(make_reference_backend(), fault);
    const auto report = std::make_shared<CheckReport>();
    std::unique_ptr<Check> check = of_tested
                                       ? std::make_unique<Check>(std::move(failing), make_reference_backend(), report)
                                       : std::make_unique<Check>(make_reference_backend(), std::move(failing), report);
    Bench bench("micro", std::move(check));
    bench.step({{0, all.subspan(0, 30)}});
    fault->status = Status::kDeviceLost;
    for (const int64_t nth : {1, 20, 77, 131}) {
      fault->arm(nth);
      try {
        bench.step({{0, all.subspan(30, 20)}});
        FAIL("nothing failed");
      } catch (const Error& e) {
        CHECK(e.status() == Status::kDeviceLost);
        CHECK(std::string(e.what()).starts_with("test: "));
      }
      fault->armed = false;
    }
    bench.seen.clear();
    bench.step({{0, all.subspan(30, 20)}});
    Bench plain("micro", make_reference_backend());
    plain.step({{0, all.subspan(0, 30)}});
    plain.seen.clear();
    plain.step({{0, all.subspan(30, 20)}});
    CHECK((bench.seen == plain.seen));
    for (const Line& l : report->lines()) CHECK(l.differing == 0);
  }
}

TEST_CASE("a state that is brought in goes to both backends") {
  const std::vector<int32_t> tokens = golden_tokens("micro2");
  const std::span<const int32_t> all(tokens);
  Checked checked("micro2", make_reference_backend());
  Bench& bench = checked.bench;
  bench.step({{0, all.subspan(0, 50)}});
  const std::vector<StatePart> parts = state_parts(
      Model::state_shape(bench.model->config(), kContext, kStepRows, bench.model->has_draft()), 50, StateExtent::kAll);
  std::vector<uint8_t> rows(total_bytes(parts));
  bench.model->export_state(*bench.states[0], parts, rows.data());
  bench.model->import_state(*bench.states[1], parts, rows.data());
  bench.positions[1] = 50;
  bench.seen.clear();
  bench.step({{0, all.subspan(50, 8)}});
  const std::vector<float> want = std::exchange(bench.seen, {});
  bench.step({{1, all.subspan(50, 8)}});
  CHECK((bench.seen == want));
  for (const Line& l : checked.report->lines()) CHECK(l.differing == 0);
}

TEST_CASE("what the backend has not made is refused") {
  Check check(make_reference_backend(), make_reference_backend(), std::make_shared<CheckReport>());
  const std::unique_ptr<Memory> memory = check.allocate(16);
  Limits limits;
  limits.rows = 1, limits.inner = 4, limits.outer = 4, limits.hidden = 4;
  check.reserve(limits);
  std::vector<uint16_t> own(4);
  const auto at = [](void* data) { return Mat{data, DType::kBF16, 1, 4, 4}; };
  check.upload(at(memory->data()), own.data());
  CHECK_THROWS_AS(check.upload(at(own.data()), own.data()), Error);
  CHECK_THROWS_AS(check.upload(at(static_cast<uint8_t*>(memory->data()) + 16), own.data()), Error);
  const Weight stranger{own.data(), nullptr, DType::kBF16, 1, 4, 0};
  CHECK_THROWS_AS(check.norm(at(memory->data()), at(memory->data()), stranger, 1e-6f), Error);
  CHECK(check.description().starts_with("check of "));
}

}  // namespace dsv4::test
