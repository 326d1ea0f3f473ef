// The built programs of samples/, run as a script runs them. DSV4_PROGRAM, DSV4_HELLO, DSV4_TOOLS, DSV4_JSON,
// DSV4_GAME_LOOP and DSV4_SNAPSHOT are their paths (CMakeLists.txt).
#pragma once

#include <string>
#include <vector>

using Words = std::vector<std::string>;

inline const std::string kTiny = DSV4_SOURCE_DIR "/samples/models/tiny";
constexpr int kSignal = 1000;  // + the signal that ended a program

std::string quoted(const std::string& word);  // for sh
std::string command_line(const std::string& program, const Words& arguments);
int run_shell(const std::string& script);  // its exit code

struct Ran {
  int code = 0;
  std::string out;
  std::string err;
};

Ran run_program(const std::string& program, const Words& arguments, const std::string& input = "");
Ran dsv4_program(const Words& arguments, const std::string& input = "");

bool contains(const std::string& text, const std::string& part);
