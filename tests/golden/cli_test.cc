// The program dsv4 from outside, as a script meets it: exit codes, one line per error, exact outputs, files.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/golden/samples_program.h"
#include "tests/support/folder_writer.h"
#include "tests/support/golden_file.h"

namespace {

namespace fs = std::filesystem;

const std::string kMicro = DSV4_TEST_DATA "/golden/micro";

// One line on standard error that begins with "dsv4: ", and nothing on standard output.
void check_one_line(const Ran& ran) {
  CHECK(ran.out == "");
  CHECK(ran.err.rfind("dsv4: ", 0) == 0);
  CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
  CHECK(ran.err.back() == '\n');
}

std::vector<float> read_floats(const std::string& path) {
  const std::string bytes = read_text(path);
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}

struct Agreement {
  double mean_kl = 0;
  double same_choice = 0;
  int early_exact = 0;  // of the first kEarly rows
};

constexpr size_t kEarly = 15;  // before any flipped rounding has spread (golden_logits_test.cc)

Agreement agreement(std::span<const float> got, std::span<const float> want, size_t vocab) {
  const auto log_sum = [&](const float* x) {
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(x[i]));
    return std::log(sum);
  };
  const size_t rows = want.size() / vocab;
  Agreement a;
  for (size_t r = 0; r < rows; ++r) {
    const float *g = got.data() + r * vocab, *w = want.data() + r * vocab;
    const double log_g = log_sum(g), log_w = log_sum(w);
    double kl = 0;
    for (size_t i = 0; i < vocab; ++i) kl += std::exp(w[i] - log_w) * (w[i] - log_w - g[i] + log_g);
    a.mean_kl += kl / static_cast<double>(rows);
    a.early_exact += r < kEarly && kl <= 1e-6;
    a.same_choice += (std::max_element(g, g + vocab) - g == std::max_element(w, w + vocab) - w) ? 1.0 / rows : 0;
  }
  return a;
}

// Two runs of the program, up to the order of sums.
void check_agrees(const std::string& what, std::span<const float> got, std::span<const float> want, size_t vocab) {
  CAPTURE(what);
  REQUIRE(got.size() == want.size());
  const Agreement a = agreement(got, want, vocab);
  MESSAGE(what, ": mean KL ", a.mean_kl, ", same first choice ", 100 * a.same_choice, " %");
  CHECK(a.mean_kl <= 0.01);
  CHECK(a.same_choice >= 0.97);
}

// Against the published program: that every row is the row of its position. How near whole sequences come is
// golden_logits_test's to judge.
void check_rows(const std::string& what, std::span<const float> got, std::span<const float> golden, size_t vocab) {
  CAPTURE(what);
  REQUIRE(got.size() == golden.size());
  const Agreement a = agreement(got, golden, vocab);
  MESSAGE(what, ": mean KL ", a.mean_kl, ", same first choice ", 100 * a.same_choice, " %");
  CHECK(a.early_exact >= static_cast<int>(kEarly) - 3);
  CHECK(a.same_choice >= 0.5);  // rows shifted by one agree about as often as chance
}

std::string ids_text(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += std::to_string(id) + (text.size() % 7 == 0 ? "\n" : " ");
  return text;
}

std::vector<int> parse_ids(const std::string& line) {
  std::istringstream stream(line);
  std::vector<int> ids;
  for (int id = 0; stream >> id;) ids.push_back(id);
  return ids;
}

}  // namespace

TEST_CASE("--help of the program and of every command names what there is") {
  const Ran all = dsv4_program({"--help"});
  CHECK(all.code == 0);
  const std::vector<std::string> turn = {"--think",
                                         "--profile",
                                         "--backend",
                                         "--threads",
                                         "--context",
                                         "--temperature",
                                         "--top-p",
                                         "--top-k",
                                         "--min-p",
                                         "--seed",
                                         "--system",
                                         "--max-tokens",
                                         "--messages",
                                         "--show-thinking",
                                         "--no-color",
                                         "--tools",
                                         "--tool-choice",
                                         "--reasoning-budget",
                                         "--repetition-penalty",
                                         "--presence-penalty",
                                         "--logit-bias",
                                         "--frequency-penalty",
                                         "--penalty-window",
                                         "--logprobs",
                                         "--stop",
                                         "--json",
                                         "--json-schema",
                                         "--grammar",
                                         "--regex"};
  const std::vector<std::pair<std::string, std::vector<std::string>>> commands = {
      {"chat", turn},
      {"run", turn},
      {"info", {"--profile"}},
      {"tokenize", {"--file", "--special"}},
      {"render", {"--think", "--profile", "--tools", "--tool-choice", "--ids", "--json"}},
      {"parse", {"--think", "--profile", "--split", "--start-in-calls"}},
      {"logits", {"--ids", "--out", "--chunk", "--draft"}},
      {"bench", {"--shape", "--layers", "--context", "--prompt", "--tokens", "--batch", "--by-verb", "--isa", "--threads", "--backend", "--json"}}};
  for (const auto& entry : commands) {
    const auto& command = entry.first;  // clang 14 does not let a lambda capture a structured binding
    const auto& flags = entry.second;
    CAPTURE(command);
    CHECK(contains(all.out, "\n  " + command + " "));
    const Ran ran = dsv4_program({command, "--help"});
    CHECK(ran.code == 0);
    CHECK(ran.err == "");
    CHECK(contains(ran.out, "Usage: dsv4 " + command));
    for (const std::string& flag : flags) CHECK_MESSAGE(contains(ran.out, "\n  " + flag), flag);
  }
  const Ran version = dsv4_program({"--version"});
  CHECK(version.code == 0);
  CHECK(contains(version.out, "reference"));
}

TEST_CASE("a wrong command line is exit code 2 and a line that names it") {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{}, "command"},
      {{"sing"}, "sing"},
      {{"run"}, "MODEL"},
      {{"run", kTiny, "a", "b"}, "'b'"},
      {{"run", kTiny, "--colour", "red"}, "--colour"},
      {{"run", kTiny, "-x"}, "-x"},
      {{"run", kTiny, "--think"}, "--think"},
      {{"run", kTiny, "--think", "--seed", "1"}, "--think"},
      {{"run", kTiny, "--think", "hard"}, "hard"},
      {{"run", kTiny, "--profile=may"}, "may"},
      {{"run", kTiny, "--temperature", "warm"}, "warm"},
      {{"run", kTiny, "--temperature", "nan"}, "--temperature"},
      {{"run", kTiny, "--temperature", "-1"}, "--temperature"},
      {{"run", kTiny, "--top-p", "1.5"}, "--top-p"},
      {{"run", kTiny, "--seed", "-1"}, "--seed"},
      {{"run", kTiny, "--seed", "99999999999999999999999"}, "--seed"},
      {{"run", kTiny, "--max-tokens", "3x"}, "3x"},
      {{"run", kTiny, "--threads", "1000000"}, "--threads"},
      {{"run", kTiny, "--show-thinking=yes"}, "--show-thinking"},
      {{"run", kTiny, "--system", "a", "--messages", "b"}, "--system"},
      {{"chat", kTiny, "--system", "a", "--messages", "b"}, "--system"},
      {{"run", kTiny, "--logit-bias", "5"}, "--logit-bias"},
      {{"run", kTiny, "--logit-bias", "5:inf"}, "--logit-bias"},
      {{"run", kTiny, "--logit-bias", "-5:1"}, "--logit-bias"},
      {{"run", kTiny, "--logprobs", "21"}, "--logprobs"},
      {{"run", kTiny, "--presence-penalty", "2.5"}, "--presence-penalty"},
      {{"run", kTiny, "--json", "--regex", "a"}, "--regex"},
      {{"parse"}, "FILE"},
      {{"parse", "-", "--split", "0"}, "--split"},
      {{"parse", "-", "--profile", "auto"}, "auto"},
      {{"parse", "-", "--think", "high", "--start-in-calls"}, "--start-in-calls"},
      {{"render", kTiny, "f", "--ids", "--json"}, "--ids"},
      {{"tokenize", kTiny, "text", "--file", "f"}, "--file"},
      {{"render", kTiny}, "FILE.json"},
      {{"logits", kMicro, "--out", "o"}, "--ids"},
      {{"logits", kMicro, "--ids", "i"}, "--out"},
      {{"logits", kMicro, "--ids", "i", "--out", "o", "--chunk", "0"}, "--chunk"},
      {{"logits", kMicro, "--ids", "i", "--out", "o", "--draft", "o"}, "--draft"},
      {{"bench"}, "--shape"},
      {{"bench", kTiny, "--shape", "flash"}, "--shape"},
      {{"bench", "--shape", "cube"}, "cube"},
      {{"bench", kTiny, "--layers", "1"}, "--layers"},
  };
  for (const auto& entry : cases) {
    const auto& arguments = entry.first;
    const auto& part = entry.second;
    CAPTURE(command_line("dsv4", arguments));
    const Ran ran = dsv4_program(arguments);
    CHECK(ran.code == 2);
    check_one_line(ran);
    CHECK_MESSAGE(contains(ran.err, part), ran.err);
    CHECK_MESSAGE(contains(ran.err, "--help"), ran.err);
  }
}

TEST_CASE("errors of the library are one line and exit code 10 + status") {
  const TempFolder folder;
  const auto copy_of_micro = [&](const std::string& name) {
    fs::create_directory(folder.file(name));
    for (const char* file : {"config.json", "model.safetensors"})
      fs::copy_file(kMicro + "/" + file, folder.file(name) + "/" + file);
    return folder.file(name);
  };
  const std::string truncated = copy_of_micro("truncated");
  fs::resize_file(truncated + "/model.safetensors", 1000000);
  const std::string no_config = copy_of_micro("no-config");
  fs::remove(no_config + "/config.json");
  const std::string bad_config = copy_of_micro("bad-config");
  write_text(bad_config + "/config.json", "{\"hidden_size\": ");
  const std::string ids = folder.file("ids");
  write_text(ids, "0 5 7");
  write_text(folder.file("bad-ids"), "0 five");
  write_text(folder.file("large-ids"), "0 5 260");
  write_text(folder.file("no-ids"), " \n");
  write_text(folder.file("bad.json"), "[{\"role\": \"user\", ");
  write_text(folder.file("wrong.json"), "[{\"role\": \"user\", \"content\": 7}]");
  write_text(folder.file("answered.json"),
             "[{\"role\": \"user\", \"content\": \"Hello\"}, {\"role\": \"assistant\", \"content\": \"Hi\"}]");
  const std::string out = folder.file("out");

  struct Case {
    Words arguments;
    std::string status;
    int code;
    std::string part;
  };
  const std::vector<Case> cases = {
      {{"info", folder.file("nowhere")}, "DSV4_E_NOT_FOUND", 13, "nowhere"},
      {{"info", no_config}, "DSV4_E_NOT_FOUND", 13, "config.json"},
      {{"info", bad_config}, "DSV4_E_CORRUPT", 15, "config.json"},
      {{"info", truncated}, "DSV4_E_CORRUPT", 15, "model.safetensors"},
      {{"run", kMicro, "Hello"}, "DSV4_E_NOT_FOUND", 13, "tokenizer"},
      {{"tokenize", kMicro, "Hello"}, "DSV4_E_NOT_FOUND", 13, "tokenizer"},
      {{"tokenize", kTiny, "\xff\xfe"}, "DSV4_E_INVALID_ARGUMENT", 11, "UTF-8"},
      {{"tokenize", kTiny, "--file", folder.file("nowhere")}, "DSV4_E_NOT_FOUND", 13, "nowhere"},
      {{"tokenize", kTiny, "--file", folder.path()}, "DSV4_E_IO", 14, folder.path()},
      {{"run", kTiny, "Hello", "--backend", "abacus"}, "DSV4_E_UNSUPPORTED", 12, "abacus"},
      {{"run", kTiny, "Hello", "--think", "low", "--profile", "preview"}, "DSV4_E_UNSUPPORTED", 12, "low"},
      {{"run", kTiny, "Hello", "--context", "2"}, "DSV4_E_CONTEXT_FULL", 21, ""},
      {{"run", kTiny, "Hello", "--context", "99999999999"}, "DSV4_E_INVALID_ARGUMENT", 11, "99999999999"},
      {{"run", kTiny, "--messages", folder.file("bad.json")}, "DSV4_E_INVALID_ARGUMENT", 11, "bad.json"},
      {{"run", kTiny, "--messages", folder.file("wrong.json")}, "DSV4_E_INVALID_ARGUMENT", 11, "content"},
      {{"run", kTiny, "--messages", folder.file("answered.json")}, "DSV4_E_INVALID_ARGUMENT", 11, "answer"},
      {{"run", kTiny, "Hello", "--tools", folder.file("wrong.json")}, "DSV4_E_INVALID_ARGUMENT", 11, "function"},
      {{"run", kTiny, "Hello", "--tools", folder.file("nowhere")}, "DSV4_E_NOT_FOUND", 13, "nowhere"},
      {{"run", kTiny, "Hello", "--json-schema", folder.file("nowhere")}, "DSV4_E_NOT_FOUND", 13, "nowhere"},
      {{"parse", folder.file("nowhere")}, "DSV4_E_NOT_FOUND", 13, "nowhere"},
      {{"parse", folder.file("wrong.json"), "--think", "low"}, "DSV4_E_UNSUPPORTED", 12, "low"},
      {{"render", kTiny, folder.file("nowhere")}, "DSV4_E_NOT_FOUND", 13, "nowhere"},
      {{"logits", kMicro, "--ids", folder.file("bad-ids"), "--out", out}, "DSV4_E_INVALID_ARGUMENT", 11, "'five'"},
      {{"logits", kMicro, "--ids", folder.file("no-ids"), "--out", out}, "DSV4_E_INVALID_ARGUMENT", 11, "no-ids"},
      {{"logits", kMicro, "--ids", folder.file("large-ids"), "--out", out}, "DSV4_E_INVALID_ARGUMENT", 11, "260"},
      {{"logits", kMicro, "--ids", folder.file("large-ids"), "--out", out, "--chunk", "1"},
       "DSV4_E_INVALID_ARGUMENT",
       11,
       "260"},
      {{"logits", kMicro, "--ids", ids, "--out", folder.file("no/where")}, "DSV4_E_IO", 14, "no/where"},
  };
  for (const Case& c : cases) {
    CAPTURE(command_line("dsv4", c.arguments));
    const Ran ran = dsv4_program(c.arguments);
    CHECK(ran.code == c.code);
    check_one_line(ran);
    CHECK_MESSAGE(contains(ran.err, c.part), ran.err);
    CHECK_MESSAGE(contains(ran.err, "(" + c.status + ")\n"), ran.err);
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder.path()))
    CHECK_MESSAGE(entry.path().filename().string().rfind("out", 0) != 0, entry.path());  // no half file either
}

TEST_CASE("a closed or full standard output is an error, not a signal") {
  const TempFolder folder;
  const std::string program = command_line(DSV4_PROGRAM, {"info", kTiny});
  const std::string code = folder.file("code"), err = folder.file("err");
  run_shell("{ sleep 0.3; " + program + " 2>" + quoted(err) + "; echo $? >" + quoted(code) + "; } | true");
  for (int wait = 0; wait < 100 && !fs::exists(code); ++wait) run_shell("sleep 0.1");
  CHECK(read_text(code) == "14\n");
  CHECK(read_text(err) == "");  // quietly
  if (fs::exists("/dev/full")) {
    CHECK(run_shell("exec " + program + " >/dev/full 2>" + quoted(err)) == 14);
    CHECK(contains(read_text(err), "(DSV4_E_IO)"));
  }
}

TEST_CASE("info tells the shape, the layers and the sizes") {
  const Ran ran = dsv4_program({"info", kMicro});
  CHECK(ran.code == 0);
  for (const char* part : {"preview", "hidden 128", "3 layers", "260 ids", "CSA, 4", "HCA, 128", "window", "hash",
                           "draft", "state at", "4K", "64K", "256K", "1M", "fits"})
    CHECK_MESSAGE(contains(ran.out, part), part);
}

TEST_CASE("render prints the fixtures byte for byte") {
  for (const std::string number : {"1", "2", "3"}) {
    CAPTURE(number);
    const std::string folder = DSV4_TEST_DATA "/fixtures/encoding/";
    const Ran ran = dsv4_program(
        {"render", kTiny, folder + "test_input_" + number + ".json", "--think", "high", "--profile", "preview"});
    CHECK(ran.code == 0);
    CHECK(ran.err == "");
    CHECK(ran.out == read_text(folder + "test_output_" + number + ".txt"));
  }
}

TEST_CASE("tokenize prints the ids of the text, however it comes") {
  const auto tokenizer = nlohmann::json::parse(read_text(kTiny + "/tokenizer.json"));
  std::map<int, std::string> vocab;
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items()) vocab[id.get<int>()] = token;
  int think = -1;
  for (const auto& token : tokenizer["added_tokens"])
    if (token["content"] == "<think>") think = token["id"].get<int>();

  const std::string text = "Helloworld123";  // its bytes stand for themselves in the byte alphabet
  const Ran ran = dsv4_program({"tokenize", kTiny, text});
  CHECK(ran.code == 0);
  std::string joined;
  for (const int id : parse_ids(ran.out)) joined += vocab[id];
  CHECK(joined == text);
  CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == 1);

  const TempFolder folder;
  write_text(folder.file("text"), text);
  CHECK(dsv4_program({"tokenize", kTiny, "--file", folder.file("text")}).out == ran.out);
  CHECK(dsv4_program({"tokenize", kTiny}, text).out == ran.out);
  CHECK(dsv4_program({"tokenize", kTiny, "-"}, text).out == ran.out);
  CHECK(dsv4_program({"tokenize", kTiny}, "").out == "\n");

  CHECK(dsv4_program({"tokenize", kTiny, "<think>", "--special"}).out == std::to_string(think) + "\n");
  const std::vector<int> ordinary = parse_ids(dsv4_program({"tokenize", kTiny, "<think>"}).out);
  CHECK(ordinary.size() > 1);
  CHECK(std::find(ordinary.begin(), ordinary.end(), think) == ordinary.end());
}

TEST_CASE("logits of any chunk size agree with the published program, and so do the draft's") {
  const dsv4::test::GoldenFile golden(kMicro + "/golden.safetensors");
  const std::vector<int32_t> tokens = golden.get("tokens").ints();
  const size_t vocab = static_cast<size_t>(golden.get("logits").cols());
  const TempFolder folder;
  const std::string ids = folder.file("ids"), out = folder.file("out"), draft = folder.file("draft");
  write_text(ids, ids_text(tokens));
  for (const std::string backend : {"reference", "cpu"}) {
    std::vector<float> whole;
    for (const std::string chunk : {"", "7", "1"}) {
      Words arguments = {"logits", kMicro, "--ids", ids, "--out", out, "--draft", draft, "--backend", backend};
      if (!chunk.empty()) arguments.insert(arguments.end(), {"--chunk", chunk});
      const Ran ran = dsv4_program(arguments);
      REQUIRE_MESSAGE(ran.code == 0, ran.err);
      CHECK(ran.out == "");
      const std::vector<float> logits = read_floats(out);
      const std::string what = backend + (chunk.empty() ? ", all at once" : ", chunks of " + chunk);
      check_rows(what, logits, golden.get("logits").floats(), vocab);
      check_rows(what + ", draft", read_floats(draft), golden.get("draft_logits").floats(), vocab);
      // The cpu backend has other sums for many rows than for one, and a flipped rounding spreads: model tests judge
      // it.
      if (chunk.empty())
        whole = logits;
      else if (backend == "reference")
        check_agrees(what + " against all at once", logits, whole, vocab);
    }
  }
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 3);  // nothing half is left

  write_text(ids, "0");
  CHECK(dsv4_program({"logits", kMicro, "--ids", ids, "--out", out, "--draft", draft}).code == 0);
  CHECK(read_floats(out).size() == vocab);
  CHECK(fs::file_size(draft) == 0);
}

TEST_CASE("run answers on standard output, and the same however the prompt comes") {
  const Words greedy = {"--temperature", "0", "--think", "none"};
  const auto with_greedy = [&](Words arguments) {
    arguments.insert(arguments.end(), greedy.begin(), greedy.end());
    return arguments;
  };
  const Ran ran = dsv4_program(with_greedy({"run", kTiny, "What is 3+4?"}));
  CHECK(ran.code == 0);
  CHECK(ran.out.size() > 1);
  CHECK(ran.out.back() == '\n');
  CHECK(!contains(ran.out, "\xef\xbd\x9c"));  // the bar of the control tokens
  CHECK(contains(ran.err, "tokens/s"));

  CHECK(dsv4_program(with_greedy({"run", kTiny}), "What is 3+4?").out == ran.out);
  CHECK(dsv4_program(with_greedy({"run", kTiny, "-"}), "What is 3+4?").out == ran.out);
  CHECK(dsv4_program(with_greedy({"chat", kTiny}), "What is 3+4?").out == ran.out);
  CHECK(run_program(DSV4_HELLO, {kTiny, "What is 3+4?"}).out == ran.out);
  const TempFolder folder;
  write_text(folder.file("m.json"), "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 3+4?\"}]}");
  CHECK(dsv4_program(with_greedy({"run", kTiny, "--messages", folder.file("m.json")})).out == ran.out);

  const Ran two = dsv4_program(with_greedy({"run", kTiny, "What is 3+4?", "--max-tokens", "2"}));
  CHECK(two.code == 0);
  CHECK(contains(two.err, "answer 2 tokens"));
  CHECK(two.out.size() < ran.out.size());
}

TEST_CASE("a seed repeats an answer, and reasoning is shown on demand only") {
  const auto sampled = [&](const std::string& seed) {
    return dsv4_program({"run", kTiny, "Hello", "--temperature", "5", "--max-tokens", "30", "--seed", seed}).out;
  };
  CHECK(sampled("7") == sampled("7"));
  CHECK(sampled("7") != sampled("8"));

  const Words question = {"run", kTiny, "What is 12+34?", "--temperature", "0", "--think", "high"};
  Words shown = question;
  shown.push_back("--show-thinking");
  const Ran answer = dsv4_program(question), whole = dsv4_program(shown);
  CHECK(answer.code == 0);
  CHECK(contains(answer.err, "of reasoning"));
  CHECK(whole.out.size() > answer.out.size());
  CHECK(whole.out.substr(whole.out.size() - answer.out.size()) == answer.out);
  CHECK(!contains(whole.out, "\033"));
}

namespace {

nlohmann::ordered_json bench_line(Words arguments) {
  arguments.insert(arguments.begin(), {"bench", kTiny, "--context", "100", "--threads", "1", "--json"});
  const Ran ran = dsv4_program(arguments);
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  const size_t end = ran.out.size() - 1;
  return nlohmann::ordered_json::parse(ran.out.substr(ran.out.rfind('\n', end - 1) + 1));
}

}  // namespace

TEST_CASE("bench ends with one line of JSON") {
  auto line = bench_line({"--prompt", "64", "--tokens", "4"});
  if (line.contains("matrix_peak_gflops")) {  // of a build with oneDNN
    CHECK(line["matrix_peak_gflops"].get<double>() > 0);
    line.erase("matrix_peak_gflops");
  }
  Words keys;
  for (const auto& [key, value] : line.items()) keys.push_back(key);
  CHECK(keys == Words{"decode_tokens_per_s", "prefill_tokens_per_s", "weight_bytes_per_token", "decode_gb_per_s",
                      "probe_gb_per_s", "decode_percent_of_probe", "threads", "isa", "layers", "context"});
  CHECK(line["threads"] == 1);
  CHECK(line["layers"] == 4);
  CHECK(line["context"] == 100);
  CHECK(line["isa"].is_string());
  const double tokens = line["decode_tokens_per_s"], bytes = line["weight_bytes_per_token"];
  const double gb = line["decode_gb_per_s"], probe = line["probe_gb_per_s"], percent = line["decode_percent_of_probe"];
  CHECK(tokens > 0);
  CHECK(line["prefill_tokens_per_s"].get<double>() > 0);
  CHECK(gb == doctest::Approx(tokens * bytes / 1e9));
  CHECK(percent == doctest::Approx(100 * gb / probe));
}

TEST_CASE("bench of one instruction set") {
  const auto line = bench_line({"--prompt", "1", "--tokens", "4", "--isa", "scalar"});
  CHECK(line["isa"] == "scalar");
  CHECK(!line.contains("matrix_peak_gflops"));
  const Ran ran = dsv4_program({"bench", kTiny, "--isa", "mmx"});
  CHECK(ran.code != 0);
  CHECK(ran.err.find("unknown instruction set 'mmx'; this machine runs scalar") != std::string::npos);
}

TEST_CASE("bench by verb") {
  const Ran ran = dsv4_program({"bench", kTiny, "--context", "100", "--prompt", "64", "--tokens", "4", "--batch", "2", "--by-verb"});
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  for (const char* part : {"\ndecode: 28 steps of ", "\n2 sessions together: ", "\nprefill of 64: 3 steps of ", "\n  experts ",
                           "\n  between verbs ", "GFLOP/s", "all but weight products"}) {
    CHECK_MESSAGE(ran.out.find(part) != std::string::npos, part, " is missing in\n", ran.out);
  }
}

TEST_CASE("bench of sessions that decode together, in a context that a prefill run would not need") {
  const auto line = bench_line({"--prompt", "1", "--tokens", "4", "--batch", "3"});
  CHECK(line["batch"] == 3);
  CHECK(line["batch_tokens_per_s"].get<double>() > 0);
  CHECK(line["batch_against_one"].get<double>() > 0);
}
