// Random scripts over what a session driven by messages can do: append a message or a tool's result, generate in any
// reasoning mode with random options and tools, stops, pauses and cancels and what is resumed, an edited history, fork,
// snapshots, clear. The tokens of a session are held to two plain things: its prompt is, as text, what the conversation
// renders to, and what follows the prompt is what a fresh session that is given the prompt's ids generates from them.

#include <optional>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/script_fixture.h"

using namespace dsv4::api_test;
using nlohmann::json;

namespace {

constexpr uint64_t kContext = 900;
constexpr size_t kLongPrompt = 500;  // the history is cut then
constexpr size_t kMostTokens = 24;
const char* const kTexts[] = {"Hello!",          "What is 12+34?",      "My cat is called Luna.",   "Thanks",
                              "What is my cat?", "Grüße aus Köln, 你好", "<｜User｜> is not a token", "What is the weather in Paris?"};
const char* const kTools =
    R"([{"type":"function","function":{"name":"get_weather","description":"weather","parameters":{"type":"object",)"
    R"("properties":{"city":{"type":"string"}},"required":["city"]}}}])";

struct Conversation {
  dsv4_conversation* get = nullptr;
  explicit Conversation(dsv4_session* s) { REQUIRE(dsv4_session_conversation(s, &get, nullptr) == DSV4_OK); }
  explicit Conversation(const json& j) {
    const std::string text = j.dump();
    Failure f;
    const dsv4_status status = dsv4_conversation_from_json(text.data(), text.size(), &get, &f.error);
    INFO(f.text());
    REQUIRE(status == DSV4_OK);
  }
  ~Conversation() { dsv4_conversation_release(&get); }
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  json content() const {
    size_t n = 0;
    REQUIRE(dsv4_conversation_json(get, nullptr, 0, &n, nullptr) == DSV4_OK);
    std::string text(n, ' ');
    REQUIRE(dsv4_conversation_json(get, text.data(), n, &n, nullptr) == DSV4_OK);
    return json::parse(text);
  }
};

json content_of(dsv4_session* s) { return Conversation(s).content(); }

struct Bench {
  ModelHandle model;
  size_t vocab = dsv4::api_test::vocab();
  int turns = 0, prompts = 0, streams = 0, resumed = 0, cancelled = 0, refused = 0;
  explicit Bench(const char* backend) : model(open(backend)) {}
  static ModelHandle open(const char* backend) {
    dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
    o.backend = backend;
    o.threads = std::string(backend) == "cpu" ? 1 : 0;
    return ModelHandle(kTiny, &o);
  }
};

class Script {
 public:
  Script(Bench& bench, uint32_t seed) : bench_(bench), plain_(bench.model.get, kContext, bench.vocab, false), random_(seed) {}

  void run() {
    for (int i = 0; i < 2; ++i) places_.push_back({fresh(), {}, {}});
    const size_t steps = random_.between(4, 10);
    for (size_t i = 0; i < steps; ++i) {
      step(any());
      for (Place& p : places_) {
        CHECK(tokens_of(p.s.get()) == p.ids);
        if (session_info(p.s.get()).interrupted == 0) p.open.reset();
        CHECK((session_info(p.s.get()).interrupted != 0) == p.open.has_value());
      }
    }
  }

 private:
  struct Turn {
    Ids whole;
    size_t prompt = 0, most = 0;
    dsv4_logits_fn edit = nullptr;
  };
  struct Place {
    Owned s;
    Ids ids;
    std::optional<Turn> open;
  };

  Owned fresh() { return make_session(bench_.model.get, kContext, 1, static_cast<int32_t>(random_.below(3)) - 1, 0); }
  Place& any() { return places_[random_.below(places_.size())]; }
  const char* text() { return kTexts[random_.below(std::size(kTexts))]; }

  void step(Place& place) {
    if (place.open && random_.one_in(2)) return resume(place);
    switch (random_.below(10)) {
      case 0: say(place, random_.one_in(4) ? DSV4_ROLE_SYSTEM : DSV4_ROLE_USER); break;
      case 1: edit(place); break;
      case 2: fork(place); break;
      case 3: snapshot(place); break;
      case 4: random_.one_in(3) ? clear(place) : say(place, DSV4_ROLE_USER); break;
      default: answer(place);
    }
  }

  void say(Place& place, int32_t role) {
    REQUIRE(dsv4_session_append_message(place.s.get(), role, text(), DSV4_NUL_TERMINATED, nullptr) == DSV4_OK);
  }

  // What a host with a history of its own does: an earlier message changed, the end taken away, tools added.
  void edit(Place& place) {
    json j = content_of(place.s.get());
    json& messages = j["messages"];
    if (!messages.empty()) {
      const size_t keep = random_.below(messages.size() + 1);
      while (messages.size() > keep) messages.erase(messages.size() - 1);
    }
    if (!messages.empty() && random_.one_in(2)) {
      json& message = messages[random_.below(messages.size())];
      if (message.contains("content") && message["content"].is_string() && message["role"] != "tool") {
        message["content"] = text();
      }
    }
    if (random_.one_in(2)) j["tools"] = json::parse(kTools);
    messages.push_back({{"role", "user"}, {"content", text()}});
    const Conversation edited(j);
    REQUIRE(dsv4_session_set_conversation(place.s.get(), edited.get, nullptr) == DSV4_OK);
  }

  void fork(Place& place) {
    Owned copy = fork_of(place.s.get());
    CHECK(content_of(copy.get()) == content_of(place.s.get()));
    const Ids ids = place.ids;
    const std::optional<Turn> open = place.open;
    any() = {std::move(copy), ids, open};
  }

  void snapshot(Place& place) {
    const Bytes bytes = save(place.s.get(), random_.one_in(2));
    const json content = content_of(place.s.get());
    const Ids ids = place.ids;
    const std::optional<Turn> open = place.open;
    Place& other = any();
    if (random_.one_in(3)) other = {fresh(), {}, {}};
    REQUIRE(restore(other.s.get(), bytes) == DSV4_OK);
    other.ids = ids;
    other.open = open;
    CHECK(content_of(other.s.get()) == content);
  }

  void clear(Place& place) {
    REQUIRE(dsv4_session_clear(place.s.get(), nullptr) == DSV4_OK);
    place.ids.clear();
  }

  // A place that has something to answer.
  void ask(Place& place) {
    const json j = content_of(place.s.get());
    if (place.ids.size() > kLongPrompt) return edit_to_nothing(place);
    const json& messages = j["messages"];
    if (messages.empty() || messages.back()["role"] == "system") return say(place, DSV4_ROLE_USER);
    if (messages.back()["role"] != "assistant") return;
    const json calls = messages.back().value("tool_calls", json::array());
    if (calls.empty()) return say(place, DSV4_ROLE_USER);
    for (const json& call : calls) {
      REQUIRE(dsv4_session_append_tool_result(place.s.get(), call["id"].get<std::string>().c_str(), "22 degrees",
                                              DSV4_NUL_TERMINATED, nullptr) == DSV4_OK);
    }
  }
  void edit_to_nothing(Place& place) {
    const Conversation next(json{{"messages", {{{"role", "user"}, {"content", text()}}}}});
    REQUIRE(dsv4_session_set_conversation(place.s.get(), next.get, nullptr) == DSV4_OK);
  }

  void answer(Place& place) {
    ask(place);
    RandomOptions options(random_, bench_.vocab, 16);
    options.o.reasoning = static_cast<int32_t>(random_.below(5));
    if (random_.one_in(4)) options.o.reasoning_budget = random_.between(1, 10);
    const char* const stop = "e";
    if (random_.one_in(4)) {
      options.o.stop = &stop;
      options.o.stop_count = 1;
    }
    const bool polled = random_.one_in(3);
    if (polled) options.o.logits = nullptr;
    const std::string prompt = rendered(place.s.get(), options.o.reasoning);
    if (prompt.empty()) return refused(place, options.get());
    ++bench_.turns;
    take_turn(place, {{}, 0, options.o.max_tokens, options.o.logits}, *options.get(), polled, &prompt);
  }

  // "" where the profile has no such mode.
  std::string rendered(dsv4_session* s, int32_t reasoning) {
    const Conversation c(s);
    dsv4_render_options o = DSV4_RENDER_OPTIONS_INIT;
    o.reasoning = reasoning;
    size_t n = 0;
    if (dsv4_render_tokens(bench_.model.get, c.get, &o, nullptr, 0, &n, nullptr) != DSV4_OK) return {};
    Ids ids(n);
    REQUIRE(dsv4_render_tokens(bench_.model.get, c.get, &o, ids.data(), n, &n, nullptr) == DSV4_OK);
    return text_of(ids);
  }
  std::string text_of(const Ids& ids) {
    size_t n = 0;
    REQUIRE(dsv4_detokenize(bench_.model.get, ids.data(), ids.size(), DSV4_TEXT_SPECIAL, nullptr, 0, &n, nullptr) ==
            DSV4_OK);
    std::string text(n, ' ');
    REQUIRE(dsv4_detokenize(bench_.model.get, ids.data(), ids.size(), DSV4_TEXT_SPECIAL, text.data(), n, &n, nullptr) ==
            DSV4_OK);
    return text;
  }

  void refused(Place& place, const dsv4_generate_options* o) {
    const json before = content_of(place.s.get());
    Host host{place.s.get()};
    CHECK(generate(host, o, false, random_) != DSV4_OK);
    CHECK(content_of(place.s.get()) == before);
    ++bench_.refused;
  }

  void resume(Place& place) {
    Turn turn = *place.open;
    dsv4_generate_options o = DSV4_GENERATE_OPTIONS_INIT;
    o.resume = 1;
    o.logits = turn.edit;
    if (place.ids.size() >= turn.prompt + turn.most || random_.one_in(3)) {
      o.max_tokens = turn.most = turn.most + random_.between(1, 6);
    }
    if (turn.most > kMostTokens) return;
    ++bench_.resumed;
    take_turn(place, turn, o, turn.edit == nullptr && random_.one_in(3), nullptr);
  }

  // The prompt's text is known where the turn is a new one.
  void take_turn(Place& place, Turn turn, const dsv4_generate_options& o, bool polled, const std::string* prompt) {
    Host host{place.s.get()};
    host.way = static_cast<Host::Way>(random_.one_in(3) ? 0 : random_.below(5));
    host.events_left = random_.below(12);
    Failure f;
    const dsv4_status status = generate(host, &o, polled, random_, &f.error);
    INFO(f.text());
    REQUIRE((status == DSV4_OK || status == DSV4_E_CANCELLED));
    CHECK(host.done == 1);
    bench_.cancelled += status == DSV4_E_CANCELLED;
    const Ids now = tokens_of(place.s.get());
    if (host.way == Host::Way::kTakeBack && host.acted && status == DSV4_E_CANCELLED) {
      CHECK(now == place.ids);
      return;
    }
    if (prompt != nullptr) {
      turn.prompt = host.stats.prompt_tokens;
      REQUIRE(turn.prompt <= now.size());
      const Ids given = cut(now, turn.prompt);
      CHECK(text_of(given) == *prompt);
      ++bench_.prompts;
      dsv4_generate_options same = o;
      same.reasoning = DSV4_REASONING_DEFAULT;  // it is in the prompt
      same.max_tokens = kMostTokens;
      turn.whole = plain_.generate(given, &same);
    }
    CHECK(begins_with(turn.whole, now));
    CHECK(now.size() == turn.prompt + host.stats.generated_tokens);
    if (!host.acted) {
      CHECK(now.size() == std::min(turn.prompt + turn.most, turn.whole.size()));
      ++bench_.streams;
    }
    place.ids = now;
    place.open.reset();
    if (session_info(place.s.get()).interrupted != 0) place.open = std::move(turn);
  }

  Bench& bench_;
  PlainModel plain_;
  Random random_;
  std::vector<Place> places_;
};

void run_scripts(uint32_t scripts, uint32_t first_seed) {
  for (const char* backend : {"cpu", "reference"}) {
    Bench bench(backend);
    const std::string name = backend;
    CAPTURE(name);
    const uint32_t count = name == "cpu" ? scripts * 3 / 4 : scripts / 4;
    for (uint32_t n = 0; n < count; ++n) {
      const uint32_t seed = first_seed + n;
      CAPTURE(seed);
      Script(bench, seed).run();
    }
    MESSAGE(name << ": " << count << " scripts; turns " << bench.turns << ", resumed " << bench.resumed << ", prompts "
                 << bench.prompts << " and whole streams " << bench.streams << " compared, cancelled " << bench.cancelled
                 << ", refused " << bench.refused);
  }
}

}  // namespace

TEST_CASE("random conversations: the prompt is what renders, the answer what its ids give") { run_scripts(24, 1); }

// DSV4_SCRIPTS=1000 DSV4_SEED=5000 message_scripts_test --no-skip -tc='as many*'
TEST_CASE("as many conversations as one likes" * doctest::skip()) {
  run_scripts(number_from("DSV4_SCRIPTS", 2000), number_from("DSV4_SEED", 1000000));
}
