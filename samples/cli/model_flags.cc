// See model_flags.h.
#include "model_flags.h"

#include <cstdio>

#include "terminal.h"

namespace cli {

const Options::Choices kReasoningChoices = {{"none", DSV4_REASONING_NONE},
                                            {"low", DSV4_REASONING_LOW},
                                            {"high", DSV4_REASONING_HIGH},
                                            {"max", DSV4_REASONING_MAX}};

void add_machine_flags(Options& options, ModelFlags& flags) {
  options.text("--backend", "NAME", "auto, cuda, cpu or reference (default auto: the best there is)", flags.backend);
  options.text("--isa", "LEVEL",
               "amx, avx512-bf16, avx512, avx2 or scalar: what the cpu backend computes with (default: the best)",
               flags.isa);
  options.integer("--threads", "N", "threads of the cpu backend (default 0: every usable core)", 0, 4096,
                  flags.threads);
  options.integer("--device", "N", "GPU of the cuda backend (default 0)", 0, 1023, flags.device);
}

void add_profile_flag(Options& options, ModelFlags& flags) {
  options.choice("--profile", "prompt rules of the checkpoint (default: found from config.json)",
                 {{"auto", DSV4_PROFILE_AUTO}, {"preview", DSV4_PROFILE_PREVIEW}, {"0731", DSV4_PROFILE_0731}},
                 flags.profile);
}

void add_think_flag(Options& options, int32_t& reasoning) {
  options.choice("--think",
                 "reasoning mode (default: what FILE.json says, else the profile's); one that the profile lacks is an "
                 "error, see dsv4 info",
                 kReasoningChoices, reasoning);
}

static int32_t on_opening(void* user, uint64_t done, uint64_t total) {
  static_cast<Progress*>(user)->update(done, total);
  return interrupts() > 0;
}

static void on_log(void*, int32_t level, const char* text) {
  if (level < DSV4_LOG_WARNING) return;
  std::fprintf(stderr, "dsv4: %s: %s\n", level == DSV4_LOG_WARNING ? "warning" : "error", text);
}

dsv4_model_options model_options(const ModelFlags& flags) {
  dsv4_model_options options = DSV4_MODEL_OPTIONS_INIT;
  options.backend = flags.backend.c_str();
  if (!flags.isa.empty()) options.isa = flags.isa.c_str();
  options.threads = static_cast<int32_t>(flags.threads);
  options.device = static_cast<int32_t>(flags.device);
  options.max_step_rows = static_cast<int32_t>(flags.step_rows);
  options.profile = flags.profile;
  if (flags.time_verbs) options.flags |= DSV4_OPEN_TIME_VERBS;
  options.log = on_log;
  return options;
}

template <class Open>
static Model open_with_progress(const ModelFlags& flags, Open&& open) {
  Progress progress("opening", "done");
  dsv4_model_options options = model_options(flags);
  options.progress = on_opening;
  options.progress_user = &progress;
  dsv4_model* model = nullptr;
  check([&](dsv4_error** error) { return open(options, &model, error); });
  return Model(model);
}

Model open_model(const ModelFlags& flags) {
  return open_with_progress(flags, [&](const dsv4_model_options& options, dsv4_model** model, dsv4_error** error) {
    return dsv4_model_open(flags.folder.c_str(), &options, model, error);
  });
}

Model open_synthetic_model(const std::string& shape, int32_t layers, const ModelFlags& flags) {
  constexpr uint64_t kSeed = 1;  // the same weights in every run
  return open_with_progress(flags, [&](const dsv4_model_options& options, dsv4_model** model, dsv4_error** error) {
    return dsv4_model_open_synthetic(shape.c_str(), layers, kSeed, &options, model, error);
  });
}

}  // namespace cli
