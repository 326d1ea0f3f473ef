// See options.h.
#include "options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <system_error>

namespace cli {
namespace {

constexpr size_t kHelpColumn = 28;
constexpr size_t kHelpWidth = 100;

uint64_t parse_integer(const std::string& name, const std::string& text, uint64_t low, uint64_t high) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (text.empty() || stop != end || code == std::errc::invalid_argument)
    throw UsageError(name + " takes a whole number, not '" + text + "'");
  if (code != std::errc() || number < low || number > high)
    throw UsageError(name + " must be from " + std::to_string(low) + " to " + std::to_string(high) + ", not " + text);
  return number;
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

double parse_real(const std::string& name, const std::string& text, double low, double high) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (text.empty() || stop != end || code == std::errc::invalid_argument)
    throw UsageError(name + " takes a number, not '" + text + "'");
  if (code != std::errc() || !(number >= low && number <= high))  // the negation also refuses NaN
    throw UsageError(name + " must be from " + short_number(low) + " to " + short_number(high) + ", not " + text);
  return number;
}

// Prints `text` from `column` on, where the cursor stands, breaking lines between words.
void print_wrapped(std::FILE* file, const std::string& text, size_t column) {
  size_t at = column;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    if (at > column && at + 1 + (end - begin) > kHelpWidth) {
      std::fprintf(file, "\n%*s", static_cast<int>(column), "");
      at = column;
    }
    std::fprintf(file, "%s%.*s", at > column ? " " : "", static_cast<int>(end - begin), text.data() + begin);
    at += end - begin + (at > column ? 1 : 0);
    if (end < text.size() && text[end] == '\n') {
      std::fprintf(file, "\n%*s", static_cast<int>(column), "");
      at = column;
    }
    begin = end + 1;
  }
  std::fprintf(file, "\n");
}

std::string joined_names(const Options::Choices& choices) {
  std::string text;
  for (const auto& [name, value] : choices) text += (text.empty() ? "" : "|") + name;
  return text;
}

}  // namespace

Options::Options(std::string command, std::string usage, std::string about)
    : command_(std::move(command)), usage_(std::move(usage)), about_(std::move(about)) {}

void Options::required(const std::string& name, std::string& out) {
  positionals_.push_back({name, true, [&out](const std::string& text) { out = text; }});
}

void Options::optional(const std::string& name, std::optional<std::string>& out) {
  positionals_.push_back({name, false, [&out](const std::string& text) { out = text; }});
}

void Options::flag(const std::string& name, const std::string& help, bool& out) {
  options_.push_back({name, "", help, [&out](const std::string&) { out = true; }});
}

void Options::text(const std::string& name, const std::string& value, const std::string& help, std::string& out) {
  options_.push_back({name, value, help, [&out](const std::string& text) { out = text; }});
}

void Options::text(const std::string& name, const std::string& value, const std::string& help,
                   std::optional<std::string>& out) {
  options_.push_back({name, value, help, [&out](const std::string& text) { out = text; }});
}

void Options::integer(const std::string& name, const std::string& value, const std::string& help, uint64_t low,
                      uint64_t high, uint64_t& out) {
  options_.push_back(
      {name, value, help, [=, &out](const std::string& text) { out = parse_integer(name, text, low, high); }});
}

void Options::integer(const std::string& name, const std::string& value, const std::string& help, uint64_t low,
                      uint64_t high, std::optional<uint64_t>& out) {
  options_.push_back(
      {name, value, help, [=, &out](const std::string& text) { out = parse_integer(name, text, low, high); }});
}

void Options::real(const std::string& name, const std::string& value, const std::string& help, double low, double high,
                   double& out) {
  options_.push_back(
      {name, value, help, [=, &out](const std::string& text) { out = parse_real(name, text, low, high); }});
}

void Options::choice(const std::string& name, const std::string& help, const Choices& choices, int32_t& out) {
  options_.push_back({name, joined_names(choices), help, [=, &out](const std::string& text) {
                        for (const auto& [candidate, value] : choices) {
                          if (candidate == text) {
                            out = value;
                            return;
                          }
                        }
                        throw UsageError(name + " takes " + joined_names(choices) + ", not '" + text + "'");
                      }});
}

void Options::action(const std::string& name, const std::string& value, const std::string& help,
                     std::function<void(const std::string&)> set) {
  options_.push_back({name, value, help, std::move(set)});
}

bool Options::has(const std::string& name) const {
  return std::any_of(options_.begin(), options_.end(), [&](const Option& option) { return option.name == name; });
}

void Options::apply(const std::string& name, const std::string& value) const {
  const Option& option = find(name);
  if (option.value.empty() && !value.empty()) throw UsageError(name + " takes no value");
  if (value.empty() && !option.value.empty() && option.value.front() != '[')
    throw UsageError(name + " needs a value (" + option.value + ")");
  option.set(value);
}

const Options::Option& Options::find(const std::string& name) const {
  for (const Option& option : options_)
    if (option.name == name) return option;
  throw UsageError("unknown option " + name);
}

// Returns the index of the last argument that belongs to the option at `i`.
size_t Options::parse_option(const std::vector<std::string>& arguments, size_t i) const {
  const std::string& argument = arguments[i];
  const size_t equals = argument.find('=');
  const Option& option = find(argument.substr(0, equals));
  if (option.value.empty()) {
    if (equals != std::string::npos) throw UsageError(option.name + " takes no value");
    option.set("");
    return i;
  }
  if (equals != std::string::npos) {
    option.set(argument.substr(equals + 1));
    return i;
  }
  // A value that looks like a flag is far more often a forgotten value; --name=--value still says it.
  if (i + 1 == arguments.size() || arguments[i + 1].starts_with("--"))
    throw UsageError(option.name + " needs a value (" + option.value + ")");
  option.set(arguments[i + 1]);
  return i + 1;
}

bool Options::parse(const std::vector<std::string>& arguments) {
  size_t given = 0;
  bool flags_over = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!flags_over && argument == "--") {
      flags_over = true;
    } else if (!flags_over && (argument == "--help" || argument == "-h")) {
      print_help();
      return false;
    } else if (!flags_over && argument.size() > 1 && argument[0] == '-') {
      i = parse_option(arguments, i);
    } else if (given < positionals_.size()) {
      positionals_[given++].set(argument);
    } else {
      throw UsageError("unexpected argument '" + argument + "'");
    }
  }
  if (given < positionals_.size() && positionals_[given].required)
    throw UsageError(positionals_[given].name + " is missing");
  return true;
}

void Options::print_table(std::FILE* file) const {
  for (const Option& option : options_) {
    std::string head = "  " + option.name + (option.value.empty() ? "" : " " + option.value);
    if (head.size() + 2 > kHelpColumn)
      head += "\n" + std::string(kHelpColumn, ' ');
    else
      head.resize(kHelpColumn, ' ');
    std::fputs(head.c_str(), file);
    print_wrapped(file, option.help, kHelpColumn);
  }
}

void Options::print_help() const {
  std::printf("Usage: dsv4 %s %s\n\n", command_.c_str(), usage_.c_str());
  print_wrapped(stdout, about_, 0);
  std::printf("\nOptions\n");
  print_table(stdout);
  std::printf("%-*sthis text\n", static_cast<int>(kHelpColumn), "  --help");
}

std::string choice_name(const Options::Choices& choices, int32_t value) {
  for (const auto& [name, candidate] : choices)
    if (candidate == value) return name;
  return "";
}

}  // namespace cli
