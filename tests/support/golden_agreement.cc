#include "tests/support/golden_agreement.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <doctest/doctest.h>

#include "lib/session/timeline.h"

namespace dsv4::test {
namespace {

std::vector<double> log_softmax(const float* x, int64_t n) {
  const double max = *std::max_element(x, x + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - max);
  std::vector<double> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = x[i] - max - std::log(sum);
  return out;
}

}  // namespace

std::string golden_dir(const std::string& name) { return std::string(DSV4_TEST_DATA "/golden/") + name; }

Agreement compare(const float* got, const float* want, int64_t rows, int64_t vocab) {
  Agreement a;
  for (int64_t r = 0; r < rows; ++r) {
    const float* g = got + r * vocab;
    const float* w = want + r * vocab;
    const std::vector<double> p = log_softmax(w, vocab), q = log_softmax(g, vocab);
    double kl = 0;
    for (size_t i = 0; i < p.size(); ++i) kl += std::exp(p[i]) * (p[i] - q[i]);
    a.mean_kl += kl / static_cast<double>(rows);
    a.max_kl = std::max(a.max_kl, kl);
    a.early_exact += r < kEarly && kl <= kEarlyKl;
    a.same_choice +=
        (std::max_element(g, g + vocab) - g == std::max_element(w, w + vocab) - w) / static_cast<double>(rows);
  }
  return a;
}

void check_agreement(const std::string& what, const Agreement& a, const Bound* bound) {
  std::printf("%-42s mean KL %.2e  max KL %.2e  same first choice %6.2f %%  exact %2lld of the first %lld\n",
              what.c_str(), a.mean_kl, a.max_kl, 100 * a.same_choice, static_cast<long long>(a.early_exact),
              static_cast<long long>(kEarly));
  CHECK_MESSAGE(a.early_exact >= 1, what);
  if (bound == nullptr) return;
  CHECK_MESSAGE(a.mean_kl <= bound->mean_kl, what);
  CHECK_MESSAGE(a.same_choice >= bound->same_choice, what);
}

Evaluated evaluate(const std::shared_ptr<Engine>& engine, std::span<const int32_t> tokens, int64_t chunk) {
  Evaluated out;
  const size_t n = tokens.size() * static_cast<size_t>(engine->model->config().vocab);
  out.logits.resize(n);
  out.draft.resize(n);
  Timeline timeline(engine, {static_cast<int64_t>(tokens.size()), chunk, true});
  timeline.append(tokens);
  timeline.evaluate({out.logits.data(), out.draft.data()}, {}, nullptr);
  return out;
}

}  // namespace dsv4::test
