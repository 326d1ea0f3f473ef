// Prompt profiles and reasoning modes (spec: prompt.md). Checkpoints were trained on different prompts and config.json
// does not say which, so the profile is explicit; a mode that a profile lacks is an error, never a substitute.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dsv4 {

// The values are those of DSV4_PROFILE_* in include/dsv4.h (0 there: automatic).
enum class Profile : int32_t { kPreview = 1, k0731 = 2 };
// The values are those of DSV4_REASONING_* in include/dsv4.h (0 there: the default).
enum class ReasoningMode : int32_t { kNone = 1, kLow = 2, kHigh = 3, kMax = 4 };

std::string_view profile_name(Profile profile);   // "preview", "0731"
std::string_view mode_name(ReasoningMode mode);   // "none", "low", "high", "max"
Profile parse_profile(std::string_view name);     // Error kInvalidArgument lists the names
ReasoningMode parse_mode(std::string_view name);  // the same

inline bool thinks(ReasoningMode mode) { return mode != ReasoningMode::kNone; }
bool has_mode(Profile profile, ReasoningMode mode);
std::string mode_names(Profile profile);  // "none, high, max"
uint32_t mode_bits(Profile profile);      // 1 << mode for every mode that the profile has
// What a profile uses when nobody asked: none for preview, high for 0731.
ReasoningMode default_mode(Profile profile);
// What "thinking on" without an effort means: high, in both profiles.
ReasoningMode default_thinking_mode(Profile profile);
// Error kUnsupported names the profile, the mode and what there is.
void check_mode(Profile profile, ReasoningMode mode);
// The text that follows BOS, "" for most modes.
std::string_view effort_text(Profile profile, ReasoningMode mode);

// Tokens that a turn may have when nobody says how many; 0: the profile has no limit of its own.
uint64_t default_max_tokens(Profile profile, ReasoningMode mode);

// Tokens of room for output that mode max is advised to have; less is worth a warning.
inline constexpr int64_t kMaxModeOutputAdvice = 384 * 1024;

}  // namespace dsv4
