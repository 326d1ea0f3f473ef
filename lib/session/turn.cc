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

// Adds the seconds of its own lifetime, also when that ends with an exception.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

GenerateOptions options_of(const Session& session, const GenerateOptions& given) {
  if (!given.resume) return given;
  if (!session.open_turn()) {
    fail(Status::kInvalidArgument,
         "nothing to resume: no turn of this session was interrupted, or something else has happened since");
  }
  return resumed_options(*session.open_turn(), given);
}

}  // namespace

Turn::Turn(Session& session, const GenerateOptions& options, const EventSink& sink)
    : session_(session),
      timeline_(session.timeline_),
      options_(options_of(session, options)),
      sink_(sink),
      seed_(options_.seed != 0 ? options_.seed : fresh_seed()),
      picker_(options_, seed_, session.engine_->model->config().vocab),
      before_(timeline_.tokens().begin(), timeline_.tokens().end()) {
  message_.role = Role::kAssistant;
  stats_.seed = seed_;
}

HostAnswer Turn::send(const GenerateEvent& event) {
  if (!sink_ || answer_ == HostAnswer::kStop || answer_ == HostAnswer::kCancel) return answer_;
  const HostAnswer now = sink_(event);
  if (now != HostAnswer::kContinue) answer_ = now;  // kPause stands, and the rest of this token's events still comes
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
  const std::vector<Message>& messages = session_.conversation_.messages;
  replaces_last_ = !messages.empty() && messages.back().prefix;
  if (replaces_last_) continued_ = ContinuedMessage{messages.back().reasoning, messages.back().content};
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
  options_.resume ? resume() : begin();
  const uint64_t room = static_cast<uint64_t>(std::max<int64_t>(timeline_.context() - prompt_, 0));
  if (stats_.max_tokens == 0 || stats_.max_tokens > room) stats_.max_tokens = room;
  begin_output();
  if (options_.resume) replay();
}

void Turn::begin() {
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
  stats_.prompt_tokens = static_cast<uint64_t>(prompt_);
  stats_.reused_tokens = static_cast<uint64_t>(timeline_.evaluated());
}

void Turn::resume() {
  const OpenTurn& turn = *session_.open_turn_;
  stats_ = turn.stats;
  stats_.reason = EndReason::kNone;
  stats_.max_tokens = options_.max_tokens;
  prompt_ = turn.prompt;
  answer_begin_ = turn.answer_begin;
  start_ = turn.start;
  constraint_ = turn.constraint;
  continued_ = turn.continued;
  replaces_last_ = turn.kept || turn.continued.has_value();
  stats_.generated_tokens = static_cast<uint64_t>(timeline_.size() - prompt_);
  if (timeline_.size() >= timeline_.context()) {
    fail(Status::kContextFull, "the interrupted turn has filled the context of {}", timeline_.context());
  }
  if (stats_.generated_tokens >= stats_.max_tokens) {
    fail(Status::kInvalidArgument, "max_tokens: the interrupted turn has used up its {}: give it a larger one",
         stats_.max_tokens);
  }
}

// Brings picker and parser to where the interrupted turn left them. The host has had these events.
void Turn::replay() {
  stats_.reasoning_tokens = 0;
  for (const int32_t id : timeline_.tokens().subspan(static_cast<size_t>(prompt_))) {
    const bool in_answer = parser_ == nullptr || !parser_->in_reasoning();
    if (!picker_.take(id, in_answer)) {
      fail(Status::kCorrupt, "the interrupted turn cannot be resumed: its tokens do not keep to its constraint");
    }
    if (parser_ == nullptr) continue;
    stats_.reasoning_tokens += in_answer ? 0 : 1;
    std::vector<StreamEvent> events;
    parser_->push(id, events);
    for (const StreamEvent& event : events) add_event(event, message_);
  }
  if (parser_ != nullptr && parser_->stopped()) {
    fail(Status::kCorrupt, "the interrupted turn cannot be resumed: its tokens end it");
  }
  picker_.set_random(session_.open_turn_->rng);
}

// What reads the output and what constrains it. A grammar that cannot be read is an error before anything is evaluated.
void Turn::begin_output() {
  const Engine& engine = *session_.engine_;
  std::shared_ptr<const Constraint> constraint;
  if (constraint_.kind != ConstraintSpec::Kind::kNone || constraint_.tools == ConstraintSpec::Tools::kRequired) {
    engine.need_tokenizer();
    constraint = engine.constraints->compile(constraint_);
  }
  const auto prompt = timeline_.tokens().first(static_cast<size_t>(prompt_));
  picker_.begin(prompt, std::move(constraint));
  if (engine.tokenizer == nullptr) {
    if (!options_.stops.empty() || options_.reasoning_budget != 0) engine.need_tokenizer();
    return;
  }
  const Tokenizer& tokenizer = *engine.tokenizer;
  if (prompt.back() == tokenizer.find(protocol::kThink)) start_ = OutputStart::kReasoning;
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
  if (!picker_.take(id, in_answer)) {
    fail(Status::kInternal, "grammar: token {} was allowed and is not accepted", id);
  }
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
  if (answer_ == HostAnswer::kPause) return EndReason::kPaused;
  timeline_.evaluate({}, {}, &session_.cancel_);
  return EndReason::kNone;
}

void Turn::decode() {
  const Stopwatch stopwatch(stats_.decode_seconds);
  const Scheduler::Presence decoding(session_.engine_->scheduler, Scheduler::Kind::kDecoding);
  timeline_.evaluate({}, {}, &session_.cancel_);  // of a turn that was interrupted: its newest token
  while (stats_.reason == EndReason::kNone) stats_.reason = step();
}

// The turn's own tokens. Without a stop string inside they stand for exactly its text.
TurnIds Turn::answer_ids(bool& exact) const {
  const int32_t think_end = session_.engine_->tokenizer->find(protocol::kThinkEnd);
  TurnIds ids;
  ids.reasoning.emplace();
  bool reasoning = start_ == OutputStart::kReasoning;
  exact = stats_.reason != EndReason::kStopString;
  for (const int32_t id : timeline_.tokens().subspan(static_cast<size_t>(answer_begin_))) {
    if (id == session_.engine_->model->config().eos) continue;
    if (id == think_end) {
      exact = exact && reasoning;
      reasoning = false;
      continue;
    }
    (reasoning ? *ids.reasoning : ids.answer).push_back(id);
  }
  return ids;
}

void Turn::keep_message() {
  if (session_.drive_ != Session::Drive::kMessages) return;
  bool exact = false;
  TurnIds ids = answer_ids(exact);
  if (exact && !continued_) message_.ids = std::move(ids);
  if (continued_) {
    message_.reasoning.insert(0, continued_->reasoning);
    message_.content.insert(0, continued_->content);
  }
  std::vector<Message>& messages = session_.conversation_.messages;
  if (replaces_last_) {
    messages.back() = std::move(message_);
  } else {
    messages.push_back(std::move(message_));
  }
}

OpenTurn Turn::interrupted() const {
  OpenTurn turn;
  turn.options = options_;
  turn.options.seed = seed_;
  turn.options.edit = nullptr;
  turn.options.resume = false;
  turn.edited = static_cast<bool>(options_.edit);
  turn.constraint = constraint_;
  turn.start = start_;
  turn.prompt = prompt_;
  turn.answer_begin = answer_begin_;
  turn.rng = picker_.random();
  turn.stats = stats_;
  turn.continued = continued_;
  turn.kept = session_.drive_ == Session::Drive::kMessages && stats_.generated_tokens != 0;
  return turn;
}

void Turn::roll_back() { timeline_.take_back(before_); }

// Of the session's own, the conversation and the open turn change here, at the end and by moves alone.
void Turn::finish() {
  if (parser_ != nullptr) {
    std::vector<StreamEvent> events;
    parser_->finish(stats_.reason, events);
    if (stats_.reason == EndReason::kPaused) {
      for (const StreamEvent& event : events) add_event(event, message_);
    } else {
      send_stream(events);
    }
  }
  stats_.tool_calls = message_.calls.size();
  if (answer_ == HostAnswer::kCancel) {
    stats_.reason = EndReason::kCancelled;
    roll_back();
  } else {
    std::optional<OpenTurn> open;
    if (is_interruption(stats_.reason)) open = interrupted();
    if (stats_.generated_tokens != 0) keep_message();
    session_.open_turn_ = std::move(open);
  }
}

GenerateStats Turn::run() {
  try {
    prepare();
    try {
      if (timeline_.size() == prompt_) prefill();
      decode();
    } catch (const Error& e) {
      if (e.status() != Status::kCancelled) throw;
      stats_.reason = answer_ == HostAnswer::kStop    ? EndReason::kHost
                      : answer_ == HostAnswer::kPause ? EndReason::kPaused
                                                      : EndReason::kCancelled;
    }
    finish();
  } catch (...) {
    roll_back();
    throw;
  }
  if (sink_) {
    GenerateEvent event;
    event.kind = GenerateEvent::Kind::kDone;
    event.stats = &stats_;
    sink_(event);
  }
  if (stats_.reason == EndReason::kCancelled)
    fail(Status::kCancelled, "cancelled after {} tokens", stats_.generated_tokens);
  return stats_;
}

}  // namespace dsv4
