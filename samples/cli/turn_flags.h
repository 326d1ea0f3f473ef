// How a turn is to be answered, in one place: the flags of run and chat, the settings of a chat, and what they become
// for dsv4_session_generate.
#pragma once

#include <dsv4.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client.h"
#include "model_flags.h"
#include "options.h"

namespace cli {

struct TurnFlags {
  int32_t reasoning = DSV4_REASONING_DEFAULT;
  uint64_t reasoning_budget = 0;
  double temperature = 1.0;
  uint64_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  uint64_t penalty_window = 0;
  std::vector<dsv4_logit_bias> logit_bias;
  uint64_t seed = 0;
  uint64_t max_tokens = 0;
  std::vector<std::string> stop;
  std::optional<uint64_t> logprobs;
  std::string tool_choice;  // "": the conversation's own; auto, none, required or the name of a function
  int32_t grammar_kind = DSV4_GRAMMAR_NONE;
  std::string grammar;
  bool show_thinking = false;
  bool no_color = false;
};

// What the conversation begins with.
struct StartFlags {
  uint64_t context = 0;
  std::optional<std::string> system;
  std::optional<std::string> messages;
  std::optional<std::string> tools;
};

// Everything that chat and run have in common.
void add_turn_flags(Options& options, ModelFlags& model, StartFlags& start, TurnFlags& turn);
// The part of it that can change from turn to turn. `prefix`: "--" on the command line, "/" in a chat.
void add_sampling_flags(Options& options, const std::string& prefix, TurnFlags& turn);
void add_tools_flag(Options& options, std::optional<std::string>& path);
void add_tool_choice_flag(Options& options, const std::string& prefix, std::string& choice);

// The conversation that the flags ask for: from --messages, or empty; with --system and --tools. Throws UsageError
// where
// --system is given beside --messages.
Conversation start_conversation(const StartFlags& start);

// The flags as the library takes them. Points into `flags`, which must outlive it unchanged.
class GenerateOptions {
 public:
  explicit GenerateOptions(const TurnFlags& flags);
  GenerateOptions(const GenerateOptions&) = delete;
  GenerateOptions& operator=(const GenerateOptions&) = delete;
  const dsv4_generate_options* get() const { return &options_; }
  void resume() { options_.resume = 1; }
  void want_tokens() { options_.token_events = 1; }

 private:
  std::vector<const char*> stop_;
  dsv4_generate_options options_ = DSV4_GENERATE_OPTIONS_INIT;
};

}  // namespace cli
