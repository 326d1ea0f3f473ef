#include "lib/session/turn.h"

#include <chrono>
#include <random>

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/session/prompt_sync.h"
#include "lib/text/protocol_text.h"

namespace dsv4 {
namespace {

uint64_t fresh_seed() {
  std::random_device device;
  const uint64_t seed = static_cast<uint64_t>(device()) << 32 | device();
  return seed != 0 ? seed : 1;
}

// Writes the seconds of its own lifetime, also when that ends with an exception.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

Turn::Turn(Session& session, const GenerateOptions& options, const EventSink& sink)
    : session_(session),
      timeline_(session.timeline_),
      options_(options),
      sink_(sink),
      sampler_(options.sampling, session.engine_->model->config().vocab),
      seed_(options.seed != 0 ? options.seed : fresh_seed()),
      rng_(seed_),
      before_(timeline_.tokens().begin(), timeline_.tokens().end()) {}

HostAnswer Turn::send(const GenerateEvent& event) {
  if (!sink_) return HostAnswer::kContinue;
  const HostAnswer answer = sink_(event);
  if (answer != HostAnswer::kContinue && answer_ == HostAnswer::kContinue) answer_ = answer;
  return answer_;
}

void Turn::warn(const std::string& text) {
  GenerateEvent event;
  event.kind = GenerateEvent::Kind::kWarning;
  event.text = text;
  send(event);
}

HostAnswer Turn::send_text(const std::vector<StreamEvent>& events) {
  for (const StreamEvent& e : events) {
    if (e.text.empty()) continue;
    const bool reasoning = e.type == StreamEvent::Type::kReasoning;
    (reasoning ? reasoning_ : content_) += e.text;
    GenerateEvent event;
    event.kind = reasoning ? GenerateEvent::Kind::kReasoning : GenerateEvent::Kind::kContent;
    event.text = e.text;
    if (answer_ == HostAnswer::kContinue) send(event);
  }
  return answer_;
}

void Turn::prompt_from_messages() {
  const Engine& engine = *session_.engine_;
  const Tokenizer& tokenizer = engine.need_tokenizer();
  RenderOptions render_options;
  render_options.profile = engine.profile;
  render_options.mode = options_.reasoning;
  const Prompt prompt = render(session_.conversation_, render_options);
  if (!prompt.awaits_answer) {
    fail(Status::kInvalidArgument, "nothing to answer: the conversation ends with a finished turn");
  }
  if (prompt.starts_in_tool_calls) {
    fail(Status::kUnsupported, "tool_choice: forcing a tool call is not there yet; \"auto\" and \"none\" are");
  }
  stats_.reasoning = prompt.mode;
  const std::vector<int32_t> ids = sync_prompt(prompt, timeline_.tokens(), tokenizer);
  timeline_.assign(ids);
  for (const std::string& warning : prompt.warnings) warn(warning);
  const int64_t room = timeline_.context() - timeline_.size();
  if (prompt.mode == ReasoningMode::kMax && room < kMaxModeOutputAdvice) {
    warn(fmt::format("reasoning max: room for {} tokens of output; at least {} are advised", room,
                     kMaxModeOutputAdvice));
  }
}

void Turn::prepare() {
  const Engine& engine = *session_.engine_;
  if (session_.drive_ == Session::Drive::kMessages) {
    prompt_from_messages();
  } else if (options_.reasoning) {
    fail(Status::kInvalidArgument, "reasoning: a session driven by tokens has it in its tokens already");
  }
  prompt_ = timeline_.size();
  if (prompt_ == 0) fail(Status::kInvalidArgument, "nothing to answer: the session is empty");
  if (prompt_ >= timeline_.context()) {
    fail(Status::kContextFull, "the prompt's {} tokens leave no room for an answer in a context of {}", prompt_,
         timeline_.context());
  }
  if (engine.tokenizer != nullptr) {
    const int32_t last = timeline_.tokens().back();
    starts_in_reasoning_ = last == engine.tokenizer->find(protocol::kThink);
    parser_ = std::make_unique<StreamParser>(*engine.tokenizer, starts_in_reasoning_, options_.stops);
  } else if (!options_.stops.empty()) {
    engine.need_tokenizer();
  }
  stats_.prompt_tokens = static_cast<uint64_t>(prompt_);
  stats_.reused_tokens = static_cast<uint64_t>(timeline_.evaluated());
  stats_.seed = seed_;
}

void Turn::prefill() {
  const Stopwatch stopwatch(stats_.prefill_seconds);
  timeline_.evaluate(
      {},
      [&](int64_t done, int64_t total) {
        GenerateEvent event;
        event.kind = GenerateEvent::Kind::kPrefill;
        event.done = static_cast<uint64_t>(done);
        event.total = static_cast<uint64_t>(total);
        return send(event) == HostAnswer::kContinue;
      },
      &session_.cancel_);
}

EndReason Turn::step() {
  if (timeline_.size() >= timeline_.context()) return EndReason::kLength;
  const int32_t id = sampler_.pick({timeline_.logits()}, rng_);
  timeline_.append({&id, 1});
  ++stats_.generated_tokens;
  if (parser_ != nullptr) {
    if (parser_->in_reasoning()) ++stats_.reasoning_tokens;
    std::vector<StreamEvent> events;
    parser_->push(id, events);
    send_text(events);
  }
  if (parser_ != nullptr && parser_->stopped()) return parser_->reason();
  if (id == session_.engine_->model->config().eos) return EndReason::kStop;
  if (answer_ == HostAnswer::kStop) return EndReason::kHost;
  if (answer_ == HostAnswer::kCancel || session_.is_cancelled()) return EndReason::kCancelled;
  if (stats_.generated_tokens == options_.max_tokens || timeline_.size() >= timeline_.context()) {
    return EndReason::kLength;
  }
  timeline_.evaluate({}, {}, &session_.cancel_);
  return EndReason::kNone;
}

void Turn::decode() {
  const Stopwatch stopwatch(stats_.decode_seconds);
  while (stats_.reason == EndReason::kNone) stats_.reason = step();
}

void Turn::keep_message() {
  if (session_.drive_ != Session::Drive::kMessages) return;
  const Tokenizer& tokenizer = *session_.engine_->tokenizer;
  Message message;
  message.role = Role::kAssistant;
  message.content = content_;
  message.reasoning = reasoning_;
  // Without a stop string inside, the turn's tokens stand for exactly its text, and are kept as they are.
  const auto generated = timeline_.tokens().subspan(static_cast<size_t>(prompt_));
  const int32_t think_end = tokenizer.find(protocol::kThinkEnd);
  TurnIds ids;
  bool reasoning = starts_in_reasoning_, exact = stats_.reason != EndReason::kStopString;
  for (const int32_t id : generated) {
    if (id == session_.engine_->model->config().eos) continue;
    if (id == think_end) {
      exact = exact && reasoning;
      reasoning = false;
      continue;
    }
    (reasoning ? ids.reasoning : ids.answer).push_back(id);
  }
  if (exact) message.ids = std::move(ids);
  session_.conversation_.messages.push_back(std::move(message));
}

void Turn::roll_back() { timeline_.assign(before_); }

void Turn::finish() {
  if (parser_ != nullptr) {
    std::vector<StreamEvent> events;
    parser_->finish(stats_.reason, events);
    send_text(events);
  }
  if (answer_ == HostAnswer::kCancel) {
    stats_.reason = EndReason::kCancelled;
    roll_back();
  } else if (stats_.generated_tokens != 0) {
    keep_message();
  }
  GenerateEvent event;
  event.kind = GenerateEvent::Kind::kDone;
  event.stats = &stats_;
  if (sink_) sink_(event);
}

GenerateStats Turn::run() {
  try {
    prepare();
    try {
      prefill();
      decode();
    } catch (const Error& e) {
      if (e.status() != Status::kCancelled) throw;
      stats_.reason = answer_ == HostAnswer::kStop ? EndReason::kHost : EndReason::kCancelled;
    }
  } catch (...) {
    roll_back();
    throw;
  }
  finish();
  if (stats_.reason == EndReason::kCancelled)
    fail(Status::kCancelled, "cancelled after {} tokens", stats_.generated_tokens);
  return stats_;
}

}  // namespace dsv4
