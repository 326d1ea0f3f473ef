// Fairness, on Flash's true layer shapes with random weights: how long a session that decodes has to wait for its next
// token while another one's prompt is evaluated. Batches of sessions are `dsv4 bench --batch`.
//   sessions_bench [LAYERS [THREADS]]        (default 2 layers, all cores; a layer takes 3.4 GB)
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

#include "include/dsv4.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPrompt = 4096;

void check(dsv4_status status, dsv4_error* error) {
  if (status != DSV4_OK) throw std::runtime_error(dsv4_error_message(error));
}

// Tokens of one session with the time of each.
struct Decoder {
  dsv4_session* session = nullptr;
  std::vector<Clock::time_point> times;
  const std::atomic<bool>* until = nullptr;  // ends an answer when it is set

  Decoder(dsv4_model* model, uint64_t position) {
    dsv4_error* error = nullptr;
    dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
    o.context = 8192;
    check(dsv4_session_create(model, &o, &session, &error), error);
    check(dsv4_session_pretend(session, position, &error), error);
    const int32_t first = 7;
    check(dsv4_session_append_tokens(session, &first, 1, &error), error);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { dsv4_session_release(&session); }

  static int32_t on_event(void* user, const dsv4_event* event) {
    Decoder& d = *static_cast<Decoder*>(user);
    if (event->type == DSV4_EVENT_TOKEN) d.times.push_back(Clock::now());
    return d.until != nullptr && d.until->load() ? DSV4_STOP : DSV4_CONTINUE;
  }
  void run(uint64_t tokens) {
    dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
    o.seed = 1;
    o.max_tokens = tokens;
    o.token_events = 1;
    const dsv4_logit_bias never_end = {1, -1000};
    o.logit_bias = &never_end;
    o.logit_bias_count = 1;
    dsv4_error* error = nullptr;
    check(dsv4_session_generate(session, &o, on_event, this, nullptr, &error), error);
  }
  // Between tokens, the first few left out.
  std::vector<double> gaps(size_t skip = 3) const {
    std::vector<double> out;
    for (size_t i = skip + 1; i < times.size(); ++i) {
      out.push_back(std::chrono::duration<double>(times[i] - times[i - 1]).count());
    }
    return out;
  }
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[v.size() / 2];
}

void fairness(dsv4_model* model) {
  Decoder decoder(model, 4096);
  std::atomic<bool> prompted{false};
  double prompt_seconds = 0;
  std::thread prompt;
  const auto prefill = [&] {
    dsv4_session* s = nullptr;
    dsv4_error* error = nullptr;
    dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
    o.context = 8192;
    check(dsv4_session_create(model, &o, &s, &error), error);
    std::vector<int32_t> ids(kPrompt);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % 120000);
    const Clock::time_point start = Clock::now();
    check(dsv4_session_eval(s, ids.data(), ids.size(), nullptr, &error), error);
    prompt_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    dsv4_session_release(&s);
    prompted = true;
  };
  decoder.run(60);
  std::vector<double> undisturbed = decoder.gaps();
  const double alone = median(undisturbed);
  const double alone_longest = *std::max_element(undisturbed.begin(), undisturbed.end());
  decoder.times.clear();
  prompt = std::thread(prefill);
  decoder.until = &prompted;
  decoder.run(4000);
  prompt.join();
  std::vector<double> gaps = decoder.gaps(1);
  std::sort(gaps.begin(), gaps.end());
  const auto show = [&](const char* name, double gap) { std::printf(" %s %.1f ms (%.2f x)", name, gap * 1e3, gap / alone); };
  std::printf("fairness: token gap alone %.1f ms, longest %.1f ms; beside a prompt of %zu tokens", alone * 1e3,
              alone_longest * 1e3, kPrompt);
  show("median", median(gaps));
  show("99 of 100", gaps[gaps.size() * 99 / 100]);
  show("longest", gaps.back());
  std::printf(", %zu tokens; the prompt took %.1f s\n", decoder.times.size(), prompt_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
    o.threads = argc > 2 ? std::atoi(argv[2]) : 0;
    dsv4_model* model = nullptr;
    dsv4_error* error = nullptr;
    check(dsv4_model_open_synthetic("flash", argc > 1 ? std::atoi(argv[1]) : 2, 1, &o, &model, &error), error);
    fairness(model);
    dsv4_model_release(&model);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sessions_bench: %s\n", error.what());
    return 1;
  }
}
