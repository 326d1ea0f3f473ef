// End to end against the published program: logits, draft logits and the residual state after each layer, on the four
// golden checkpoints, for every backend under test. The figures are printed; the bounds are those of CONTRIBUTING.md.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "lib/backend/decorator.h"
#include "lib/model/model.h"
#include "lib/session/timeline.h"
#include "tests/support/backends_under_test.h"
#include "tests/support/golden_agreement.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {

TEST_CASE("logits and draft logits agree with the published program") {
  for (const Bound& bound : kBounds) {
    const std::string name = bound.name;
    const GoldenFile golden(golden_dir(name) + "/golden.safetensors");
    const std::vector<int32_t> tokens = golden.get("tokens").ints();
    const std::vector<float> logits = golden.get("logits").floats(), draft = golden.get("draft_logits").floats();
    const int64_t rows = static_cast<int64_t>(tokens.size());
    int64_t best = 0, best_draft = 0;
    for (const BackendUnderTest& backend : backends_under_test()) {
      const auto engine = std::make_shared<Engine>(
          std::make_unique<Model>(Checkpoint::open(golden_dir(name), {}), backend.make(), 512));
      const int64_t vocab = engine->model->config().vocab;
      for (const int64_t chunk : {rows, int64_t{7}, int64_t{1}}) {
        const Evaluated got = evaluate(engine, tokens, chunk);
        const std::string what = name + ", " + backend.name +
                                 (chunk == rows ? ", prefill"
                                  : chunk == 7  ? ", chunks of 7"
                                                : ", one by one");
        const Agreement main = compare(got.logits.data(), logits.data(), rows, vocab);
        const Agreement head = compare(got.draft.data() + vocab, draft.data(), rows - 1, vocab);
        check_agreement(what, main, &bound);
        check_agreement(what + ", draft", head, nullptr);
        best = std::max(best, main.early_exact);
        best_draft = std::max(best_draft, head.early_exact);
      }
    }
    CHECK(best >= kEarly - 2);
    CHECK(best_draft >= kEarly - 2);
  }
}

TEST_CASE("the residual state after each layer is the published program's at the traced positions") {
  for (const std::string name : {"micro", "micro2", "flash", "base"}) {
    const GoldenFile golden(golden_dir(name) + "/golden.safetensors");
    const std::vector<int32_t> tokens = golden.get("tokens").ints(), positions = golden.get("trace_positions").ints();
    const std::vector<float> want = golden.get("layers").floats();

    // X is whole after the last hc_post of a layer: every second hc_post_pre, or the closing hc_post.
    std::vector<std::vector<float>> after;  // [layer][T * m * n]
    int halves = 0;
    auto trace =
        std::make_unique<Trace>(backends_under_test().front().make(), [&](const char* verb, const Mat& X, Backend& be) {
          const std::string v = verb;
          const bool mixes = v == "hc_post_pre" || v == "hc_post";
          if (!mixes || ++halves % 2 != 0) return;
          std::vector<bf16> raw(static_cast<size_t>(X.rows * X.cols));
          be.download(raw.data(), X);
          std::vector<float>& out = after.emplace_back(raw.size());
          std::transform(raw.begin(), raw.end(), out.begin(), to_float);
        });
    const auto engine = std::make_shared<Engine>(
        std::make_unique<Model>(Checkpoint::open(golden_dir(name), {}), std::move(trace), 512));
    Timeline timeline(engine, {static_cast<int64_t>(tokens.size()), 0, false});
    timeline.append(tokens);
    timeline.evaluate({}, {}, nullptr);

    const Config& c = engine->model->config();
    const size_t width = static_cast<size_t>(c.streams * c.hidden);
    REQUIRE(static_cast<int64_t>(after.size()) == c.layers);
    for (size_t l = 0; l < after.size(); ++l) {
      // Relative error at each traced position; the early ones come before any flip has spread.
      int early = 0, early_exact = 0;
      double worst = 0;
      for (size_t p = 0; p < positions.size(); ++p) {
        const float* got = after[l].data() + static_cast<size_t>(positions[p]) * width;
        const float* expected = want.data() + (l * positions.size() + p) * width;
        double error = 0, size = 0;
        for (size_t i = 0; i < width; ++i) {
          error += std::pow(static_cast<double>(got[i]) - expected[i], 2);
          size += std::pow(static_cast<double>(expected[i]), 2);
        }
        const double relative = std::sqrt(error / size);
        worst = std::max(worst, relative);
        if (positions[p] >= kEarly) continue;
        ++early;
        early_exact += relative < 1e-3;  // one flipped element is about 1e-4
      }
      std::printf("%-8s after layer %zu: exact at %d of %d early positions, worst relative error %.2e\n", name.c_str(),
                  l, early_exact, early, worst);
      CHECK(early_exact >= 1);
      CHECK(worst < 0.5);
    }
  }
}

}  // namespace dsv4::test
