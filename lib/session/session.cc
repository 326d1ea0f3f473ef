#include "lib/session/session.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "lib/base/error.h"
#include "lib/session/background_turn.h"
#include "lib/session/prompt_sync.h"
#include "lib/session/turn.h"

namespace dsv4 {
namespace {

SessionOptions checked(const Engine& engine, SessionOptions options) {
  constexpr int64_t kDefaultContext = 8192;
  const int64_t limit = engine.model->config().max_positions;
  if (options.context == 0) options.context = std::min(limit, kDefaultContext);
  if (options.context < 1 || options.context > limit) {
    fail(Status::kInvalidArgument, "context {}: 1 to {} expected (max_position_embeddings)", options.context, limit);
  }
  if (options.draft && !engine.model->has_draft()) {
    fail(Status::kUnsupported, "DSV4_SESSION_DRAFT: this checkpoint has no MTP head");
  }
  return options;
}

bool same_calls(const std::vector<ToolCall>& a, const std::vector<ToolCall>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const ToolCall& x, const ToolCall& y) {
    return x.name == y.name && x.arguments == y.arguments;
  });
}

// A host that keeps the history itself sends it back without tokens: an answer that says what one of ours said is that
// answer, and its tokens are the ones that the model wrote.
void adopt_ids(const std::vector<Message>& own, std::vector<Message>& given) {
  const size_t count = std::min(own.size(), given.size());
  for (size_t i = 0; i < count; ++i) {
    const Message& a = own[i];
    Message& b = given[i];
    const bool same =
        a.role == b.role && a.content == b.content && a.malformed == b.malformed && same_calls(a.calls, b.calls);
    if (!same || !a.ids.has_value() || b.ids.has_value() || b.prefix) continue;
    b.ids = a.ids;
    if (a.reasoning != b.reasoning) b.ids->reasoning.reset();
  }
}

}  // namespace

Session::Session(std::shared_ptr<Engine> engine, const SessionOptions& options)
    : engine_(std::move(engine)), timeline_(engine_, checked(*engine_, options)) {}

Session::Session(const Session& other)
    : engine_(other.engine_),
      timeline_(other.timeline_),
      conversation_(other.conversation_),
      drive_(other.drive_),
      open_turn_(other.open_turn_) {}

void Session::rewind(int64_t position) {
  if (drive_ == Drive::kMessages) {
    fail(Status::kInvalidArgument, "this session is driven by messages: give it the shorter conversation instead");
  }
  const int64_t before = timeline_.size();
  timeline_.rewind_to(position);
  if (position != before) open_turn_.reset();
}

Session::~Session() = default;

void Session::take_use() {
  bool idle = false;
  if (!busy_.compare_exchange_strong(idle, true)) fail(Status::kBusy, "another call is using this session");
  cancel_.store(false);
}

Session::Use::Use(Session& session) : session_(session) { session.take_use(); }

Session::Use::~Use() { session_.busy_.store(false); }

void Session::cancel() {
  if (busy_.load()) cancel_.store(true);
}

void Session::need_drive(Drive drive) const {
  if (drive_ != Drive::kNone && drive_ != drive) {
    fail(Status::kInvalidArgument, "this session is driven by {}; clear it first",
         drive_ == Drive::kMessages ? "messages" : "tokens");
  }
}

void Session::append_message(Role role, std::string_view text) {
  need_drive(Drive::kMessages);
  conversation_.add(role, text);
  drive_ = Drive::kMessages;
  open_turn_.reset();
}

void Session::append_tool_result(std::string_view call_id, std::string_view text) {
  need_drive(Drive::kMessages);
  conversation_.add_tool_result(call_id, text);
  drive_ = Drive::kMessages;
  open_turn_.reset();
}

void Session::append_json(std::string_view text) {
  need_drive(Drive::kMessages);
  conversation_.append_json(text);
  drive_ = Drive::kMessages;
  open_turn_.reset();
}

void Session::set_conversation(Conversation conversation) {
  need_drive(Drive::kMessages);
  adopt_ids(conversation_.messages, conversation.messages);
  conversation_ = std::move(conversation);
  drive_ = Drive::kMessages;
  open_turn_.reset();
}

void Session::append_tokens(std::span<const int32_t> ids) {
  need_drive(Drive::kTokens);
  timeline_.append(ids);
  drive_ = Drive::kTokens;
  if (!ids.empty()) open_turn_.reset();
}

void Session::sync_tokens(std::span<const int32_t> ids) {
  need_drive(Drive::kTokens);
  timeline_.assign(ids);
  drive_ = Drive::kTokens;
  open_turn_.reset();
}

void Session::clear() {
  timeline_.clear();
  conversation_ = {};
  drive_ = Drive::kNone;
  open_turn_.reset();
}

void Session::evaluate(std::span<const int32_t> ids, const Timeline::Outputs& outputs,
                       const Timeline::Progress& progress) {
  const int64_t before = timeline_.size();
  const bool rows_wanted = outputs.logits != nullptr || outputs.draft_logits != nullptr;
  if (rows_wanted && timeline_.evaluated() != before) {
    fail(Status::kInvalidArgument, "logits of every row: {} tokens are still waiting; evaluate them first",
         before - timeline_.evaluated());
  }
  std::optional<OpenTurn> interrupted;  // still to be resumed when nothing came of this call
  interrupted.swap(open_turn_);
  try {
    append_tokens(ids);
    timeline_.evaluate(outputs, progress, &cancel_);
  } catch (...) {
    // What this call brought and did not get evaluated is forgotten: the timeline ends at a committed token.
    timeline_.take_back(timeline_.tokens().first(static_cast<size_t>(std::max(before, timeline_.evaluated()))));
    if (timeline_.size() == before) open_turn_.swap(interrupted);
    throw;
  }
  if (ids.empty()) open_turn_.swap(interrupted);
}

void Session::evaluate_messages(const Timeline::Progress& progress) {
  const Tokenizer& tokenizer = engine_->need_tokenizer();
  RenderOptions options;
  options.profile = engine_->profile;
  const std::vector<int32_t> ids = sync_prompt(render(conversation_, options), timeline_.tokens(), tokenizer);
  const auto held = timeline_.tokens();
  const bool changes = !std::equal(ids.begin(), ids.end(), held.begin(), held.end());
  timeline_.assign(ids);
  if (changes) open_turn_.reset();
  timeline_.evaluate({}, progress, &cancel_);
  timeline_.mark();  // in another reasoning mode the prompt ends otherwise
}

void Session::replace(Timeline& timeline, Conversation& conversation, Drive drive,
                      std::optional<OpenTurn>& turn) noexcept {
  static_assert(std::is_nothrow_swappable_v<Conversation> && std::is_nothrow_swappable_v<std::optional<OpenTurn>>);
  timeline_.swap(timeline);
  std::swap(conversation_, conversation);
  std::swap(open_turn_, turn);
  drive_ = drive;
}

void Session::pretend(uint64_t position) {
  if (!engine_->model->checkpoint().folder().empty()) {
    fail(Status::kUnsupported, "pretending a position: only with a synthetic model; this one has real weights");
  }
  need_drive(Drive::kTokens);
  timeline_.pretend(static_cast<int64_t>(std::min<uint64_t>(position, static_cast<uint64_t>(timeline_.context()))));
  drive_ = Drive::kTokens;
  open_turn_.reset();
}

void Session::start(GenerateOptions options) {
  take_use();
  try {
    background_ = std::make_unique<BackgroundTurn>(*this, std::move(options));
  } catch (...) {
    busy_.store(false);
    throw;
  }
}

size_t Session::poll(size_t most, std::chrono::milliseconds timeout, const EventSink& sink) {
  bool idle = false;
  if (!polling_.compare_exchange_strong(idle, true)) fail(Status::kBusy, "another poll of this session is under way");
  struct Release {
    Session& s;
    ~Release() {
      if (s.background_ != nullptr && s.background_->finished()) {
        s.background_.reset();
        s.busy_.store(false);
      }
      s.polling_.store(false);
    }
  } release{*this};
  if (background_ == nullptr) fail(Status::kInvalidArgument, "nothing to poll: no generation was started");
  return background_->poll(most, timeout, sink);
}

GenerateStats Session::generate(const GenerateOptions& options, const EventSink& sink) {
  return Turn(*this, options, sink).run();
}

}  // namespace dsv4
