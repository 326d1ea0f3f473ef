// The flags that several commands share: which checkpoint and how to open it, and how a turn is to be answered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client.h"
#include "options.h"

namespace cli {

extern const Options::Choices kReasoningChoices;  // none, low, high, max

struct ModelFlags {
  std::string folder;
  std::string backend = "auto";
  uint64_t threads = 0;
  int32_t profile = DSV4_PROFILE_AUTO;
};

void add_machine_flags(Options& options, ModelFlags& flags);  // --backend, --threads
void add_profile_flag(Options& options, ModelFlags& flags);
void add_think_flag(Options& options, int32_t& reasoning);

struct TurnFlags {
  int32_t reasoning = DSV4_REASONING_DEFAULT;
  uint64_t context = 0;
  double temperature = 1.0;
  double top_p = 1.0;
  uint64_t seed = 0;
  uint64_t max_tokens = 0;
  std::optional<std::string> system;
  std::optional<std::string> messages;
  bool show_thinking = false;
};

// Everything that chat and run have in common.
void add_turn_flags(Options& options, ModelFlags& model, TurnFlags& turn);

dsv4_model_options model_options(const ModelFlags& flags);
Model open_model(const ModelFlags& flags);  // with progress on a terminal; Ctrl-C gives up
Model open_synthetic_model(const std::string& shape, int32_t layers, const ModelFlags& flags);

Conversation load_conversation(const std::string& path);

}  // namespace cli
