// The flags that several commands share: which checkpoint, how to open it, and how to read prompts for it.
#pragma once

#include <cstdint>
#include <string>

#include "client.h"
#include "options.h"

namespace cli {

extern const Options::Choices kReasoningChoices;  // none, low, high, max

struct ModelFlags {
  std::string folder;
  std::string backend = "auto";
  std::string isa;  // "": the best
  uint64_t threads = 0;
  uint64_t device = 0;
  uint64_t step_rows = 0;  // tokens evaluated at once, at most; 0: the library's default
  int32_t profile = DSV4_PROFILE_AUTO;
  bool time_verbs = false;
};

void add_machine_flags(Options& options, ModelFlags& flags);  // --backend, --isa, --threads, --device
void add_profile_flag(Options& options, ModelFlags& flags);
void add_think_flag(Options& options, int32_t& reasoning);

dsv4_model_options model_options(const ModelFlags& flags);
Model open_model(const ModelFlags& flags);  // with progress on a terminal; Ctrl-C gives up
Model open_synthetic_model(const std::string& shape, int32_t layers, const ModelFlags& flags);

}  // namespace cli
