// Where the time of a step goes, verb by verb, on Flash's true layer shapes with random weights: one sequence that
// decodes, eight that decode together, a prompt.
//   verb_bench [LAYERS [THREADS [ISA [DEPTH]]]]     (default 2 layers, all cores, the best, 4096; a layer takes 3.4 GB)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "lib/backend/decorator.h"
#include "lib/base/error.h"
#include "lib/model/model.h"

using namespace dsv4;

namespace {

constexpr int64_t kPrompt = 512;

struct Sequence {
  std::unique_ptr<SequenceState> state;
  int64_t position = 0;
  std::vector<int32_t> tokens;
  std::vector<float> logits;
};

class VerbBench {
 public:
  VerbBench(Model& model, VerbTimes& profile) : model_(model), profile_(profile) {}

  // `steps` steps of `count` sequences with `rows` new tokens each: the fastest, and its verbs.
  void run(const char* title, size_t count, int64_t rows, int64_t depth, int steps) {
    std::vector<Sequence> sequences(count);
    for (size_t i = 0; i < count; ++i) {
      Sequence& s = sequences[i];
      s.position = depth + 16 * static_cast<int64_t>(i);
      s.state = model_.make_state(s.position + rows * (steps + 1), false);
      s.tokens.resize(static_cast<size_t>(rows));
      s.logits.resize(static_cast<size_t>(model_.config().vocab));
    }
    std::vector<VerbTimes::Line> best;
    double fastest = 0;
    for (int step = 0; step <= steps; ++step) {  // the first one warms up
      profile_.clear();
      const double seconds = evaluate(sequences);
      if (step == 0 || (fastest != 0 && seconds >= fastest)) continue;
      fastest = seconds;
      best = profile_.lines();
    }
    print(title, static_cast<int64_t>(count) * rows, fastest, best);
  }

 private:
  double evaluate(std::vector<Sequence>& sequences) {
    std::vector<Chunk> chunks;
    for (Sequence& s : sequences) {
      for (int32_t& t : s.tokens) t = static_cast<int32_t>(random_() % static_cast<uint64_t>(model_.config().vocab));
      Chunk c;
      c.state = s.state.get();
      c.position = s.position;
      c.tokens = s.tokens;
      c.last_logits = s.logits.data();
      chunks.push_back(c);
      s.position += static_cast<int64_t>(s.tokens.size());
    }
    const auto start = std::chrono::steady_clock::now();
    model_.evaluate(chunks);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  static void print(const char* title, int64_t tokens, double seconds, std::vector<VerbTimes::Line> lines) {
    std::printf("%s: %.2f ms, %.1f tokens/s\n", title, seconds * 1e3, static_cast<double>(tokens) / seconds);
    double products = 0, all = 0;
    for (const VerbTimes::Line& l : lines) {
      const std::string verb = l.verb;
      all += l.seconds;
      if (verb == "linear" || verb == "project_out" || verb == "experts" || verb == "logits") products += l.seconds;
    }
    std::sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
    for (const VerbTimes::Line& l : lines) {
      std::printf("  %-12s %4lld calls %9.3f ms %5.1f %%\n", l.verb, static_cast<long long>(l.calls), l.seconds * 1e3,
                  100 * l.seconds / seconds);
    }
    std::printf("  between verbs %18.3f ms %5.1f %%; all but weight products %.1f %%\n", (seconds - all) * 1e3,
                100 * (seconds - all) / seconds, 100 * (seconds - products) / seconds);
  }

  Model& model_;
  VerbTimes& profile_;
  std::mt19937_64 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 12);
  try {
    CpuOptions options;
    const int64_t layers = argc > 1 ? std::atoi(argv[1]) : 2;
    options.threads = argc > 2 ? std::atoi(argv[2]) : 0;
    options.isa = argc > 3 ? argv[3] : "";
    const int64_t depth = argc > 4 ? std::atol(argv[4]) : 4096;
    auto profile = std::make_unique<VerbTimes>(make_cpu_backend(options));
    VerbTimes& verbs = *profile;
    Model model(Checkpoint::synthetic(with_layers(published_config("flash"), layers), 1, {}), std::move(profile),
                kPrompt);
    std::printf("%s; %lld layers, depth %lld\n", model.backend().description().c_str(), static_cast<long long>(layers),
                static_cast<long long>(depth));
    VerbBench bench(model, verbs);
    bench.run("one sequence", 1, 1, depth, 30);
    bench.run("eight sequences", 8, 1, depth, 15);
    bench.run("a prompt of 512", 1, kPrompt, depth, 2);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "verb_bench: %s\n", error.what());
    return 1;
  }
}
