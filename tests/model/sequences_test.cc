// Every way of arriving at a position gives the same state: in one piece, in chunks of any size, token by token, beside
// another sequence, after a step that was dropped, after going back.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "lib/backend/decorator.h"
#include "lib/base/error.h"
#include "lib/model/model.h"
#include "lib/session/timeline.h"
#include "tests/support/backends_under_test.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {
namespace {

// The plain one, and the cpu backend at its best and at its most common: its other levels differ in single kernels,
// which the op and golden tests cover.
std::vector<BackendUnderTest> model_backends() {
  const std::vector<BackendUnderTest>& all = backends_under_test();
  std::vector<BackendUnderTest> out;
  for (const BackendUnderTest& b : all) {
    if (b.name == "reference" || b.name == "cpu avx2" || b.name == all.back().name) out.push_back(b);
  }
  return out;
}

std::shared_ptr<Engine> open_model(const std::string& name, std::unique_ptr<Backend> backend) {
  return std::make_shared<Engine>(std::make_unique<Model>(
      Checkpoint::open(std::string(DSV4_TEST_DATA "/golden/") + name, {}), std::move(backend), 1200));
}

std::vector<int32_t> some_tokens(int64_t count, int64_t vocab, uint32_t seed) {
  std::vector<int32_t> ids;
  uint32_t x = seed * 2654435761u + 12345u;
  for (int64_t i = 0; i < count; ++i) {
    x = x * 1664525u + 1013904223u;
    ids.push_back(static_cast<int32_t>(i == 0 ? 0 : (x >> 8) % static_cast<uint32_t>(vocab)));
  }
  return ids;
}

std::vector<float> all_logits(const std::shared_ptr<Engine>& engine, std::span<const int32_t> tokens, int64_t chunk) {
  std::vector<float> out(tokens.size() * static_cast<size_t>(engine->model->config().vocab));
  Timeline t(engine, {static_cast<int64_t>(tokens.size()), chunk, false});
  t.append(tokens);
  t.evaluate({out.data(), nullptr}, {}, nullptr);
  return out;
}

// KL of each row of b against the same row of a.
std::vector<double> row_kl(std::span<const float> a, std::span<const float> b, int64_t vocab) {
  const size_t v = static_cast<size_t>(vocab);
  const auto normaliser = [](std::span<const float> x) {
    const double max = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float f : x) sum += std::exp(f - max);
    return max + std::log(sum);
  };
  std::vector<double> out;
  for (size_t at = 0; at < a.size(); at += v) {
    const auto row_a = a.subspan(at, v), row_b = b.subspan(at, v);
    const double za = normaliser(row_a), zb = normaliser(row_b);
    double kl = 0;
    for (size_t i = 0; i < v; ++i) kl += std::exp(row_a[i] - za) * ((row_a[i] - za) - (row_b[i] - zb));
    out.push_back(std::fabs(kl));
  }
  return out;
}

// Equal to the bit where the backend promises it. Else sums may come in another order: rows agree to the last digits up
// to the first flipped rounding, and from there on a random network goes as far apart as it does from the goldens
// (golden_logits_test.cc). That the state itself is right in any chunks, ops_state_test shows verb by verb.
void check_same(const BackendUnderTest& backend, std::span<const float> a, std::span<const float> b, int64_t vocab) {
  REQUIRE(a.size() == b.size());
  if (backend.same_bits_in_any_step) {
    CHECK(std::equal(a.begin(), a.end(), b.begin()));
    return;
  }
  const std::vector<double> kl = row_kl(a, b, vocab);
  CHECK(kl.front() <= (kl.size() > 1 ? 1e-6 : 1.0));
  double sum = 0;
  for (const double x : kl) sum += x;
  CHECK(sum / static_cast<double>(kl.size()) <= (kl.size() > 1 ? 0.15 : 1.0));
}

}  // namespace

TEST_CASE("prefill in one piece, in chunks, and token by token") {
  for (const BackendUnderTest& backend : model_backends()) {
    const auto engine = open_model("micro", backend.make());
    Model* const model = engine->model.get();
    const int64_t vocab = model->config().vocab;
    for (const int64_t length : {5, 8, 11, 127, 128, 129, 130, 255, 256, 257, 383, 384, 385, 511, 512, 513}) {
      CAPTURE(backend.name);
      CAPTURE(length);
      const std::vector<int32_t> tokens = some_tokens(length, vocab, static_cast<uint32_t>(length));
      const std::vector<float> whole = all_logits(engine, tokens, 1200);
      for (const int64_t chunk : {1, 3, 4, 7, 64, 127, 128, 129}) {
        if (chunk >= length) continue;
        if (chunk < 4 && length > 130 && length % 128 != 1) continue;  // the neighbour on the other side does these
        CAPTURE(chunk);
        check_same(backend, all_logits(engine, tokens, chunk), whole, vocab);
      }
    }
  }
}

TEST_CASE("the published shapes' other layer orders, in chunks") {
  for (const BackendUnderTest& backend : model_backends()) {
    for (const std::string name : {"micro2", "flash", "base"}) {
      CAPTURE(name);
      const auto engine = open_model(name, backend.make());
      Model* const model = engine->model.get();
      const int64_t vocab = model->config().vocab;
      const std::vector<int32_t> tokens = some_tokens(270, vocab, 7);
      const std::vector<float> whole = all_logits(engine, tokens, 1200);
      for (const int64_t chunk : {1, 7, 129}) check_same(backend, all_logits(engine, tokens, chunk), whole, vocab);
    }
  }
}

TEST_CASE("several sequences in one step are each as they are alone") {
  for (const BackendUnderTest& backend : model_backends()) {
    CAPTURE(backend.name);
    const auto engine = open_model("micro", backend.make());
    Model* const model = engine->model.get();
    const int64_t vocab = model->config().vocab;
    const std::vector<int32_t> a = some_tokens(301, vocab, 1), b = some_tokens(140, vocab, 2),
                               c = some_tokens(9, vocab, 3);
    const std::vector<float> alone[3] = {all_logits(engine, a, 1200), all_logits(engine, b, 1200),
                                         all_logits(engine, c, 1200)};
    const std::vector<int32_t>* ids[3] = {&a, &b, &c};

    std::unique_ptr<SequenceState> states[3];
    std::vector<float> got[3];
    size_t at[3] = {0, 0, 0};
    for (int i = 0; i < 3; ++i) {
      states[i] = model->make_state(512, false);
      got[i].resize(alone[i].size());
    }
    // Steps of uneven parts: long rows of one beside single rows of another.
    const size_t parts[3][4] = {{100, 1, 130, 70}, {1, 100, 1, 38}, {3, 1, 4, 1}};
    for (int step = 0; step < 4; ++step) {
      std::vector<Chunk> chunks;
      for (int i = 0; i < 3; ++i) {
        Chunk chunk;
        chunk.state = states[i].get();
        chunk.position = static_cast<int64_t>(at[i]);
        chunk.tokens = std::span(*ids[i]).subspan(at[i], parts[i][step]);
        chunk.all_logits = got[i].data() + at[i] * static_cast<size_t>(vocab);
        chunks.push_back(chunk);
        at[i] += parts[i][step];
      }
      model->evaluate(chunks);
    }
    for (int i = 0; i < 3; ++i) {
      REQUIRE(at[i] == ids[i]->size());
      check_same(backend, got[i], alone[i], vocab);
    }
  }
}

namespace {

// Fails the verb with a given number, counted from the start of a step.
class FailingBackend final : public Decorator {
 public:
  using Decorator::Decorator;
  int fail_at = -1;

 protected:
  void verb(const char*, const Mat&, const std::function<void()>& call) override {
    if (fail_at >= 0 && fail_at-- == 0) fail(Status::kDeviceLost, "failed on purpose");
    call();
  }
};

}  // namespace

TEST_CASE("a step that fails or is cancelled leaves no trace") {
  for (const BackendUnderTest& backend : model_backends()) {
    CAPTURE(backend.name);
    auto failing = std::make_unique<FailingBackend>(backend.make());
    FailingBackend& faults = *failing;
    const auto engine = open_model("micro", std::move(failing));
    Model* const model = engine->model.get();
    const int64_t vocab = model->config().vocab;
    const std::vector<int32_t> tokens = some_tokens(520, vocab, 4);
    for (const int64_t before : {0, 3, 130}) {
      for (const int64_t lost : {1, 16, 17, 200}) {
        for (const int verb : {3, 38}) {
          Timeline t(engine, {520, 1200, false}), fresh(engine, {520, 1200, false});
          t.append(std::span(tokens).first(static_cast<size_t>(before)));
          t.evaluate({}, {}, nullptr);
          t.append(std::span(tokens).last(static_cast<size_t>(lost)));  // other tokens than those that follow
          faults.fail_at = verb;
          CHECK_THROWS_AS(t.evaluate({}, {}, nullptr), Error);
          faults.fail_at = -1;
          CHECK(t.evaluated() == before);
          const auto rest = std::span(tokens).first(static_cast<size_t>(before + 131));
          t.assign(rest);
          t.evaluate({}, {}, nullptr);
          fresh.append(rest.first(static_cast<size_t>(before)));
          fresh.evaluate({}, {}, nullptr);
          fresh.assign(rest);
          fresh.evaluate({}, {}, nullptr);
          CHECK(std::equal(t.logits().begin(), t.logits().end(), fresh.logits().begin()));
        }
      }
    }
    Timeline t(engine, {520, 1200, false});
    t.append(tokens);
    const std::atomic<bool> cancel{true};
    CHECK_THROWS_AS(t.evaluate({}, {}, &cancel), Error);
    CHECK(t.evaluated() == 0);
  }
}

TEST_CASE("going back, near and far, and on from there") {
  for (const BackendUnderTest& backend : model_backends()) {
    CAPTURE(backend.name);
    const auto engine = open_model("micro", backend.make());
    Model* const model = engine->model.get();
    const int64_t vocab = model->config().vocab;
    const std::vector<int32_t> one = some_tokens(300, vocab, 5), two = some_tokens(300, vocab, 6);
    for (const int64_t length : {40, 129, 270}) {
      for (const int64_t back : {1, 4, 15, 16, 17, 39}) {
        CAPTURE(length);
        CAPTURE(back);
        Timeline t(engine, {300, 64, false});
        t.append(std::span(one).first(static_cast<size_t>(length)));
        t.evaluate({}, {}, nullptr);
        std::vector<int32_t> other(one.begin(), one.begin() + (length - back));
        other.insert(other.end(), two.begin(), two.begin() + 25);
        t.assign(other);
        CHECK(t.evaluated() == (back <= kRollback ? length - back : 0));
        t.evaluate({}, {}, nullptr);
        Timeline fresh(engine, {300, 64, false});
        fresh.append(other);
        fresh.evaluate({}, {}, nullptr);
        check_same(backend, t.logits(), fresh.logits(), vocab);
        t.assign(std::span(other).first(other.size() - 2));  // logits of an earlier end
        t.evaluate({}, {}, nullptr);
        Timeline shorter(engine, {300, 64, false});
        shorter.append(std::span(other).first(other.size() - 2));
        shorter.evaluate({}, {}, nullptr);
        check_same(backend, t.logits(), shorter.logits(), vocab);
      }
    }
  }
}

TEST_CASE("the draft head does not depend on how the tokens arrive") {
  for (const BackendUnderTest& backend : model_backends()) {
    CAPTURE(backend.name);
    const auto engine = open_model("micro", backend.make());
    Model* const model = engine->model.get();
    const size_t vocab = static_cast<size_t>(model->config().vocab);
    const std::vector<int32_t> tokens = some_tokens(140, model->config().vocab, 8);
    std::vector<float> whole;
    for (const int64_t chunk : {1200, 1, 2, 17, 128}) {
      std::vector<float> draft(tokens.size() * vocab);
      Timeline t(engine, {140, chunk, true});
      t.append(tokens);
      t.evaluate({nullptr, draft.data()}, {}, nullptr);
      draft.erase(draft.begin(), draft.begin() + static_cast<std::ptrdiff_t>(vocab));
      if (whole.empty()) whole = draft;
      check_same(backend, draft, whole, model->config().vocab);
    }
  }
}

}  // namespace dsv4::test
