// dsv4 peek: what the header of a snapshot says.
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "client.h"
#include "commands.h"
#include "options.h"
#include "request.h"

namespace cli {
namespace {

std::string profile_text(int32_t profile) {
  return profile == DSV4_PROFILE_0731 ? "0731" : profile == DSV4_PROFILE_PREVIEW ? "preview" : "unknown";
}

std::string driven_text(int32_t driven) {
  return driven == DSV4_DRIVEN_BY_MESSAGES ? "messages" : driven == DSV4_DRIVEN_BY_TOKENS ? "tokens" : "nothing yet";
}

std::string hex(uint64_t number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, number);
  return text;
}

void print_json(const dsv4_snapshot_info& info, uint64_t file_bytes) {
  const Json json = {{"format_version", info.format_version},
                     {"fingerprint", hex(info.fingerprint)},
                     {"tokens", info.tokens},
                     {"evaluated", info.evaluated},
                     {"context", info.context},
                     {"state_bytes", info.state_bytes},
                     {"file_bytes", file_bytes},
                     {"vocab", info.vocab},
                     {"layers", info.layers},
                     {"profile", profile_text(info.profile)},
                     {"driven_by", driven_text(info.driven)},
                     {"draft", info.draft != 0},
                     {"interrupted", info.interrupted != 0}};
  write_standard_output(dump(json, 2) + "\n");
}

void print_text(const dsv4_snapshot_info& info, uint64_t file_bytes) {
  std::printf("format        version %d\n", info.format_version);
  std::printf("model         %s (the fingerprint of dsv4 info)\n", hex(info.fingerprint).c_str());
  std::printf("shape         %" PRId64 " layers, vocabulary of %s\n", info.layers,
              with_thousands(static_cast<uint64_t>(info.vocab)).c_str());
  std::printf("profile       %s\n", profile_text(info.profile).c_str());
  std::printf("driven by     %s\n", driven_text(info.driven).c_str());
  std::printf("tokens        %s, of them %s evaluated, in a context of %s\n", with_thousands(info.tokens).c_str(),
              with_thousands(info.evaluated).c_str(), with_thousands(info.context).c_str());
  std::printf("turn          %s\n",
              info.interrupted != 0 ? "interrupted: dsv4 run --restore goes on with it" : "none open");
  std::printf("draft head    %s\n", info.draft != 0 ? "in step" : "none");
  std::printf("state         %s; the file %s\n", bytes_text(info.state_bytes).c_str(), bytes_text(file_bytes).c_str());
}

}  // namespace

void command_peek(const Arguments& arguments) {
  std::string file;
  bool json = false;
  Options options("peek", "FILE [options]",
                  "What a snapshot is, from its header: of which model, how many tokens, how large. The rest of the "
                  "file is neither read nor checked; restoring it does that.");
  options.required("FILE", file);
  options.flag("--json", "as a JSON object", json);
  if (!options.parse(arguments)) return;

  dsv4_snapshot_info info{};
  info.struct_size = sizeof info;
  check([&](dsv4_error** error) { return dsv4_snapshot_peek_path(file.c_str(), &info, error); });
  std::error_code unknown;
  const auto bytes = std::filesystem::file_size(file_path(file), unknown);
  (json ? print_json : print_text)(info, unknown ? 0 : bytes);
}

}  // namespace cli
