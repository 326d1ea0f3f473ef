// Whole models on the cuda backend: against the published program, recorded steps against plain ones, states that move
// between backends. Part of the tests on the executor (tests/simt) and of those on a GPU.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/backend/check.h"
#include "tests/gpu/cuda_sequences.h"
#include "tests/support/golden_agreement.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {

TEST_CASE("micro: logits and draft logits agree with the published program") {
  const GoldenFile golden(golden_dir("micro") + "/golden.safetensors");
  const std::vector<int32_t> tokens = golden.get("tokens").ints();
  const std::vector<float> logits = golden.get("logits").floats(), draft = golden.get("draft_logits").floats();
  const auto rows = static_cast<int64_t>(tokens.size());
  const auto engine = std::make_shared<Engine>(open_cuda("micro"));
  const int64_t vocab = engine->model->config().vocab;
  int64_t best = 0, best_draft = 0;
  for (const int64_t chunk : {kStepRows, int64_t{7}, int64_t{1}}) {
    const Evaluated got = evaluate(engine, tokens, chunk);
    const std::string what = "micro, cuda, chunks of " + std::to_string(chunk);
    const Agreement main = compare(got.logits.data(), logits.data(), rows, vocab);
    const Agreement head = compare(got.draft.data() + vocab, draft.data(), rows - 1, vocab);
    check_agreement(what, main, &kBounds[0]);
    check_agreement(what + ", draft", head, nullptr);
    best = std::max(best, main.early_exact);
    best_draft = std::max(best_draft, head.early_exact);
  }
  CHECK(best >= kEarly - 2);
  CHECK(best_draft >= kEarly - 2);
}

// A verb of a model with the inputs that it had there, against the cpu backend: sums come in another order, no more.
TEST_CASE("every verb of whole models agrees with the cpu backend's") {
  for (const std::string name : {"micro", "micro2"}) {
    const std::vector<int32_t> tokens = golden_tokens(name, 200);
    const auto report = std::make_shared<CheckReport>();
    const auto model = open_golden(name, std::make_unique<Check>(make_cuda_backend({}), make_cpu_backend({}), report));
    Sequences s(*model, 2);
    s.step({{0, {tokens.begin(), tokens.begin() + 128}}});
    s.step({{0, {tokens.begin() + 128, tokens.begin() + 140}}, {1, {tokens.begin() + 5, tokens.begin() + 14}}});
    for (size_t i = 0; i < 4; ++i) s.step({{1, {tokens[i + 20]}}, {0, {tokens[i + 140]}}});
    const std::vector<CheckReport::Line> lines = report->lines();
    MESSAGE(name << "\n" << check_table(lines));
    CHECK(lines.size() > 20);
    for (const CheckReport::Line& line : lines) {
      CAPTURE(line.verb);
      CAPTURE(line.output);
      CHECK(static_cast<double>(line.beyond) <= 0.002 * static_cast<double>(line.elements));
    }
  }
}

TEST_CASE("a recorded step gives the bits of a plain one, whatever sequences and positions it is replayed with") {
  for (const std::string name : {"micro", "micro2"}) {
    CAPTURE(name);
    const std::vector<int32_t> tokens = golden_tokens(name, 270);
    const auto recorded = open_cuda(name);
    const auto plain = open_golden(name, std::make_unique<Plain>(make_cuda_backend({})));
    Sequences a(*recorded, 3), b(*plain, 3);
    const auto both = [&](const std::vector<Sequences::Part>& parts) {
      a.step(parts);
      b.step(parts);
      for (const Sequences::Part& part : parts) CHECK(a.logits[part.sequence] == b.logits[part.sequence]);
    };
    both({{0, {tokens.begin(), tokens.begin() + 100}}});
    both({{1, {tokens.begin(), tokens.begin() + 37}}});
    both({{2, {tokens.begin(), tokens.begin() + 5}}});
    for (size_t i = 0; i < 12; ++i) {
      const size_t first = i % 3, second = (i + 1) % 3;  // the same shapes, other states
      const int32_t x = tokens[i + 110], y = tokens[i + 130];
      both({{first, {x}}});
      both({{second, {x}}, {first, {y}}});
      both({{0, {x, y}}, {1, {y, x}}, {2, {x, x}}});
    }
  }
}

TEST_CASE("a state moves between cuda and the reference backend, byte for byte, and goes on there") {
  for (const std::string name : {"micro", "micro2"}) {
    CAPTURE(name);
    const std::vector<int32_t> tokens = golden_tokens(name, 200);
    const auto cuda = open_cuda(name), reference = open_golden(name, make_reference_backend());
    for (const int64_t length : {int64_t{3}, int64_t{64}, int64_t{150}}) {
      CAPTURE(length);
      Sequences there(*cuda, 2), here(*reference, 2);
      for (int64_t at = 0; at < length; at += kStepRows) {
        const auto end = tokens.begin() + std::min(at + kStepRows, length);
        there.step({{0, {tokens.begin() + at, end}}});
        here.step({{0, {tokens.begin() + at, end}}});
      }
      const std::vector<StatePart> parts = there.parts(length);
      const std::vector<uint8_t> from_cuda = there.exported(0), from_reference = here.exported(0);
      reference->import_state(*here.states[1], parts, from_cuda.data());
      cuda->import_state(*there.states[1], parts, from_reference.data());
      here.positions[1] = there.positions[1] = length;
      CHECK(here.exported(1) == from_cuda);
      CHECK(there.exported(1) == from_reference);
      // Each goes on with the other's state as its owner does.
      there.step({{0, {tokens[0]}}});
      there.step({{1, {tokens[0]}}});
      here.step({{0, {tokens[0]}}});
      here.step({{1, {tokens[0]}}});
      CHECK(kl(there.logits[0], here.logits[1]) < 0.01);
      CHECK(kl(here.logits[0], there.logits[1]) < 0.01);
    }
  }
}

}  // namespace dsv4::test
