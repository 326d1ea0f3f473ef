#include "lib/text/profile.h"

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/protocol_text.h"

namespace dsv4 {
namespace {

constexpr ReasoningMode kModes[] = {ReasoningMode::kNone, ReasoningMode::kLow, ReasoningMode::kHigh,
                                    ReasoningMode::kMax};

}  // namespace

std::string_view profile_name(Profile profile) { return profile == Profile::kPreview ? "preview" : "0731"; }

std::string_view mode_name(ReasoningMode mode) {
  switch (mode) {
    case ReasoningMode::kNone: return "none";
    case ReasoningMode::kLow: return "low";
    case ReasoningMode::kHigh: return "high";
    case ReasoningMode::kMax: return "max";
  }
  return "unknown";
}

Profile parse_profile(std::string_view name) {
  if (name == "preview") return Profile::kPreview;
  if (name == "0731") return Profile::k0731;
  fail(Status::kInvalidArgument, "profile \"{}\": expected preview or 0731", utf8_sanitize(name.substr(0, 60)));
}

ReasoningMode parse_mode(std::string_view name) {
  for (const ReasoningMode mode : kModes) {
    if (name == mode_name(mode)) return mode;
  }
  fail(Status::kInvalidArgument, "reasoning mode \"{}\": expected none, low, high or max",
       utf8_sanitize(name.substr(0, 60)));
}

bool has_mode(Profile profile, ReasoningMode mode) { return profile == Profile::k0731 || mode != ReasoningMode::kLow; }

std::string mode_names(Profile profile) {
  std::string out;
  for (const ReasoningMode mode : kModes) {
    if (!has_mode(profile, mode)) continue;
    if (!out.empty()) out += ", ";
    out += mode_name(mode);
  }
  return out;
}

uint32_t mode_bits(Profile profile) {
  uint32_t bits = 0;
  for (const ReasoningMode mode : kModes) bits |= has_mode(profile, mode) ? 1u << static_cast<int>(mode) : 0u;
  return bits;
}

ReasoningMode default_mode(Profile profile) {
  return profile == Profile::kPreview ? ReasoningMode::kNone : ReasoningMode::kHigh;
}

ReasoningMode default_thinking_mode(Profile) { return ReasoningMode::kHigh; }

uint64_t default_max_tokens(Profile profile, ReasoningMode mode) {
  if (profile == Profile::kPreview) return 0;
  if (mode == ReasoningMode::kMax) return 128 * 1024;
  return thinks(mode) ? 64 * 1024 : 8 * 1024;
}

void check_mode(Profile profile, ReasoningMode mode) {
  if (has_mode(profile, mode)) return;
  fail(Status::kUnsupported, "profile {} has no reasoning mode {} (it has {})", profile_name(profile), mode_name(mode),
       mode_names(profile));
}

std::string_view effort_text(Profile profile, ReasoningMode mode) {
  if (profile == Profile::kPreview) return mode == ReasoningMode::kMax ? protocol::kEffortPreviewMax : "";
  if (mode == ReasoningMode::kHigh) return protocol::kEffort0731High;
  return mode == ReasoningMode::kMax ? protocol::kEffort0731Max : "";
}

}  // namespace dsv4
