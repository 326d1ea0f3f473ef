// See turn_flags.h.
#include "turn_flags.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <system_error>

#include "request.h"

namespace cli {
namespace {

// "1234:-5" or "1234:-inf"
dsv4_logit_bias parse_logit_bias(const std::string& name, const std::string& text) {
  dsv4_logit_bias bias{};
  const char* const end = text.data() + text.size();
  const auto [colon, id_code] = std::from_chars(text.data(), end, bias.token);
  if (id_code == std::errc() && bias.token >= 0 && colon != end && *colon == ':') {
    const auto [stop, code] = std::from_chars(colon + 1, end, bias.bias);
    const bool wanted = !std::isnan(bias.bias) && bias.bias != INFINITY;
    if (code == std::errc() && stop == end && wanted) return bias;
  }
  throw UsageError(name + " takes a token id and a number, such as 1234:-5 or 1234:-inf, not '" + text + "'");
}

void set_grammar(TurnFlags& turn, int32_t kind, const std::string& grammar) {
  if (turn.grammar_kind != DSV4_GRAMMAR_NONE)
    throw UsageError("--json, --json-schema, --grammar and --regex: one of them, once");
  if (grammar.find('\0') != std::string::npos)
    throw Failure(DSV4_E_INVALID_ARGUMENT, "the grammar holds a NUL character");
  turn.grammar_kind = kind;
  turn.grammar = grammar;
}

void add_grammar_flags(Options& options, TurnFlags& turn) {
  options.action("--json", "",
                 "the answer is a JSON object. This and the next three bind the answer alone, not the "
                 "reasoning, and say nothing to the model: response_format in --messages does both",
                 [&turn](const std::string&) { set_grammar(turn, DSV4_GRAMMAR_JSON, ""); });
  options.action("--json-schema", "FILE", "the answer is JSON that is valid against the schema in FILE",
                 [&turn](const std::string& path) { set_grammar(turn, DSV4_GRAMMAR_JSON_SCHEMA, read_file(path)); });
  options.action("--grammar", "FILE", "the answer follows the grammar in FILE: EBNF as in GBNF, from its rule `root`",
                 [&turn](const std::string& path) { set_grammar(turn, DSV4_GRAMMAR_EBNF, read_file(path)); });
  options.action("--regex", "RE", "the whole answer matches the regular expression RE",
                 [&turn](const std::string& text) { set_grammar(turn, DSV4_GRAMMAR_REGEX, text); });
}

void add_message(dsv4_conversation* conversation, int32_t role, const std::string& text) {
  check([&](dsv4_error** error) { return dsv4_conversation_add(conversation, role, text.data(), text.size(), error); });
}

}  // namespace

void add_sampling_flags(Options& options, const std::string& prefix, TurnFlags& turn) {
  const bool in_chat = prefix == "/";
  options.integer(prefix + (in_chat ? "budget" : "reasoning-budget"), "N",
                  "end the reasoning after N tokens and have the answer follow (default 0: no budget)", 0, UINT64_MAX,
                  turn.reasoning_budget);
  options.integer(prefix + "max-tokens", "N",
                  "end the answer after N tokens (default 0: the profile's limit, or as the context allows)", 0,
                  UINT64_MAX, turn.max_tokens);
  options.real(prefix + "temperature", "X", "0: greedy (default 1)", 0, 100, turn.temperature);
  options.integer(prefix + "top-k", "N", "only the N most probable tokens (default 0: off)", 0, INT32_MAX, turn.top_k);
  options.real(prefix + "top-p", "X", "nucleus sampling (default 1: off)", 0, 1, turn.top_p);
  options.real(prefix + "min-p", "X", "only tokens with X times the best one's probability (default 0: off)", 0, 1,
               turn.min_p);
  options.real(prefix + "repetition-penalty", "X", "divides the logits of tokens of prompt and answer (default 1: off)",
               0, 100, turn.repetition_penalty);
  options.real(prefix + "presence-penalty", "X", "for tokens that the answer holds already (default 0)", -2, 2,
               turn.presence_penalty);
  options.real(prefix + "frequency-penalty", "X", "for each time that the answer holds a token (default 0)", -2, 2,
               turn.frequency_penalty);
  options.integer(prefix + "seed", "N", "the same seed gives the same answer (default 0: a fresh one)", 0, UINT64_MAX,
                  turn.seed);
}

void add_tools_flag(Options& options, std::optional<std::string>& path) {
  options.text("--tools", "FILE", "tools that the model may call: a JSON list in OpenAI's shape", path);
}

void add_tool_choice_flag(Options& options, const std::string& prefix, std::string& choice) {
  options.text(prefix + "tool-choice", "auto|none|required|NAME",
               "whether tools are called: as the model likes, not at all, at least one, or the tool NAME (the last two "
               "with reasoning none)",
               choice);
}

void add_turn_flags(Options& options, ModelFlags& model, StartFlags& start, TurnFlags& turn) {
  add_think_flag(options, turn.reasoning);
  options.flag("--show-thinking", "print the reasoning too", turn.show_thinking);
  options.flag("--no-color", "no colours on the terminal", turn.no_color);
  options.text("--system", "TEXT", "system prompt", start.system);
  options.text("--messages", "FILE.json",
               "conversation so far: a list of messages in OpenAI's shape, or an object with `messages` and `tools`, "
               "`tool_choice`, `response_format`",
               start.messages);
  add_tools_flag(options, start.tools);
  add_tool_choice_flag(options, "--", turn.tool_choice);
  add_sampling_flags(options, "--", turn);
  options.integer("--penalty-window", "N", "the penalties count the newest N tokens (default 0: all)", 0, UINT64_MAX,
                  turn.penalty_window);
  options.action(
      "--logit-bias", "ID:BIAS", "add BIAS to the logit of token ID; -inf: never. May be given again",
      [&turn](const std::string& text) { turn.logit_bias.push_back(parse_logit_bias("--logit-bias", text)); });
  options.action("--stop", "STRING", "end the answer before STRING. May be given again",
                 [&turn](const std::string& text) { turn.stop.push_back(text); });
  options.integer("--logprobs", "N",
                  "list the tokens, their log-probabilities and the N most probable ones on standard error", 0, 20,
                  turn.logprobs);
  add_grammar_flags(options, turn);
  options.integer("--context", "N", "tokens the session can hold (default 0: 8192 or the model's limit)", 0, UINT64_MAX,
                  start.context);
  add_profile_flag(options, model);
  add_machine_flags(options, model);
}

Conversation start_conversation(const StartFlags& start) {
  if (start.system && start.messages) throw UsageError("--system goes into the file of --messages");
  Conversation conversation = start.messages ? load_conversation(*start.messages) : parse_conversation("[]");
  if (start.tools) {
    Json request = to_json(conversation.get());
    request["tools"] = load_tools(*start.tools);
    conversation = from_json(request);
  }
  if (start.system) add_message(conversation.get(), DSV4_ROLE_SYSTEM, *start.system);
  return conversation;
}

GenerateOptions::GenerateOptions(const TurnFlags& flags) {
  for (const std::string& text : flags.stop) stop_.push_back(text.c_str());
  options_.reasoning = flags.reasoning;
  options_.reasoning_budget = flags.reasoning_budget;
  options_.temperature = flags.temperature;
  options_.top_k = static_cast<int32_t>(flags.top_k);
  options_.top_p = flags.top_p;
  options_.min_p = flags.min_p;
  options_.repetition_penalty = flags.repetition_penalty;
  options_.presence_penalty = flags.presence_penalty;
  options_.frequency_penalty = flags.frequency_penalty;
  options_.penalty_window = flags.penalty_window;
  options_.logit_bias = flags.logit_bias.data();
  options_.logit_bias_count = flags.logit_bias.size();
  options_.seed = flags.seed;
  options_.max_tokens = flags.max_tokens;
  options_.stop = stop_.data();
  options_.stop_count = stop_.size();
  options_.token_events = flags.logprobs ? 1 : 0;
  options_.top_logprobs = static_cast<int32_t>(flags.logprobs.value_or(0));
  const bool needs_text = flags.grammar_kind != DSV4_GRAMMAR_NONE && flags.grammar_kind != DSV4_GRAMMAR_JSON;
  options_.grammar_kind = flags.grammar_kind;
  options_.grammar = needs_text ? flags.grammar.c_str() : nullptr;

  if (flags.tool_choice == "auto") {
    options_.tool_choice = DSV4_TOOL_CHOICE_AUTO;
  } else if (flags.tool_choice == "none") {
    options_.tool_choice = DSV4_TOOL_CHOICE_NONE;
  } else if (flags.tool_choice == "required") {
    options_.tool_choice = DSV4_TOOL_CHOICE_REQUIRED;
  } else if (!flags.tool_choice.empty()) {
    options_.tool_choice = DSV4_TOOL_CHOICE_NAMED;
    options_.tool_name = flags.tool_choice.c_str();
  }
}

}  // namespace cli
