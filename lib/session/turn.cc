#include "lib/session/turn.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/session/prompt_sync.h"
#include "lib/text/prompt_constraint.h"
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
      seed_(options.seed != 0 ? options.seed : fresh_seed()),
      picker_(options, seed_, session.engine_->model->config().vocab),
      before_(timeline_.tokens().begin(), timeline_.tokens().end()) {
  message_.role = Role::kAssistant;
  stats_.seed = seed_;
}

HostAnswer Turn::send(const GenerateEvent& event) {
  if (!sink_ || answer_ != HostAnswer::kContinue) return answer_;
  answer_ = sink_(event);
  return answer_;
}

void Turn::warn(const std::string& text) {
  GenerateEvent event;
  event.kind = GenerateEvent::Kind::kWarning;
  event.text = text;
  send(event);
}

void Turn::send_token(int32_t id, bool forced) {
  if (!options_.token_events) return;
  const TokenInfo info = picker_.describe(timeline_.logits(), id, forced);
  GenerateEvent event;
  event.kind = GenerateEvent::Kind::kToken;
  event.token = &info;
  send(event);
}

void Turn::send_stream(const std::vector<StreamEvent>& events) {
  for (const StreamEvent& e : events) {
    if (e.type == StreamEvent::Type::kReasoningEnd || e.type == StreamEvent::Type::kEnd) continue;
    add_event(e, message_);
    GenerateEvent event;
    event.kind = GenerateEvent::Kind::kStream;
    event.stream = &e;
    send(event);
  }
}

void Turn::prompt_from_messages() {
  const Engine& engine = *session_.engine_;
  const Tokenizer& tokenizer = engine.need_tokenizer();
  RenderOptions render_options;
  render_options.profile = engine.profile;
  render_options.mode = options_.reasoning;
  render_options.tool_choice = options_.tool_choice;
  const Prompt prompt = render(session_.conversation_, render_options);
  if (!prompt.awaits_answer) {
    fail(Status::kInvalidArgument, "nothing to answer: the conversation ends with a finished turn");
  }
  constrain(prompt);
  stats_.reasoning = prompt.mode;
  const std::vector<int32_t> ids = sync_prompt(prompt, timeline_.tokens(), tokenizer);
  timeline_.assign(ids);
  answer_begin_ = timeline_.size();
  if (prompt.starts_in_reasoning) start_ = OutputStart::kReasoning;
  if (prompt.starts_in_tool_calls) {
    start_ = OutputStart::kToolCalls;
    const int32_t think_end = tokenizer.find(protocol::kThinkEnd);
    while (answer_begin_ > 0 && timeline_.tokens()[static_cast<size_t>(answer_begin_ - 1)] != think_end)
      --answer_begin_;
  }
  for (const std::string& warning : prompt.warnings) warn(warning);
  limit_tokens(prompt);
}

void Turn::constrain(const Prompt& prompt) {
  constraint_ = constraint_for(prompt);
  if (!options_.grammar) return;
  if (constraint_.tools == ConstraintSpec::Tools::kRequired) {
    fail(Status::kInvalidArgument, "grammar: the answer is to be a tool call, and cannot keep to a grammar as well");
  }
  constraint_.kind = options_.grammar->kind;
  constraint_.text = options_.grammar->text;
}

// The limit that the profile gives, and the advice on room for mode max.
void Turn::limit_tokens(const Prompt& prompt) {
  if (stats_.max_tokens == 0) stats_.max_tokens = default_max_tokens(prompt.profile, prompt.mode);
  if (prompt.mode != ReasoningMode::kMax) return;
  const uint64_t left = static_cast<uint64_t>(std::max<int64_t>(timeline_.context() - timeline_.size(), 0));
  const uint64_t room = stats_.max_tokens == 0 ? left : std::min(left, stats_.max_tokens);
  if (room < kMaxModeOutputAdvice) {
    warn(fmt::format("reasoning max: room for {} tokens of output; at least {} are advised", room,
                     kMaxModeOutputAdvice));
  }
}

void Turn::prepare() {
  stats_.max_tokens = options_.max_tokens;
  if (session_.drive_ == Session::Drive::kMessages) {
    prompt_from_messages();
  } else {
    if (options_.reasoning) {
      fail(Status::kInvalidArgument, "reasoning: a session driven by tokens has it in its tokens already");
    }
    if (options_.tool_choice) fail(Status::kInvalidArgument, "tool_choice: a session driven by tokens has no tools");
    if (options_.grammar) constraint_ = *options_.grammar;
  }
  prompt_ = timeline_.size();
  if (prompt_ == 0) fail(Status::kInvalidArgument, "nothing to answer: the session is empty");
  if (prompt_ >= timeline_.context()) {
    fail(Status::kContextFull, "the prompt's {} tokens leave no room for an answer in a context of {}", prompt_,
         timeline_.context());
  }
  const uint64_t room = static_cast<uint64_t>(timeline_.context() - prompt_);
  if (stats_.max_tokens == 0 || stats_.max_tokens > room) stats_.max_tokens = room;
  begin_output();
  stats_.prompt_tokens = static_cast<uint64_t>(prompt_);
  stats_.reused_tokens = static_cast<uint64_t>(timeline_.evaluated());
}

// What reads the output and what constrains it. A grammar that cannot be read is an error before anything is evaluated.
void Turn::begin_output() {
  const Engine& engine = *session_.engine_;
  std::shared_ptr<const Constraint> constraint;
  if (constraint_.kind != ConstraintSpec::Kind::kNone || constraint_.tools == ConstraintSpec::Tools::kRequired) {
    engine.need_tokenizer();
    constraint = engine.constraints->compile(constraint_);
  }
  picker_.begin(timeline_.tokens(), std::move(constraint));
  if (engine.tokenizer == nullptr) {
    if (!options_.stops.empty() || options_.reasoning_budget != 0) engine.need_tokenizer();
    return;
  }
  const Tokenizer& tokenizer = *engine.tokenizer;
  if (timeline_.tokens().back() == tokenizer.find(protocol::kThink)) start_ = OutputStart::kReasoning;
  OutputParserOptions output;
  output.start = start_;
  output.stops = options_.stops;
  output.id_seed = seed_ + static_cast<uint64_t>(prompt_) * 0xd1b54a32d192ed03u;  // the same seed may serve many turns
  parser_ = std::make_unique<StreamParser>(tokenizer, output);
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
  // The next turn may begin otherwise than this one's answer: where reasoning is dropped, already at its <think>.
  timeline_.mark();
}

// The budget is used up, and no character is left unfinished.
bool Turn::closes_reasoning() const {
  return parser_ != nullptr && options_.reasoning_budget != 0 && parser_->in_reasoning() &&
         stats_.reasoning_tokens >= options_.reasoning_budget && !parser_->mid_character();
}

EndReason Turn::step() {
  if (timeline_.size() >= timeline_.context()) return EndReason::kLength;
  const bool in_answer = parser_ == nullptr || !parser_->in_reasoning();
  const bool forced = closes_reasoning();
  const int32_t id =
      forced ? session_.engine_->tokenizer->find(protocol::kThinkEnd) : picker_.pick(timeline_.logits(), in_answer);
  if (id == Sampler::kNoToken) return EndReason::kHost;
  send_token(id, forced);
  picker_.take(id, in_answer);
  timeline_.append({&id, 1});
  ++stats_.generated_tokens;
  if (parser_ != nullptr) {
    if (parser_->in_reasoning()) ++stats_.reasoning_tokens;
    std::vector<StreamEvent> events;
    parser_->push(id, events);
    send_stream(events);
  }
  if (forced) {
    stats_.reasoning_closed = true;
    warn(fmt::format("the reasoning was closed after {} tokens, its budget", stats_.reasoning_tokens - 1));
  }
  if (parser_ != nullptr && parser_->stopped()) return parser_->reason();
  if (id == session_.engine_->model->config().eos) return EndReason::kStop;
  if (answer_ == HostAnswer::kStop) return EndReason::kHost;
  if (answer_ == HostAnswer::kCancel || session_.is_cancelled()) return EndReason::kCancelled;
  if (stats_.generated_tokens >= stats_.max_tokens) return EndReason::kLength;
  timeline_.evaluate({}, {}, &session_.cancel_);
  return EndReason::kNone;
}

void Turn::decode() {
  const Stopwatch stopwatch(stats_.decode_seconds);
  const Scheduler::Decoding decoding(session_.engine_->scheduler);
  while (stats_.reason == EndReason::kNone) stats_.reason = step();
}

void Turn::keep_message() {
  if (session_.drive_ != Session::Drive::kMessages) return;
  const Tokenizer& tokenizer = *session_.engine_->tokenizer;
  // Without a stop string inside, the turn's tokens stand for exactly its text, and are kept as they are.
  const int32_t think_end = tokenizer.find(protocol::kThinkEnd);
  TurnIds ids;
  ids.reasoning.emplace();
  bool reasoning = start_ == OutputStart::kReasoning, exact = stats_.reason != EndReason::kStopString;
  for (const int32_t id : timeline_.tokens().subspan(static_cast<size_t>(answer_begin_))) {
    if (id == session_.engine_->model->config().eos) continue;
    if (id == think_end) {
      exact = exact && reasoning;
      reasoning = false;
      continue;
    }
    (reasoning ? *ids.reasoning : ids.answer).push_back(id);
  }
  if (exact) message_.ids = std::move(ids);
  std::vector<Message>& messages = session_.conversation_.messages;
  if (!messages.empty() && messages.back().prefix) {  // what was said continues that message
    message_.reasoning.insert(0, messages.back().reasoning);
    message_.content.insert(0, messages.back().content);
    message_.ids.reset();
    messages.pop_back();
  }
  messages.push_back(std::move(message_));
}

void Turn::roll_back() { timeline_.assign(before_); }

void Turn::finish() {
  if (parser_ != nullptr) {
    std::vector<StreamEvent> events;
    parser_->finish(stats_.reason, events);
    send_stream(events);
  }
  stats_.tool_calls = message_.calls.size();
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
