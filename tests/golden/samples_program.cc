// Programs are started through sh, by `exec`, so that a signal would show in the wait status.
#include "tests/golden/samples_program.h"

#include <sys/wait.h>

#include <cstdlib>

#include "tests/support/folder_writer.h"

std::string quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string command_line(const std::string& program, const Words& arguments) {
  std::string line = quoted(program);
  for (const std::string& argument : arguments) line += " " + quoted(argument);
  return line;
}

int run_shell(const std::string& script) {
  const int status = std::system(script.c_str());
  return WIFSIGNALED(status) ? kSignal + WTERMSIG(status) : WEXITSTATUS(status);
}

Ran run_program(const std::string& program, const Words& arguments, const std::string& input) {
  const TempFolder folder;
  write_text(folder.file("in"), input);
  Ran ran;
  ran.code = run_shell("exec " + command_line(program, arguments) + " <" + quoted(folder.file("in")) + " >" +
                       quoted(folder.file("out")) + " 2>" + quoted(folder.file("err")));
  ran.out = read_text(folder.file("out"));
  ran.err = read_text(folder.file("err"));
  return ran;
}

Ran dsv4_program(const Words& arguments, const std::string& input) {
  return run_program(DSV4_PROGRAM, arguments, input);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
