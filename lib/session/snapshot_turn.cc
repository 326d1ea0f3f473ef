#include "lib/session/snapshot_turn.h"

#include <bit>
#include <limits>
#include <utility>

#include "lib/session/snapshot_fields.h"

namespace dsv4::snapshot {
namespace {

enum TurnFlags : uint32_t { kKept = 1, kContinues = 2, kReasoningClosed = 4, kEdited = 8, kOwnGrammar = 16 };
constexpr uint32_t kAllTurnFlags = 31;
constexpr uint64_t kAnyNumber = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kSigned = std::numeric_limits<int64_t>::max();

class TurnWriter {
 public:
  std::vector<uint8_t> run(const OpenTurn& t) {
    write_place(t);
    write_statistics(t.stats);
    write_options(t.options);
    write_constraint(t.constraint);
    if (t.continued) {
      string(t.continued->reasoning);
      string(t.continued->content);
    }
    return std::move(out_);
  }

 private:
  void f64(double v) { e_.u64(std::bit_cast<uint64_t>(v)); }
  void string(std::string_view s) {
    e_.u64(s.size());
    out_.insert(out_.end(), s.begin(), s.end());
  }
  void write_place(const OpenTurn& t) {
    e_.u32((t.kept ? uint32_t{kKept} : 0) | (t.continued ? uint32_t{kContinues} : 0) |
           (t.stats.reasoning_closed ? uint32_t{kReasoningClosed} : 0) | (t.edited ? uint32_t{kEdited} : 0) |
           (t.options.grammar ? uint32_t{kOwnGrammar} : 0));
    e_.u32(static_cast<uint32_t>(t.stats.reason));
    e_.u64(static_cast<uint64_t>(t.prompt));
    e_.u64(static_cast<uint64_t>(t.answer_begin));
    e_.u32(static_cast<uint32_t>(t.start));
    for (const uint64_t word : t.rng) e_.u64(word);
  }
  void write_statistics(const GenerateStats& s) {
    e_.u32(s.reasoning ? static_cast<uint32_t>(*s.reasoning) : 0);
    e_.u64(s.reused_tokens);
    e_.u64(s.max_tokens);
    f64(s.prefill_seconds);
    f64(s.decode_seconds);
  }
  void write_options(const GenerateOptions& o) {
    e_.u64(o.seed);
    e_.u64(o.reasoning_budget);
    f64(o.sampling.temperature);
    f64(o.sampling.top_p);
    f64(o.sampling.min_p);
    e_.u32(static_cast<uint32_t>(o.sampling.top_k));
    f64(o.sampling.repetition);
    f64(o.sampling.presence);
    f64(o.sampling.frequency);
    e_.u64(static_cast<uint64_t>(o.sampling.penalty_window));
    e_.u64(o.sampling.bias.size());
    for (const LogitBias& b : o.sampling.bias) {
      e_.u32(static_cast<uint32_t>(b.token));
      e_.u32(std::bit_cast<uint32_t>(b.bias));
    }
    e_.u64(o.stops.size());
    for (const std::string& stop : o.stops) string(stop);
    e_.u32(o.tool_choice ? static_cast<uint32_t>(o.tool_choice->kind) + 1 : 0);
    string(o.tool_choice ? o.tool_choice->name : "");
  }
  void write_constraint(const ConstraintSpec& c) {
    e_.u32(static_cast<uint32_t>(c.kind));
    e_.u32(static_cast<uint32_t>(c.tools));
    e_.u32(c.starts_in_tool_calls ? 1 : 0);
    e_.u32(static_cast<uint32_t>(c.profile));
    string(c.text);
    string(c.forced_tool);
    Json functions = Json::array();
    for (const Json& function : c.functions) functions.append(function);
    string(functions.dump());
  }

  std::vector<uint8_t> out_;
  Encoder e_{out_};
};

class TurnReader {
 public:
  TurnReader(std::span<const uint8_t> bytes, int64_t vocab, const std::string& name)
      : in_(bytes, name, "the interrupted turn"), vocab_(vocab) {}

  OpenTurn run() {
    const uint32_t flags = in_.u32(0, kAllTurnFlags, "flags");
    read_place();
    read_statistics();
    read_options();
    read_constraint();
    if ((flags & kContinues) != 0) {
      turn_.continued.emplace();
      turn_.continued->reasoning = in_.string();
      turn_.continued->content = in_.string();
    }
    in_.end();
    turn_.kept = (flags & kKept) != 0;
    turn_.edited = (flags & kEdited) != 0;
    turn_.stats.reasoning_closed = (flags & kReasoningClosed) != 0;
    if ((flags & kOwnGrammar) != 0) {
      turn_.options.grammar.emplace();
      turn_.options.grammar->kind = turn_.constraint.kind;
      turn_.options.grammar->text = turn_.constraint.text;
    }
    check_options();
    return std::move(turn_);
  }

 private:
  void read_place() {
    const auto reason = static_cast<EndReason>(in_.u32());
    if (!is_interruption(reason)) {
      fail(Status::kCorrupt, "{}: reason {}: not one that interrupts", in_.place(), static_cast<uint32_t>(reason));
    }
    turn_.stats.reason = reason;
    turn_.prompt = static_cast<int64_t>(in_.u64(1, kSigned, "prompt"));
    turn_.answer_begin = static_cast<int64_t>(in_.u64(0, static_cast<uint64_t>(turn_.prompt), "begin of the answer"));
    turn_.start = static_cast<OutputStart>(in_.u32(0, 2, "start"));
    for (uint64_t& word : turn_.rng) word = in_.u64();
    const Rng checked(turn_.rng);  // kCorrupt: four zeros
  }
  void read_statistics() {
    GenerateStats& s = turn_.stats;
    const uint32_t mode = in_.u32(0, 4, "reasoning mode");
    if (mode != 0) s.reasoning = static_cast<ReasoningMode>(mode);
    s.reused_tokens = in_.u64(0, static_cast<uint64_t>(turn_.prompt), "reused tokens");
    s.max_tokens = in_.u64(1, kSigned, "max_tokens");
    s.prefill_seconds = in_.f64();
    s.decode_seconds = in_.f64();
    s.prompt_tokens = static_cast<uint64_t>(turn_.prompt);
  }
  void read_options() {
    GenerateOptions& o = turn_.options;
    turn_.stats.seed = o.seed = in_.u64(1, kAnyNumber, "seed");
    o.max_tokens = turn_.stats.max_tokens;
    o.reasoning_budget = in_.u64();
    o.sampling.temperature = in_.f64();
    o.sampling.top_p = in_.f64();
    o.sampling.min_p = in_.f64();
    o.sampling.top_k = static_cast<int32_t>(in_.u32());
    o.sampling.repetition = in_.f64();
    o.sampling.presence = in_.f64();
    o.sampling.frequency = in_.f64();
    o.sampling.penalty_window = static_cast<int64_t>(in_.u64(0, kSigned, "penalty_window"));
    o.sampling.bias.resize(in_.count(8));
    for (LogitBias& b : o.sampling.bias) {
      b.token = static_cast<int32_t>(in_.u32());
      b.bias = in_.f32();
    }
    o.stops.resize(in_.count(8));
    for (std::string& stop : o.stops) stop = in_.string();
    const uint32_t choice = in_.u32(0, static_cast<uint32_t>(ToolChoice::Kind::kNamed) + 1, "tool_choice");
    std::string name = in_.string();
    if (choice != 0) o.tool_choice = ToolChoice{static_cast<ToolChoice::Kind>(choice - 1), std::move(name)};
  }
  void read_constraint() {
    ConstraintSpec& c = turn_.constraint;
    c.kind = static_cast<ConstraintSpec::Kind>(in_.u32(0, static_cast<uint32_t>(ConstraintSpec::Kind::kRegex), "kind"));
    c.tools = static_cast<ConstraintSpec::Tools>(
        in_.u32(0, static_cast<uint32_t>(ConstraintSpec::Tools::kRequired), "tools"));
    c.starts_in_tool_calls = in_.u32(0, 1, "start in tool calls") != 0;
    c.profile = static_cast<Profile>(
        in_.u32(static_cast<uint32_t>(Profile::kPreview), static_cast<uint32_t>(Profile::k0731), "profile"));
    c.text = in_.string();
    c.forced_tool = in_.string();
    const Json functions = parse_json(in_.string(), in_.place() + ": functions", Status::kCorrupt);
    if (!functions.is_array()) fail(Status::kCorrupt, "{}: functions: a list expected", in_.place());
    c.functions = functions.items();
  }
  // By those who will have to work with them.
  void check_options() const {
    try {
      const Sampler sampler(turn_.options.sampling, vocab_);
      OutputParserOptions output;
      output.stops = turn_.options.stops;
      const OutputParser parser(output);
    } catch (const Error& e) {
      fail(Status::kCorrupt, "{}: {}", in_.place(), e.what());
    }
  }

  FieldReader in_;
  int64_t vocab_;
  OpenTurn turn_;
};

}  // namespace

std::vector<uint8_t> encode_turn(const OpenTurn& turn) { return TurnWriter().run(turn); }

OpenTurn decode_turn(std::span<const uint8_t> bytes, int64_t vocab, const std::string& name) {
  return TurnReader(bytes, vocab, name).run();
}

void check_turn(const OpenTurn& turn, uint64_t tokens, const Conversation& conversation, bool by_messages,
                const std::string& name) {
  const std::vector<Message>& messages = conversation.messages;
  const auto prompt = static_cast<uint64_t>(turn.prompt);
  const bool own_message = turn.kept || turn.continued.has_value();
  const bool fits = prompt <= tokens && (!turn.kept || tokens > prompt) && (by_messages || !own_message) &&
                    (!by_messages || turn.kept == (tokens > prompt)) &&
                    (!own_message || (!messages.empty() && messages.back().role == Role::kAssistant));
  if (!fits) {
    fail(Status::kCorrupt, "{}: the interrupted turn does not fit the {} tokens and {} messages", name, tokens,
         messages.size());
  }
}

}  // namespace dsv4::snapshot
