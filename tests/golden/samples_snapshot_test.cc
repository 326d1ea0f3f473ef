// Snapshots at the command line: dsv4 run --save, --save-at, --restore, --print-ids, dsv4 peek; and samples/snapshot.c.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/golden/samples_program.h"
#include "tests/support/folder_writer.h"

namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("dsv4_cli_snapshot_" + std::to_string(std::random_device{}()));
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
};

// The line of standard error that is nothing but numbers.
std::vector<int> printed_ids(const std::string& text) {
  std::istringstream lines(text);
  std::vector<int> ids;
  int found = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.find_first_not_of("0123456789 ") != std::string::npos) continue;
    ++found;
    std::istringstream numbers(line);
    for (int id = 0; numbers >> id;) ids.push_back(id);
  }
  CHECK(found == 1);
  return ids;
}

Ran run(const Words& more) {
  Words arguments = {"run", kTiny};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return dsv4_program(arguments);
}

Words drawn(const char* prompt, Words more) {
  Words arguments = {prompt, "--seed", "11", "--think", "high", "--temperature", "1.5", "--max-tokens", "48"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void check_one_line(const Ran& ran, int code) {
  CHECK(ran.code == code);
  CHECK(ran.out == "");
  CHECK(ran.err.rfind("dsv4: ", 0) == 0);
  CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
}

}  // namespace

TEST_CASE("--save-at in the midst of an answer, and --restore goes on to the same tokens, on either backend") {
  const Folder folder;
  const std::string file = folder.file("a.dsv4");
  const Ran whole = run(drawn("What is 12 + 30?", {"--print-ids"}));
  REQUIRE(whole.code == 0);
  const std::vector<int> ids = printed_ids(whole.err);
  REQUIRE(ids.size() > 12);
  const Ran saving = run(drawn("What is 12 + 30?", {"--print-ids", "--save", file, "--save-at", "9"}));
  REQUIRE(saving.code == 0);
  CHECK(saving.out == whole.out);
  CHECK(printed_ids(saving.err) == ids);
  const Ran rest = run({"--restore", file, "--print-ids"});
  REQUIRE_MESSAGE(rest.code == 0, rest.err);
  CHECK(printed_ids(rest.err) == std::vector<int>(ids.begin() + 9, ids.end()));
  // The options that it was begun with may be repeated, not changed.
  Words repeated = drawn("", {"--restore", file, "--print-ids"});
  repeated.erase(repeated.begin());
  CHECK(printed_ids(run(repeated).err) == printed_ids(rest.err));
  check_one_line(run({"--restore", file, "--seed", "12"}), 11);
  CHECK(run({"--restore", file, "--backend", "reference"}).code == 0);
}

TEST_CASE("--save after the answer: the conversation goes on, an answer cut short by --max-tokens too") {
  const Folder folder;
  const std::string first = folder.file("first"), second = folder.file("second");
  const Words greedy = {"--temperature", "0", "--think", "none"};
  const auto with = [&](Words words) {
    words.insert(words.end(), greedy.begin(), greedy.end());
    return run(words);
  };
  REQUIRE(with({"I have a cat called Luna.", "--save", first}).code == 0);
  const Ran asked = with({"What is my cat called?", "--restore", first, "--save", second});
  REQUIRE_MESSAGE(asked.code == 0, asked.err);
  CHECK(contains(asked.out, "Luna"));
  CHECK(contains(asked.err, "reused"));
  check_one_line(run({"--restore", second}), 11);
  REQUIRE(with({"What is my cat called?", "--restore", second, "--save", first, "--max-tokens", "3"}).code == 0);
  check_one_line(run({"--restore", first}), 11);
  const Ran more = run({"--restore", first, "--max-tokens", "40"});
  REQUIRE_MESSAGE(more.code == 0, more.err);
  CHECK(contains(more.out, "Luna"));
}

TEST_CASE("peek, and what is no snapshot of this model: an exit code and one line") {
  const Folder folder;
  const std::string file = folder.file("a.dsv4"), cut = folder.file("cut"), text = folder.file("text");
  REQUIRE(run({"Hello", "--temperature", "0", "--save", file, "--save-at", "2"}).code == 0);
  const Ran peek = dsv4_program({"peek", file, "--json"});
  REQUIRE(peek.code == 0);
  const auto json = nlohmann::json::parse(peek.out);
  CHECK(json["interrupted"] == true);
  CHECK(json["driven_by"] == "messages");
  CHECK(json["file_bytes"] == fs::file_size(file));
  CHECK(json["tokens"].get<int>() == json["evaluated"].get<int>() + 1);
  const Ran plain = dsv4_program({"peek", file});
  CHECK(plain.code == 0);
  CHECK(contains(plain.out, "interrupted"));

  const std::string bytes = read_text(file);
  std::ofstream(cut, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  std::ofstream(text) << "This is a letter to a friend, and no snapshot at all.\n";
  check_one_line(run({"--restore", cut}), 15);
  check_one_line(run({"--restore", text}), 15);
  check_one_line(run({"--restore", folder.file("none")}), 13);
  check_one_line(dsv4_program({"peek", text}), 15);
  check_one_line(run({"Hello", "--save-at", "3"}), 2);
  check_one_line(run({"Hello", "--restore", file, "--system", "Be brief."}), 2);
  check_one_line(dsv4_program({"run", std::string(DSV4_TEST_DATA) + "/golden/micro", "--restore", file}), 16);
}

TEST_CASE("samples/snapshot.c: every session that was restored knows the beginning") {
  const Folder folder;
  const Ran ran = run_program(DSV4_SNAPSHOT, {kTiny, folder.file("s.dsv4")});
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  size_t right = 0;
  for (size_t at = 0; (at = ran.out.find("Your cat is called Luna.", at)) != std::string::npos; ++at) ++right;
  CHECK(right == 3);
  CHECK(contains(ran.out, "12 sessions restored"));
  check_one_line(dsv4_program({"peek", "--nothing"}), 2);
}
