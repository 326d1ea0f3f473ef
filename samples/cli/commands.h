// The commands of the program, one file each. A command parses its own arguments and returns when it is done; what goes
// wrong is thrown (UsageError, Failure, OutputClosed) and becomes a message and an exit code in main.cc.
#pragma once

#include <string>
#include <vector>

namespace cli {

using Arguments = std::vector<std::string>;

void command_chat(const Arguments& arguments);
void command_run(const Arguments& arguments);
void command_info(const Arguments& arguments);
void command_tokenize(const Arguments& arguments);
void command_render(const Arguments& arguments);
void command_parse(const Arguments& arguments);
void command_logits(const Arguments& arguments);
void command_peek(const Arguments& arguments);
void command_bench(const Arguments& arguments);

}  // namespace cli
