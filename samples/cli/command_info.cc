// dsv4 info: what a checkpoint is, and what it takes in memory at several context lengths.
#include <cinttypes>
#include <cstdio>
#include <string>
#include <vector>

#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"

namespace cli {
namespace {

std::vector<uint64_t> context_lengths(uint64_t limit) {
  std::vector<uint64_t> lengths;
  for (const uint64_t length : {uint64_t{4} << 10, uint64_t{64} << 10, uint64_t{256} << 10, uint64_t{1} << 20})
    if (length <= limit) lengths.push_back(length);
  if (lengths.empty()) lengths.push_back(limit);
  return lengths;
}

std::string length_text(uint64_t length) {
  if (length % (1 << 20) == 0) return std::to_string(length >> 20) + "M";
  if (length % (1 << 10) == 0) return std::to_string(length >> 10) + "K";
  return std::to_string(length);
}

std::string reasoning_text(const dsv4_model_info& info) {
  std::string text;
  for (const auto& [name, mode] : kReasoningChoices) {
    if ((info.reasoning_modes >> mode & 1) == 0) continue;
    text += (text.empty() ? "" : ", ") + name + (mode == info.default_reasoning ? " (default)" : "");
  }
  return text;
}

void print_model(const std::string& folder, const dsv4_model_info& info) {
  const char* const profile = info.profile == DSV4_PROFILE_0731 ? "0731" : "preview";
  std::printf("checkpoint    %s\n", folder.c_str());
  std::printf("fingerprint   %016" PRIx64 "\n", info.fingerprint);
  std::printf("backend       %s\n", info.backend);
  std::printf("profile       %s (%s)\n", profile,
              info.profile_found != 0 ? "found from config.json" : "assumed or set");
  std::printf("reasoning     %s\n", reasoning_text(info).c_str());
  std::printf("context       up to %s tokens\n", with_thousands(info.max_context).c_str());
  std::printf("tokenizer     %s\n", info.has_tokenizer != 0 ? "yes" : "no: token ids only");
  std::printf("draft head    %s\n", info.draft_head != 0 ? "MTP, depth 1" : "none");
  std::printf("vocabulary    %s ids; BOS %d, EOS %d\n", with_thousands(static_cast<uint64_t>(info.vocab)).c_str(),
              info.bos_token, info.eos_token);
  std::printf("shape         hidden %" PRId64 ", %" PRId64 " layers, %" PRId64 " heads of %" PRId64 ", window %" PRId64
              ", index top %" PRId64 "\n",
              info.hidden, info.layers, info.heads, info.head_dim, info.window, info.index_topk);
  std::printf("experts       %" PRId64 ", of them %" PRId64 " per token, and one shared\n", info.experts,
              info.experts_per_token);
  std::printf("weights       %s; to decode one token %s are read\n", bytes_text(info.weight_bytes).c_str(),
              bytes_text(info.token_weight_bytes).c_str());
}

dsv4_layer_info layer_info(const dsv4_model* model, int64_t index, uint64_t context) {
  dsv4_layer_info info{};
  info.struct_size = sizeof info;
  check([&](dsv4_error** error) { return dsv4_model_layer_info(model, index, context, &info, error); });
  return info;
}

const char* attention_name(int32_t ratio) {
  switch (ratio) {
    case 0: return "window";
    case 4: return "CSA, 4";
    case 128: return "HCA, 128";
    default: return "other";
  }
}

void print_layers(const dsv4_model* model, const dsv4_model_info& info, const std::vector<uint64_t>& lengths) {
  std::printf("\n%-6s%-11s%-9s%12s   state at", "layer", "attention", "routing", "weights");
  for (const uint64_t length : lengths) std::printf("%11s", length_text(length).c_str());
  std::printf("\n");
  for (int64_t index = 0; index < info.layers + (info.draft_head != 0 ? 1 : 0); ++index) {
    const dsv4_layer_info layer = layer_info(model, index, lengths.front());
    const std::string name = layer.draft != 0 ? "draft" : std::to_string(index);
    std::printf("%-6s%-11s%-9s%12s   %8s", name.c_str(), attention_name(layer.ratio),
                layer.hash_routed != 0 ? "hash" : "learned", bytes_text(layer.weight_bytes).c_str(), "");
    for (const uint64_t length : lengths)
      std::printf("%11s", bytes_text(layer_info(model, index, length).state_bytes).c_str());
    std::printf("\n");
  }
}

void print_estimates(const ModelFlags& flags, const std::vector<uint64_t>& lengths) {
  const dsv4_model_options options = model_options(flags);
  std::printf("\n%-12s%14s%14s   beside the mapped weights\n", "context", "session state", "workspace");
  uint64_t available = 0;
  for (const uint64_t length : lengths) {
    dsv4_estimate estimate{};
    estimate.struct_size = sizeof estimate;
    check([&](dsv4_error** error) {
      return dsv4_model_estimate(flags.folder.c_str(), &options, length, &estimate, error);
    });
    available = estimate.available_host_bytes;
    std::printf("%-12s%14s%14s   %s\n", length_text(length).c_str(), bytes_text(estimate.state_bytes).c_str(),
                bytes_text(estimate.workspace_bytes).c_str(), estimate.fits != 0 ? "fits" : "does not fit");
  }
  if (available > 0) std::printf("%s of memory are free on this machine now.\n", bytes_text(available).c_str());
}

}  // namespace

void command_info(const Arguments& arguments) {
  ModelFlags flags;
  Options options("info", "MODEL [options]",
                  "What a checkpoint is: configuration, layers, bytes of weights, and bytes of state of one session at "
                  "several context lengths. The weights are mapped, not read.");
  options.required("MODEL", flags.folder);
  add_profile_flag(options, flags);
  add_machine_flags(options, flags);
  if (!options.parse(arguments)) return;

  const Model model = open_model(flags);
  const dsv4_model_info info = model_info(model.get());
  const std::vector<uint64_t> lengths = context_lengths(info.max_context);
  print_model(flags.folder, info);
  print_layers(model.get(), info, lengths);
  print_estimates(flags, lengths);
  if (*info.notes != '\0') std::printf("\nnotes\n%s\n", info.notes);
}

}  // namespace cli
