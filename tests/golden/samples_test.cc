// The samples on the bundled model, greedy: the tool loop runs to its end, the answer of a schema is valid, and what
// the program dsv4 says about prompts (render, parse) and does for a turn (run) is exact.
#include <algorithm>
#include <cstddef>
#include <regex>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/golden/samples_program.h"
#include "tests/support/folder_writer.h"

namespace {

using Json = nlohmann::ordered_json;

const std::string kRecipes = DSV4_TEST_DATA "/fixtures/recipe/";

std::vector<Json> json_lines(const std::string& path) {
  const std::string text = read_text(path);
  std::vector<Json> lines;
  for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    lines.push_back(Json::parse(text.substr(begin, end - begin)));
  return lines;
}

Words greedy(Words arguments, const Words& more = {}) {
  for (const char* word : {"--temperature", "0", "--think", "none"}) arguments.push_back(word);
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// As the model was trained with them (samples/models/tiny/train/data.py).
std::string tool_list() {
  Json tools = Json::array();
  for (const std::string what : {"weather", "time"}) {
    Json parameters = {{"type", "object"}, {"properties", {{"city", {{"type", "string"}}}}}};
    parameters["required"] = Json::array({"city"});
    tools.push_back(
        {{"type", "function"},
         {"function",
          {{"name", "get_" + what}, {"description", "Get the " + what + " in a city"}, {"parameters", parameters}}}});
  }
  return tools.dump();
}

Json parsed(const std::string& output, const Words& flags) {
  Words arguments = {"parse", "-"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const Ran ran = dsv4_program(arguments, output);
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  CHECK(ran.err == "");
  CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == 1);
  return Json::parse(ran.out);
}

constexpr const char* kCalls = "<｜DSML｜tool_calls>\n";
constexpr const char* kOneCall =
    "<｜DSML｜invoke name=\"get_time\">\n"
    "<｜DSML｜parameter name=\"city\" string=\"true\">Oslo</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>";

}  // namespace

TEST_CASE("game_loop: the answer of a blocking turn, over several frames") {
  const Ran ran = run_program(DSV4_GAME_LOOP, {kTiny, "What can you do?"});
  CHECK_MESSAGE(ran.code == 0, ran.err);
  const Ran blocking = dsv4_program(greedy({"run", kTiny, "What can you do?"}));
  REQUIRE(blocking.code == 0);
  CHECK(contains(ran.out, "| " + blocking.out));  // its last picture
  CHECK(std::regex_search(ran.out, std::regex("[0-9]+ frames; longest poll [0-9.]+ ms")));
}

TEST_CASE("tools: the loop runs to its end, and the last sentence says what the tools said") {
  const Ran ran = run_program(DSV4_TOOLS, {kTiny});
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  CHECK(ran.err == "");
  std::smatch found;
  const std::regex weather(
      "> What is the weather in Paris\\?\n"
      "  get_weather \\{\"city\": \"Paris\"\\} -> \\{\"temperature\": ([0-9]+), \"condition\": \"([a-z]+)\"\\}\n"
      "([^\n]*)\n");
  REQUIRE_MESSAGE(std::regex_search(ran.out, found, weather), ran.out);
  CHECK(found[3] == "It is " + found[1].str() + " degrees and " + found[2].str() + " in Paris.");
  const std::regex time(
      "> What is the time in Tokyo\\?\n"
      "  get_time \\{\"city\": \"Tokyo\"\\} -> \\{\"time\": \"([0-9:]+)\"\\}\n"
      "([^\n]*)\n$");
  REQUIRE_MESSAGE(std::regex_search(ran.out, found, time), ran.out);
  CHECK(found[2] == "It is " + found[1].str() + " in Tokyo.");
}

TEST_CASE("tools: a question of one's own, and one that needs no tool") {
  const Ran ran = run_program(DSV4_TOOLS, {kTiny, "What is the time in Oslo?", "Hello!"});
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  CHECK(ran.err == "");
  CHECK(contains(ran.out, "  get_time {\"city\": \"Oslo\"} -> {"));
  const size_t greeting = ran.out.find("> Hello!\n");
  REQUIRE(greeting != std::string::npos);
  CHECK_FALSE(contains(ran.out.substr(greeting), "->"));
  CHECK(ran.out.size() > greeting + 12);

  CHECK(run_program(DSV4_TOOLS, {}).code == 2);
  CHECK(run_program(DSV4_TOOLS, {kTiny + "/nowhere"}).code == 1);
}

TEST_CASE("json: the answer is valid against the schema and holds what was told") {
  const Ran ran = run_program(DSV4_JSON, {kTiny});
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  CHECK(ran.err == "");
  const size_t end = ran.out.find('\n');
  REQUIRE(end != std::string::npos);
  const Json answer = Json::parse(ran.out.substr(0, end));
  REQUIRE(answer.size() == 3);
  CHECK(answer["first"] == "Your name is Emma.");
  // What these say beyond their patterns is the tiny model's matter: it was asked for the name.
  CHECK(std::regex_match(answer["second"].get<std::string>(), std::regex("You live in [A-Z][a-z]{1,9}\\.")));
  CHECK(std::regex_match(answer["third"].get<std::string>(), std::regex("Your cat is called [A-Z][a-z]{1,9}\\.")));

  // The second line repeats it, but for what the model would not have said by itself: braces and keys.
  const std::string own = ran.out.substr(end + 1, ran.out.find('\n', end + 1) - end - 1);
  REQUIRE(own.size() == end);
  for (size_t i = 0; i < end; ++i) CHECK((own[i] == ran.out[i] || own[i] == '-'));
  CHECK(own.front() == '-');
  CHECK(contains(own, "Emma."));
}

TEST_CASE("render prints the 70 requests of profile 0731 byte for byte") {
  const TempFolder folder;
  const std::vector<Json> lines = json_lines(kRecipes + "render.jsonl");
  REQUIRE(lines.size() == 70);
  for (const Json& line : lines) {
    const std::string request = line["request"].dump();
    CAPTURE(request);
    write_text(folder.file("request.json"), request);
    const Ran ran = dsv4_program({"render", kTiny, folder.file("request.json"), "--profile", "0731"});
    CHECK_MESSAGE(ran.code == 0, ran.err);
    CHECK(ran.out == line["prompt"].get<std::string>());
  }
}

TEST_CASE("render: options win over the file; ids and JSON say the same as the text") {
  const TempFolder folder;
  const std::string file = folder.file("request.json");
  write_text(file, R"({"messages": [{"role": "user", "content": "Hi <think>"}], "thinking": {"type": "enabled"},)"
                   R"( "reasoning_effort": "max", "tools": )" +
                       tool_list() + "}");
  const auto render = [&](const Words& flags) {
    Words arguments = {"render", kTiny, file};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Ran ran = dsv4_program(arguments);
    CHECK_MESSAGE(ran.code == 0, ran.err);
    return ran.out;
  };
  const std::string text = render({});
  CHECK(contains(text, "get_weather"));
  CHECK(text.ends_with("<｜User｜>Hi <think><｜Assistant｜><think>"));
  CHECK(render({"--think", "none"}).ends_with("<｜Assistant｜></think>"));
  CHECK(render({"--think", "high"}).size() < text.size());  // max has an effort text
  CHECK_FALSE(contains(render({"--tool-choice", "none"}), "get_weather"));
  CHECK(render({"--think", "none", "--tool-choice", "get_time"}).ends_with("</think>\n\n<｜DSML｜tool_calls>\n"));
  write_text(folder.file("tools.json"), "[]");
  CHECK_FALSE(contains(render({"--tools", folder.file("tools.json")}), "get_weather"));

  const Json json = Json::parse(render({"--json"}));
  CHECK(json["prompt"] == text);
  std::string line;
  for (const Json& id : json["ids"]) line += (line.empty() ? "" : " ") + id.dump();
  CHECK(render({"--ids"}) == line + "\n");
  CHECK(json["ids"].size() > 100);

  CHECK(dsv4_program({"render", kTiny, file, "--think", "none", "--tool-choice", "get_rich"}).code == 11);
}

TEST_CASE("parse agrees with the fixtures, whatever the pieces") {
  size_t well_formed = 0;
  for (const Json& line : json_lines(kRecipes + "parse.jsonl")) {
    const std::string output = line["output"];
    CAPTURE(output);
    const std::string mode = line["thinking"].get<bool>() ? "high" : "none";
    const Json whole = parsed(output, {"--think", mode});
    for (const char* split : {"1", "5"}) CHECK(parsed(output, {"--think", mode, "--split", split}) == whole);
    if (!whole["malformed"].is_null()) {
      CHECK(whole["finish"] == "malformed");
      continue;
    }
    ++well_formed;
    Json calls = Json::array();
    for (const Json& call : line["tool_calls"]) calls.push_back(call);
    CHECK(whole["reasoning"] == line["reasoning"]);
    CHECK(whole["content"] == line["content"]);
    CHECK(whole["tool_calls"] == calls);
    CHECK(whole["finish"] == line["finish"]);
  }
  CHECK(well_formed >= 80);
}

TEST_CASE("parse: where an output begins, and what breaks the format") {
  const Json calls = parsed(std::string("Sure.\n\n") + kCalls + kOneCall, {});
  const Json call = {{"name", "get_time"}, {"arguments", "{\"city\": \"Oslo\"}"}};
  CHECK(calls == Json{{"reasoning", ""},
                      {"content", "Sure."},
                      {"tool_calls", Json::array({call})},
                      {"finish", "tool_calls"},
                      {"malformed", nullptr}});
  CHECK(parsed(kOneCall, {"--start-in-calls"})["tool_calls"] == Json::array({call}));
  CHECK(parsed(kOneCall, {"--start-in-calls", "--profile", "0731"})["tool_calls"] == Json::array({call}));

  // The profile's own mode: preview does not think, 0731 does.
  CHECK(parsed("a</think>b", {"--profile", "0731"})["reasoning"] == "a");
  CHECK(parsed("a</think>b", {"--profile", "0731", "--think", "low"})["content"] == "b");
  CHECK(parsed("plain", {})["content"] == "plain");
  CHECK(parsed("", {})["finish"] == "stop");

  const Json broken = parsed(std::string("Sure.\n\n") + kCalls + "<｜DSML｜invoke name=\"get_time\">\nhm", {});
  CHECK(broken["content"] == "Sure.");
  CHECK(broken["tool_calls"].empty());
  CHECK(broken["finish"] == "malformed");
  CHECK(contains(broken["malformed"].get<std::string>(), "<｜DSML｜invoke name=\"get_time\">\nhm"));
}

TEST_CASE("run: tools are called, required, named or left out") {
  const TempFolder folder;
  write_text(folder.file("tools.json"), tool_list());
  const auto ask = [&](const std::string& question, const Words& flags) {
    Words all = {"--tools", folder.file("tools.json")};
    all.insert(all.end(), flags.begin(), flags.end());
    return dsv4_program(greedy({"run", kTiny, question, "--system", "You are a helpful assistant."}, all));
  };
  const Ran called = ask("What is the weather in Paris?", {});
  CHECK_MESSAGE(called.code == 0, called.err);
  CHECK(called.out == "[call 1: get_weather {\"city\": \"Paris\"}]\n");
  CHECK(contains(called.err, "tool calls"));

  const Ran cut = ask("What is the weather in Paris?", {"--max-tokens", "20"});
  CHECK(cut.out.starts_with("[call 1: get_weather "));
  CHECK(contains(cut.out, "... broken off]\n[malformed output]\n"));
  CHECK(contains(cut.out, "<｜DSML｜invoke name=\"get_weather\">"));

  // The tiny model calls get_weather even where it was not told of it: what "none" does is seen in the prompt's length.
  const auto prompt_tokens = [](const Ran& ran) { return std::stoi(ran.err.substr(ran.err.find("[prompt ") + 8)); };
  CHECK(prompt_tokens(called) > 250);
  CHECK(prompt_tokens(ask("What is the weather in Paris?", {"--tool-choice", "none"})) < 50);

  const std::string forced = ask("Hello!", {"--tool-choice", "required"}).out;
  CHECK(std::regex_match(forced, std::regex("(\\[call [0-9]+: get_(time|weather) \\{\"city\": \".*\"\\}\\]\n)+")));
  const std::string named = ask("What is the weather in Paris?", {"--tool-choice", "get_time"}).out;
  CHECK(named == "[call 1: get_time {\"city\": \"Paris\"}]\n");
  const Ran unknown = ask("Hello!", {"--tool-choice", "get_rich"});
  CHECK(unknown.code == 11);
  CHECK(contains(unknown.err, "get_rich"));
}

TEST_CASE("run: stop strings, logit bias, log-probabilities, a budget of reasoning") {
  const Ran plain = dsv4_program(greedy({"run", kTiny, "Hello!"}));
  REQUIRE(contains(plain.out, " can I"));
  const Ran stopped = dsv4_program(greedy({"run", kTiny, "Hello!"}, {"--stop", "never said", "--stop", " can I"}));
  CHECK(stopped.out == plain.out.substr(0, plain.out.find(" can I")) + "\n");
  CHECK(contains(stopped.err, "stop string"));

  const Ran listed = dsv4_program(greedy({"run", kTiny, "Hello!", "--logprobs", "2"}));
  CHECK(listed.out == plain.out);
  CHECK(std::count(listed.err.begin(), listed.err.end(), '\n') > 5);  // a line a token, and the statistics
  CHECK(contains(listed.err, "\"<｜end▁of▁sentence｜>\""));
  CHECK(contains(listed.err, "(\""));

  const std::string first = dsv4_program({"tokenize", kTiny, plain.out.substr(0, plain.out.size() - 1)}).out;
  const Ran biased =
      dsv4_program(greedy({"run", kTiny, "Hello!", "--logit-bias", first.substr(0, first.find(' ')) + ":-inf"}));
  CHECK(biased.code == 0);
  CHECK(biased.out.substr(0, 3) != plain.out.substr(0, 3));

  const Words thinking = {"run", kTiny, "What is 12+34?", "--temperature", "0", "--think", "high", "--show-thinking"};
  Words limited = thinking;
  limited.insert(limited.end(), {"--reasoning-budget", "5"});
  const Ran closed = dsv4_program(limited);
  CHECK_MESSAGE(closed.code == 0, closed.err);
  CHECK(closed.out.starts_with("12+34\n\n"));  // five tokens
  CHECK(contains(closed.err, "budget"));
  CHECK(closed.out.size() < dsv4_program(thinking).out.size());
}

TEST_CASE("run: the answer keeps to a schema, a grammar, a regular expression") {
  const TempFolder folder;
  write_text(folder.file("schema.json"), R"({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1,)"
                                         R"( "maximum": 9}}, "required": ["n"], "additionalProperties": false})");
  write_text(folder.file("grammar"), "root ::= \"yes\" | \"no\"\n");
  const auto run = [&](const Words& flags) {
    const Ran ran = dsv4_program(greedy({"run", kTiny, "What is 3+4?"}, flags));
    CHECK_MESSAGE(ran.code == 0, ran.err);
    return ran.out;
  };
  const Json answer = Json::parse(run({"--json-schema", folder.file("schema.json")}));
  CHECK(answer.size() == 1);
  CHECK(answer["n"] >= 1);
  CHECK(answer["n"] <= 9);
  const std::string word = run({"--grammar", folder.file("grammar")});
  CHECK((word == "yes\n" || word == "no\n"));
  CHECK(std::regex_match(run({"--regex", "3\\+4=[0-9]{1,2}\\."}), std::regex("3\\+4=[0-9]{1,2}\\.\n")));
}
