// dsv4 chat at a terminal: a pseudo-terminal whose other end is this test. Commands, tool calls, colours, Ctrl-C.
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/golden/samples_program.h"
#include "tests/support/folder_writer.h"

namespace {

constexpr int kPatience = 60;  // seconds, for hangs only
const std::string kInterrupt = "\x03";

// The program at a terminal without echo, so that what is read is what it wrote: both its streams, in order.
class ChatProgram {
 public:
  explicit ChatProgram(Words arguments) {
    arguments.insert(arguments.begin(), {DSV4_PROGRAM, "chat", kTiny, "--temperature", "0", "--threads", "1"});
    std::vector<char*> argv;
    for (std::string& word : arguments) argv.push_back(word.data());
    argv.push_back(nullptr);
    termios settings{};
    settings.c_cflag = CREAD | CS8;
    settings.c_lflag = ICANON | ISIG;
    settings.c_cc[VINTR] = '\x03';
    settings.c_cc[VEOF] = '\x04';
    pid_ = forkpty(&terminal_, nullptr, &settings, nullptr);
    if (pid_ == 0) {
      unsetenv("NO_COLOR");
      execv(argv[0], argv.data());
      _exit(127);
    }
    REQUIRE(pid_ > 0);
  }

  ~ChatProgram() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(terminal_);
  }

  ChatProgram(const ChatProgram&) = delete;
  ChatProgram& operator=(const ChatProgram&) = delete;

  void type(const std::string& text) { REQUIRE(write(terminal_, text.data(), text.size()) == ssize_t(text.size())); }

  // What came until the prompt stood there again, without it.
  std::string until_prompt() {
    while (!(text_ == "> " || text_.ends_with("\n> "))) REQUIRE_MESSAGE(read_more(), text_);
    std::string seen = text_.substr(0, text_.size() - 2);
    text_.clear();
    return seen;
  }

  void until(const std::string& part) {
    while (!contains(text_, part)) REQUIRE_MESSAGE(read_more(), text_);
  }

  std::string ask(const std::string& line) {
    type(line + "\n");
    return until_prompt();
  }

  // Its exit code, once it has gone by itself.
  int end() {
    while (read_more()) {
    }
    int status = 0;
    pid_t ended = 0;
    for (int tenths = 0; tenths < 10 * kPatience && (ended = waitpid(pid_, &status, WNOHANG)) == 0; ++tenths)
      usleep(100'000);
    REQUIRE(ended == pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : kSignal + WTERMSIG(status);
  }

 private:
  bool read_more() {
    pollfd ready{terminal_, POLLIN, 0};
    if (poll(&ready, 1, kPatience * 1000) <= 0) return false;
    char buffer[4096];
    const ssize_t count = read(terminal_, buffer, sizeof buffer);
    if (count <= 0) return false;  // Linux answers EIO once the other end is closed
    text_.append(buffer, static_cast<size_t>(count));
    return true;
  }

  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string text_;
};

const Words kNone = {"--think", "none"};

std::string weather_tool() {
  return R"([{"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city", )"
         R"("parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])";
}

}  // namespace

TEST_CASE("a conversation goes on, is taken back, begins again, leaves") {
  ChatProgram chat(kNone);
  CHECK(contains(chat.until_prompt(), "/help"));
  CHECK(contains(chat.ask("I have a cat called Luna."), "OK."));
  const std::string asked = chat.ask("What is my cat called?");
  CHECK(contains(asked, "Your cat is called Luna."));
  CHECK(contains(asked, " reused)"));
  CHECK(chat.ask("/undo") == "");
  CHECK(contains(chat.ask("What is my cat called?"), "Your cat is called Luna."));
  CHECK(contains(chat.ask("/stats"), "4 messages"));
  CHECK(chat.ask("/clear") == "");
  CHECK(contains(chat.ask("/stats"), "0 messages"));
  CHECK(contains(chat.ask("/undo"), "no turn"));
  CHECK_FALSE(contains(chat.ask("What is my cat called?"), "Luna"));
  chat.type("/quit\n");
  CHECK(chat.end() == 0);
}

TEST_CASE("/help lists every command; what is no command says so") {
  ChatProgram chat(kNone);
  chat.until_prompt();
  const std::string help = "\n" + chat.ask("/help");
  for (const char* command :
       {"/help", "/think", "/system", "/save", "/load", "/tools", "/tool-choice", "/tool", "/budget", "/temperature",
        "/top-p", "/seed", "/max-tokens", "/undo", "/clear", "/show", "/stats", "/quit"})
    CHECK_MESSAGE(contains(help, std::string("\n  ") + command + " "), command);
  const std::string unknown = chat.ask("/sing a song");
  CHECK(contains(unknown, "/sing is not a command"));
  CHECK(contains(unknown, "/help"));
  CHECK(contains(chat.ask("/temperature warm"), "/temperature takes a number"));
  CHECK(contains(chat.ask("/temperature"), "/temperature needs a value"));
  CHECK(contains(chat.ask("/think low"), "none, high, max"));  // profile preview
  CHECK(contains(chat.ask("/load /no/such/file"), "DSV4_E_NOT_FOUND"));
  CHECK(contains(chat.ask("/quit now"), "takes no value"));
  CHECK(contains(chat.ask("//help"), "[prompt "));  // a message
}

TEST_CASE("settings of a turn") {
  ChatProgram chat(kNone);
  chat.until_prompt();
  CHECK(chat.ask("/max-tokens 2") == "");
  CHECK(contains(chat.ask("Hello!"), "answer 2 tokens"));
  CHECK(chat.ask("/max-tokens 0") == "");
  CHECK(chat.ask("/think high") == "");
  CHECK(chat.ask("/budget 5") == "");
  CHECK(contains(chat.ask("What is 12+34?"), "warning: the reasoning was closed"));
  CHECK(chat.ask("/temperature 2") == "");
  CHECK(chat.ask("/seed 77") == "");
  CHECK(contains(chat.ask("Hello!"), "seed 77"));
  CHECK(chat.ask("/system You are a helpful assistant.") == "");
  CHECK(contains(chat.ask("/show"),
                 "<｜begin▁of▁sentence｜>You are a helpful assistant.<｜User｜>Hello!<｜Assistant｜>"));
  CHECK(chat.ask("/system") == "");
  CHECK_FALSE(contains(chat.ask("/show"), "helpful"));
}

TEST_CASE("reasoning is dim, and colours can be refused") {
  Words arguments = {"--think", "high"};
  {
    ChatProgram chat(arguments);
    chat.until_prompt();
    const std::string shown = chat.ask("What is 12+34?");
    const size_t dim = shown.find("\033[2m"), plain = shown.find("\033[0m"), answer = shown.find("12+34=46.");
    REQUIRE(answer != std::string::npos);
    CHECK(dim < plain);
    CHECK(plain < answer);
    CHECK_FALSE(contains(shown.substr(answer), "\033"));
  }
  arguments.push_back("--no-color");
  {
    ChatProgram chat(arguments);
    chat.until_prompt();
    const std::string shown = chat.ask("What is 12+34?");
    CHECK(contains(shown, "Ones"));  // of the reasoning
    CHECK_FALSE(contains(shown, "\033["));
  }
  arguments.push_back("--hide-thinking");
  ChatProgram chat(arguments);
  chat.until_prompt();
  CHECK_FALSE(contains(chat.ask("What is 12+34?"), "Ones"));
}

TEST_CASE("tools: the call is shown, its result given, the answer follows; the file goes on elsewhere") {
  const TempFolder folder;
  write_text(folder.file("tools.json"), weather_tool());
  Words arguments = kNone;
  arguments.push_back("--no-color");
  {
    ChatProgram chat(arguments);
    chat.until_prompt();
    CHECK(contains(chat.ask("/tools"), "none"));
    CHECK(contains(chat.ask("/tools " + folder.file("tools.json")), "get_weather"));
    CHECK(chat.ask("/system You are a helpful assistant.") == "");
    const std::string called = chat.ask("What is the weather in Paris?");
    CHECK(contains(called, "[call 1: get_weather {\"city\": \"Paris\"}]\n"));
    CHECK(contains(called, "Call 1, get_weather"));
    CHECK(contains(chat.ask("/tool"), "Call 1, get_weather"));
    CHECK(contains(chat.ask("/tool 2 sunny"), "'2'"));
    CHECK(contains(chat.ask("/tool 1"), "its result"));
    CHECK(chat.ask("/save " + folder.file("talk.json")) == "");
    const std::string answered = chat.ask("/tool 1 {\"temperature\": 12, \"condition\": \"sunny\"}");
    CHECK(contains(answered, "It is 12 degrees and sunny in Paris.\n"));
    CHECK(contains(answered, " reused)"));
    CHECK(chat.ask("/tool") == "");
    CHECK(contains(chat.ask("/tool 1 again"), "no open call"));
  }
  const auto saved = nlohmann::json::parse(read_text(folder.file("talk.json")));
  REQUIRE(saved["messages"].size() == 3);
  const std::string id = saved["messages"][2]["tool_calls"][0]["id"];
  ChatProgram chat(arguments);
  chat.until_prompt();
  const std::string loaded = chat.ask("/load " + folder.file("talk.json"));
  CHECK(contains(loaded, "3 messages"));
  CHECK(contains(loaded, "Call 1, get_weather"));
  CHECK(contains(chat.ask("/tool " + id + " {\"temperature\": 12, \"condition\": \"sunny\"}"),
                 "It is 12 degrees and sunny in Paris.\n"));
}

TEST_CASE("Ctrl-C ends the answer, not the chat; twice at the prompt it leaves") {
  const auto tokenizer = nlohmann::json::parse(read_text(kTiny + "/tokenizer.json"));
  std::string end_of_turn;
  for (const auto& token : tokenizer["added_tokens"])
    if (token["content"] == "<｜end▁of▁sentence｜>") end_of_turn = token["id"].dump();
  Words arguments = kNone;
  arguments.insert(arguments.end(), {"--logit-bias", end_of_turn + ":-inf", "--context", "100000"});
  ChatProgram chat(arguments);
  chat.until_prompt();
  chat.type("Hello!\n");
  chat.until("Hello");  // the answer has begun, and would go on for long
  chat.type(kInterrupt);
  const std::string cut = chat.until_prompt();
  CHECK(contains(cut, "cancelled"));
  CHECK(contains(chat.ask("/stats"), "2 messages"));  // what there was of it is kept
  CHECK(chat.ask("/undo") == "");
  CHECK(chat.ask("/max-tokens 3") == "");
  CHECK(contains(chat.ask("Hello!"), "answer 3 tokens"));

  chat.type(kInterrupt);
  CHECK(contains(chat.until_prompt(), "Ctrl-C once more"));
  CHECK(contains(chat.ask("/stats"), "2 messages"));
  chat.type(kInterrupt);
  CHECK(contains(chat.until_prompt(), "Ctrl-C once more"));
  chat.type(kInterrupt);
  CHECK(chat.end() == 0);
}

TEST_CASE("a turn that fails takes its message back") {
  Words arguments = kNone;
  arguments.insert(arguments.end(), {"--context", "60"});
  ChatProgram chat(arguments);
  chat.until_prompt();
  std::string words = "Repeat:";
  for (int i = 0; i < 80; ++i) words += " apple";
  CHECK(contains(chat.ask(words), "DSV4_E_CONTEXT_FULL"));
  CHECK(contains(chat.ask("/stats"), "0 messages"));
  CHECK(contains(chat.ask("Hello!"), "How can I help you"));
  chat.type("\x04");
  CHECK(chat.end() == 0);
}
