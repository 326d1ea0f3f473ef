// The rules of a sequence's state, on the verbs that touch it: sequences do not see each other, a dropped step leaves
// no trace, and up to kRollback positions can be taken back.
#include <algorithm>
#include <cstring>

#include <doctest/doctest.h>

#include "tests/ops/ops_attention_steps.h"
#include "tests/support/backends_under_test.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {
namespace {

// All layers of both goldens that have a state of another kind.
template <class Body>
void each_layer(const BackendUnderTest& under_test, Body body) {
  for (const std::string golden : {"micro", "micro2"}) {
    const Micro& micro = Micro::get(golden);
    for (const MicroLayer& layer : micro.layers()) {
      if (layer.mtp) continue;
      CAPTURE(under_test.name);
      CAPTURE(golden);
      CAPTURE(layer.name);
      body(micro, layer);
    }
  }
}

void check_same(const BackendUnderTest& under_test, const Trace& got, const Trace& want) {
  if (under_test.same_bits_in_any_step) {
    CHECK(got == want);
  } else {
    CHECK(got.difference(want) < 0.01);
  }
}

std::vector<Step> append_steps(std::vector<Step> a, const std::vector<Step>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("ops: two sequences in one step are each as alone") {
  for (const BackendUnderTest& under_test : backends_under_test()) {
    each_layer(under_test, [&](const Micro& micro, const MicroLayer& layer) {
      Content a = Content::recorded(micro, layer);
      a.top.clear();
      const Content b = a.rotated(50);
      const int64_t rows = a.rows;
      const std::unique_ptr<Backend> backend = under_test.make();
      const Trace a_alone = run_attention(*backend, micro, layer, {a}, in_chunks(rows, rows))[0];
      const Trace b_alone = run_attention(*backend, micro, layer, {b}, in_chunks(rows, rows))[0];
      CHECK(a_alone.difference(b_alone) > 0.5);
      // Pieces of unequal and changing length, now one first, now the other; b ends long after a.
      std::vector<Step> steps;
      const int64_t lengths[] = {7, 1, 40, 17, 128, 3};
      int64_t at[2] = {0, 0};
      for (size_t i = 0; at[0] < rows || at[1] < rows; ++i) {
        Step step;
        for (const size_t s : {i % 2, 1 - i % 2}) {
          const int64_t n = std::min(s == 0 ? lengths[i % 6] : lengths[(i + 1) % 6] / 2 + 1, rows - at[s]);
          if (n > 0) step.pieces.push_back({s, at[s], n, 0});
          at[s] += n;
        }
        steps.push_back(step);
      }
      const std::vector<Trace> together = run_attention(*backend, micro, layer, {a, b}, steps);
      check_same(under_test, together[0], a_alone);
      check_same(under_test, together[1], b_alone);
    });
  }
}

TEST_CASE("ops: a dropped step leaves no trace, and positions can be taken back") {
  for (const BackendUnderTest& under_test : backends_under_test()) {
    each_layer(under_test, [&](const Micro& micro, const MicroLayer& layer) {
      Content content = Content::recorded(micro, layer);
      content.top.clear();
      const int64_t rows = content.rows;
      const std::unique_ptr<Backend> backend = under_test.make();
      const Trace whole = run_attention(*backend, micro, layer, {content}, in_chunks(rows, rows))[0];
      std::vector<Step> steps;
      int64_t at = 0;
      const int64_t lengths[] = {5, 1, 16, 30, 2, 100, 17, 1, 129}, dropped[] = {16, 300, 1, 17, 4, 200, 33};
      for (size_t i = 0; at < rows; ++i) {
        const int64_t wrong = std::min(dropped[i % 7], rows), n = std::min(lengths[i % 9], rows - at);
        steps.push_back({{{0, at, wrong, 101}}, false});
        // A step that is committed with the wrong future, then dropped positions after it, then taken back.
        const int64_t back = std::min<int64_t>({kRollback, rows - at, 1 + static_cast<int64_t>(i * 5 % 16)});
        steps.push_back({{{0, at, back, 37}}, true});
        steps.push_back({{{0, at + back, std::min(wrong, rows - at - back + 1), 53}}, false});
        steps = append_steps(steps, {{{{0, at, n, 0}}, true}});
        at += n;
      }
      const Trace trace = run_attention(*backend, micro, layer, {content}, steps)[0];
      check_same(under_test, trace, whole);
    });
  }
}

TEST_CASE("ops: carry hands every row the residual row before it") {
  constexpr int64_t kWidth = 8, kRows = 200;
  const auto value = [](int64_t sequence, int64_t position, int64_t salt) {
    return to_bf16(static_cast<float>(1 + position % 100 + 100 * salt + 1000 * sequence));
  };
  for (const BackendUnderTest& under_test : backends_under_test()) {
    CAPTURE(under_test.name);
    const std::unique_ptr<Backend> backend = under_test.make();
    backend->reserve(Micro::get("micro").limits(2 * kRows, 1024));
    StateShape shape;
    shape.layers = {{0, 128, 64, 0}};
    shape.window = 128;
    shape.max_rows = kRows;
    shape.context = 1024;
    shape.carry = kWidth;
    const std::unique_ptr<SequenceState> states[2] = {backend->make_state(shape), backend->make_state(shape)};
    int64_t wrong = 0;
    // Rows of both sequences from `first`; salt 0 is the truth, whose predecessors are checked.
    const auto step = [&](const int64_t (&first)[2], const int64_t (&rows)[2], int64_t salt, bool commit) {
      Rig rig(*backend);
      std::vector<bf16> host, want;
      std::vector<Run> runs;
      for (int64_t s = 0; s < 2; ++s) {
        runs.push_back({states[s].get(), static_cast<int64_t>(host.size()) / kWidth, rows[s], first[s]});
        for (int64_t p = first[s]; p < first[s] + rows[s]; ++p) {
          host.insert(host.end(), kWidth, value(s, p, salt));
          const bool in_step = p > first[s];
          want.insert(want.end(), kWidth, p == 0 ? bf16{} : value(s, p - 1, in_step ? salt : 0));
        }
      }
      const auto total = static_cast<int64_t>(host.size()) / kWidth;
      const Mat previous = rig.mat(DType::kBF16, total, kWidth);
      backend->carry(previous, rig.put(DType::kBF16, total, kWidth, host.data()), runs);
      const std::vector<bf16> got = rig.get<bf16>(previous);
      wrong += std::memcmp(got.data(), want.data(), got.size() * 2) != 0;
      if (commit) backend->commit(runs);
    };
    int64_t at[2] = {0, 0};
    const int64_t lengths[] = {1, 5, 16, 17, 40, 1, 1, 200, 33, 2};
    for (size_t i = 0; i < 40; ++i) {
      const int64_t n[2] = {lengths[i % 10], lengths[(i + 3) % 10]}, back[2] = {1 + static_cast<int64_t>(i % 16), 16};
      const int64_t after[2] = {at[0] + back[0], at[1] + back[1]};
      step(at, {lengths[(i + 5) % 10], lengths[(i + 8) % 10]}, 3, false);
      step(at, back, 0, true);
      step(after, {lengths[(i + 7) % 10], lengths[(i + 4) % 10]}, 2, false);
      step(at, n, 0, true);
      at[0] += n[0];
      at[1] += n[1];
    }
    CHECK(wrong == 0);
  }
}

}  // namespace dsv4::test
