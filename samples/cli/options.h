// The command line of one command: a table of its flags that parses the arguments and writes --help.
// `--name VALUE` and `--name=VALUE` are the same; `--` ends the flags; `-` is an ordinary argument.
// The same table serves what is typed in a chat, "/name VALUE", by apply().
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cli {

// What the person typed is wrong: exit code 2 and a pointer to --help.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Options {
 public:
  using Choices = std::vector<std::pair<std::string, int32_t>>;

  // `usage` is what follows "dsv4 COMMAND". Texts are wrapped; a newline in `about` stays one.
  Options(std::string command, std::string usage, std::string about);

  void required(const std::string& name, std::string& out);
  void optional(const std::string& name, std::optional<std::string>& out);

  void flag(const std::string& name, const std::string& help, bool& out);
  void text(const std::string& name, const std::string& value, const std::string& help, std::string& out);
  void text(const std::string& name, const std::string& value, const std::string& help,
            std::optional<std::string>& out);
  void integer(const std::string& name, const std::string& value, const std::string& help, uint64_t low, uint64_t high,
               uint64_t& out);
  void integer(const std::string& name, const std::string& value, const std::string& help, uint64_t low, uint64_t high,
               std::optional<uint64_t>& out);
  void real(const std::string& name, const std::string& value, const std::string& help, double low, double high,
            double& out);
  void choice(const std::string& name, const std::string& help, const Choices& choices, int32_t& out);
  // Whatever else a value can mean. `value` in brackets may be missing; empty: there is none.
  void action(const std::string& name, const std::string& value, const std::string& help,
              std::function<void(const std::string&)> set);

  bool has(const std::string& name) const;
  // One option by its name. Throws UsageError.
  void apply(const std::string& name, const std::string& value) const;
  void print_table(std::FILE* file) const;

  // False where --help was asked for, and has been printed. Throws UsageError.
  bool parse(const std::vector<std::string>& arguments);

  const std::string& command() const { return command_; }

 private:
  struct Option {
    std::string name;   // with its dashes
    std::string value;  // how the value is called in --help; empty: the flag takes none
    std::string help;
    std::function<void(const std::string&)> set;
  };
  struct Positional {
    std::string name;
    bool required;
    std::function<void(const std::string&)> set;
  };

  const Option& find(const std::string& name) const;
  size_t parse_option(const std::vector<std::string>& arguments, size_t i) const;
  void print_help() const;

  std::string command_;
  std::string usage_;
  std::string about_;
  std::vector<Option> options_;
  std::vector<Positional> positionals_;
};

// The value that a choice of this number is called by, "" where there is none.
std::string choice_name(const Options::Choices& choices, int32_t value);

}  // namespace cli
