// What drawing a token costs at the real vocabulary: microseconds per token of the usual chains of processors, best and
// median of many. Logits like a model's: normally distributed, with a few tokens well above the rest; and flat ones,
// the worst case of top_p. Run by hand on an idle machine; nothing is asserted.
//   sampler_bench [repetitions]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "lib/sample/sampler.h"
#include "lib/sample/top_logprobs.h"

namespace {

constexpr int64_t kVocab = 129280;

std::vector<float> make_logits(double deviation, int peaks) {
  dsv4::Rng rng(1);
  std::vector<float> logits(static_cast<size_t>(kVocab));
  for (float& logit : logits) {  // Box-Muller
    const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
    logit = static_cast<float>(deviation * radius * std::cos(6.283185307179586 * rng.uniform()));
  }
  for (int i = 0; i < peaks; ++i) logits[rng.next() % logits.size()] = static_cast<float>(18 - 0.7 * i);
  return logits;
}

template <class Call>
void measure(const char* name, int repetitions, Call call) {
  std::vector<double> seconds;
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  std::printf("%-58s %8.1f %8.1f\n", name, seconds.front() * 1e6, seconds[seconds.size() / 2] * 1e6);
}

void run(int repetitions) {
  const std::vector<float> peaked = make_logits(2.5, 12), flat = make_logits(0.5, 0);
  dsv4::PenaltyHistory history(kVocab, 0);
  dsv4::Rng rng(2);
  for (int i = 0; i < 4000; ++i) history.push(static_cast<int32_t>(rng.next() % 3000), i >= 2000);
  std::vector<uint32_t> few(static_cast<size_t>(kVocab / 32), 0), many(few.size(), UINT32_MAX);
  for (size_t i = 0; i < few.size(); i += 40) few[i] = 0x10010;
  for (size_t i = 0; i < many.size(); i += 3) many[i] = static_cast<uint32_t>(rng.next());
  const dsv4::EditLogits edit = [](std::span<float> logits) {
    logits[0] = 1;
    return true;
  };

  std::printf("%lld logits, microseconds per token                          best   median\n",
              static_cast<long long>(kVocab));
  const auto chain = [&](const char* name, const dsv4::SamplerOptions& options, const dsv4::PickInputs& inputs) {
    dsv4::Sampler sampler(options, kVocab);
    measure(name, repetitions, [&] { sampler.pick(inputs, rng); });
  };
  using Options = dsv4::SamplerOptions;
  const dsv4::PickInputs plain{peaked}, even{flat};
  chain("greedy", Options{.temperature = 0}, plain);
  chain("temperature 1 (the default)", Options{}, plain);
  chain("temperature 0.6, top_p 0.95", Options{.temperature = 0.6, .top_p = 0.95}, plain);
  chain("temperature 1, top_p 0.95", Options{.top_p = 0.95}, plain);
  chain("temperature 1, top_p 0.95, flat", Options{.top_p = 0.95}, even);
  chain("temperature 1, top_k 40", Options{.top_k = 40}, plain);
  chain("temperature 1, top_k 5000, flat", Options{.top_k = 5000}, even);
  chain("temperature 1, min_p 0.05", Options{.min_p = 0.05}, plain);
  chain("temperature 0.6, top_k 40, top_p 0.95, min_p 0.05",
        Options{.temperature = 0.6, .top_p = 0.95, .min_p = 0.05, .top_k = 40}, plain);
  chain("temperature 1, three penalties over 3000 tokens",
        Options{.repetition = 1.1, .presence = 0.5, .frequency = 0.1}, {peaked, &history});
  chain("temperature 1, a mask of few tokens", Options{}, {peaked, nullptr, few});
  chain("temperature 1, a mask of most tokens", Options{}, {peaked, nullptr, many});
  chain("temperature 1, a host's edit that does next to nothing", Options{}, {peaked, nullptr, {}, &edit});
  chain("temperature 0.6, top_p 0.95, penalties, mask of most",
        Options{.temperature = 0.6, .top_p = 0.95, .presence = 0.5}, {peaked, &history, many});
  dsv4::TokenLogprob own{};
  std::vector<dsv4::TokenLogprob> top;
  measure("top 20 log-probabilities", repetitions, [&] { dsv4::top_logprobs(peaked, 5, 20, own, top); });
  measure("penalty history, 1000 tokens pushed", repetitions, [&] {
    for (int32_t i = 0; i < 1000; ++i) history.push(i * 7, true);
  });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 300);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sampler_bench: %s\n", error.what());
    return 1;
  }
}
