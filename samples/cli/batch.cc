#include "batch.h"

#include <chrono>
#include <exception>
#include <thread>
#include <vector>

#include "runs.h"
#include "terminal.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Member {
  Session session;
  std::vector<Clock::time_point> times;  // of its tokens
  std::exception_ptr error;
};

int32_t on_event(void* user, const dsv4_event* event) {
  if (event->type == DSV4_EVENT_TOKEN) static_cast<Member*>(user)->times.push_back(Clock::now());
  return interrupts() > 0 ? DSV4_CANCEL : DSV4_CONTINUE;
}

void generate(Member& member, uint64_t seed, uint64_t tokens, int32_t eos) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  options.seed = seed;
  options.max_tokens = tokens;
  options.token_events = 1;
  const dsv4_logit_bias never_end = {eos, -1000};
  options.logit_bias = &never_end;
  options.logit_bias_count = eos >= 0 ? 1 : 0;
  check([&](dsv4_error** error) {
    return dsv4_session_generate(member.session.get(), &options, on_event, &member, nullptr, error);
  });
}

double median_gap(const std::vector<Member>& members) {
  Runs gaps;
  for (const Member& member : members) {
    for (size_t i = kBatchWarmUpTokens; i < member.times.size(); ++i)
      gaps.values.push_back(std::chrono::duration<double>(member.times[i] - member.times[i - 1]).count());
  }
  if (gaps.values.empty()) throw Failure(DSV4_E_INTERNAL, "no session of the batch generated enough tokens to time them");
  return gaps.median();
}

}  // namespace

double decode_together(const Session& session, const dsv4_model_info& info, size_t count, uint64_t tokens) {
  std::vector<Member> members(count);
  for (Member& member : members) {
    dsv4_session* fork = nullptr;
    check([&](dsv4_error** error) { return dsv4_session_fork(session.get(), &fork, error); });
    member.session.reset(fork);
  }
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < count; ++i) {
      threads.emplace_back([&, i] {
        try {
          generate(members[i], i + 1, kBatchWarmUpTokens + tokens, info.eos_token);
        } catch (...) {
          members[i].error = std::current_exception();
        }
      });
    }
  }
  if (interrupts() > 0) throw Failure(DSV4_E_CANCELLED, "cancelled");
  for (const Member& member : members) {
    if (member.error != nullptr) std::rethrow_exception(member.error);
  }
  return static_cast<double>(count) / median_gap(members);
}

}  // namespace cli
