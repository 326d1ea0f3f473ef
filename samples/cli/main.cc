// dsv4: the library at the command line. Finds the command and turns what it throws into one line on standard error and
// an exit code.
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "client.h"
#include "commands.h"
#include "options.h"
#include "terminal.h"

namespace cli {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitLibrary = 10;  // + dsv4_status

struct Command {
  const char* name;
  const char* summary;
  void (*run)(const Arguments& arguments);
};

constexpr Command kCommands[] = {
    {"chat", "talk to a model; also answers a message from a pipe", command_chat},
    {"run", "answer one prompt", command_run},
    {"info", "what a checkpoint is and what it takes", command_info},
    {"tokenize", "token ids of a text", command_tokenize},
    {"render", "the exact prompt text of a conversation", command_render},
    {"parse", "a model's raw output as one JSON object", command_parse},
    {"peek", "what a snapshot holds", command_peek},
    {"logits", "logits of every position of a token sequence, to a file", command_logits},
    {"bench", "decode and prefill speed, beside what memory can deliver", command_bench},
};

void print_help() {
  std::printf(
      "dsv4: DeepSeek-V4 checkpoints at the command line\n\n"
      "Usage: dsv4 COMMAND ... (dsv4 COMMAND --help says more)\n\n");
  for (const Command& command : kCommands) std::printf("  %-10s%s\n", command.name, command.summary);
  std::printf(
      "\n  --version  version, backends and instruction sets\n\n"
      "MODEL is a checkpoint folder in the published layout: config.json, tokenizer.json, *.safetensors.\n\n"
      "Exit codes: 0 done; 2 wrong usage; 10 + n an error with status n of dsv4.h, for example\n"
      "  11 invalid argument, 12 unsupported, 13 not found, 14 input/output, 15 corrupt file, 17 out of memory,\n"
      "  21 context full, 22 cancelled, 23 internal error. Ctrl-C ends gently; a second one at once, with 130.\n"
      "  In a chat Ctrl-C ends the answer and, twice at the prompt, the chat.\n");
}

void print_version() {
  dsv4_build_info info{};
  info.struct_size = sizeof info;
  check([&](dsv4_error** error) { return dsv4_build_info_get(&info, error); });
  const auto or_none = [](const char* text) { return *text != '\0' ? text : "none"; };
  std::printf("dsv4 %s\nbackends: %s\ninstruction sets: %s\noneDNN: %s\nCUDA: %s\ncompiler: %s\n", info.version,
              info.backends, or_none(info.isa), or_none(info.onednn), or_none(info.cuda), info.compiler);
}

void dispatch(const std::string& name, const Arguments& arguments) {
  if (name == "--help" || name == "-h" || name == "help") return print_help();
  if (name == "--version") return print_version();
  for (const Command& command : kCommands)
    if (name == command.name) return command.run(arguments);
  throw UsageError("unknown command '" + name + "'");
}

int failed(dsv4_status status, const char* message) {
  std::fprintf(stderr, "dsv4: %s (%s)\n", message, dsv4_status_name(status));
  return kExitLibrary + static_cast<int>(status);
}

int run(Arguments arguments) {
  handle_signals();
  const std::string name = arguments.empty() ? "" : arguments[0];
  try {
    if (name.empty()) throw UsageError("a command is missing");
    arguments.erase(arguments.begin());
    dispatch(name, arguments);
    write_standard_output("");  // a full disk shows at the flush
    return 0;
  } catch (const UsageError& error) {
    bool is_command = false;
    for (const Command& command : kCommands) is_command = is_command || name == command.name;
    std::fprintf(stderr, "dsv4: %s (see dsv4 %s--help)\n", error.what(), is_command ? (name + " ").c_str() : "");
    return kExitUsage;
  } catch (const OutputClosed&) {
    return kExitLibrary + DSV4_E_IO;
  } catch (const Failure& failure) {
    return failed(failure.status(), failure.what());
  } catch (const std::bad_alloc&) {
    return failed(DSV4_E_OUT_OF_MEMORY_HOST, "out of memory");
  } catch (const std::exception& error) {
    return failed(DSV4_E_INTERNAL, error.what());
  }
}

}  // namespace
}  // namespace cli

int main(int argc, char** argv) { return cli::run(cli::program_arguments(argc, argv)); }
