// The strings of the V4 prompt protocol, byte for byte as training fixed them. No other file spells one out.
// "@TOOL_SCHEMAS@" and "@SCHEMA@" mark where a text of the caller goes.
#pragma once

#include <array>
#include <string_view>

namespace dsv4::protocol {

inline constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>";
inline constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kPad = "<｜▁pad▁｜>";
inline constexpr std::string_view kUser = "<｜User｜>";
inline constexpr std::string_view kAssistant = "<｜Assistant｜>";
inline constexpr std::string_view kLatestReminder = "<｜latest_reminder｜>";
inline constexpr std::string_view kThink = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";
inline constexpr std::string_view kDsml = "｜DSML｜";

struct Task {
  std::string_view name;
  std::string_view token;
};
inline constexpr std::array<Task, 6> kTasks = {{{"action", "<｜action｜>"},
                                                {"query", "<｜query｜>"},
                                                {"authority", "<｜authority｜>"},
                                                {"domain", "<｜domain｜>"},
                                                {"title", "<｜title｜>"},
                                                {"read_url", "<｜read_url｜>"}}};

// Every token above: control tokens whether or not the tokenizer's file says so.
// clang-format off
inline constexpr std::array<std::string_view, 15> kControlTokens = {
    kBos, kEos, kPad, kUser, kAssistant, kLatestReminder, kThink, kThinkEnd, kDsml,
    kTasks[0].token, kTasks[1].token, kTasks[2].token, kTasks[3].token, kTasks[4].token, kTasks[5].token};
// clang-format on
bool is_control(std::string_view token);

inline constexpr std::string_view kToolCallsBegin = "\n\n<｜DSML｜tool_calls>\n";
inline constexpr std::string_view kToolCallsEnd = "\n</｜DSML｜tool_calls>";
inline constexpr std::string_view kInvokeBegin = "<｜DSML｜invoke name=\"";
inline constexpr std::string_view kInvokeNameEnd = "\">\n";
inline constexpr std::string_view kInvokeEnd = "</｜DSML｜invoke>";
inline constexpr std::string_view kParameterBegin = "<｜DSML｜parameter name=\"";
inline constexpr std::string_view kParameterString = "\" string=\"true\">";
inline constexpr std::string_view kParameterJson = "\" string=\"false\">";
inline constexpr std::string_view kParameterEnd = "</｜DSML｜parameter>";
inline constexpr std::string_view kToolResultBegin = "<tool_result>";
inline constexpr std::string_view kToolResultEnd = "</tool_result>";

inline constexpr std::string_view kToolSchemasMark = "@TOOL_SCHEMAS@";
inline constexpr std::string_view kSchemaMark = "@SCHEMA@";
extern const std::string_view kTools;
extern const std::string_view kResponseFormat;
extern const std::string_view kJsonObject;
extern const std::string_view kEffortPreviewMax;
extern const std::string_view kEffort0731High;
extern const std::string_view kEffort0731Max;

}  // namespace dsv4::protocol
