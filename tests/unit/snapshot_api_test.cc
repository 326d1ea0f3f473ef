// A session that was saved and restored goes on as if nothing had happened: bit for bit on one backend, with the same
// rows on another, in the middle of a conversation too.

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#ifndef _WIN32
#include <sys/resource.h>
#endif

#include "tests/unit/snapshot_fixture.h"

using namespace dsv4::api_test;
namespace fs = std::filesystem;

namespace {

const std::vector<int32_t>& ids() {
  static const std::vector<int32_t> all = [] {
    std::mt19937 random(31);
    std::vector<int32_t> out(760);
    for (int32_t& id : out) id = static_cast<int32_t>(random() % vocab());
    return out;
  }();
  return all;
}

using Owned = std::unique_ptr<dsv4_session, void (*)(dsv4_session*)>;
Owned make(dsv4_model* m, uint32_t flags = 0, uint64_t context = 768, int32_t chunk = 1) {
  dsv4_session_options o = DSV4_SESSION_OPTIONS_INIT;
  o.context = context;
  o.prefill_chunk = chunk;
  o.flags = flags;
  dsv4_session* s = nullptr;
  REQUIRE(dsv4_session_create(m, &o, &s, nullptr) == DSV4_OK);
  return Owned(s, [](dsv4_session* p) { dsv4_session_release(&p); });
}

struct Rows {
  std::vector<float> logits, draft;
};

// Evaluates ids [from, to) and returns what they predict.
Rows evaluate(dsv4_session* s, size_t from, size_t to, bool draft) {
  Rows rows;
  rows.logits.resize((to - from) * vocab());
  if (draft) rows.draft.resize(rows.logits.size());
  dsv4_eval_options o = DSV4_EVAL_OPTIONS_INIT;
  o.logits = rows.logits.data();
  o.draft_logits = draft ? rows.draft.data() : nullptr;
  REQUIRE(dsv4_session_eval(s, ids().data() + from, to - from, &o, nullptr) == DSV4_OK);
  return rows;
}

ModelHandle& model_on(const char* backend) {
  static const auto open = [](const char* name) {
    dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
    o.backend = name;
    return ModelHandle(kTiny, &o);
  };
  static ModelHandle cpu = open("cpu"), reference = open("reference");
  return std::string(backend) == "cpu" ? cpu : reference;
}

struct TempFolder {
  fs::path path = fs::temp_directory_path() / ("dsv4_snapshot_" + std::to_string(std::random_device{}()));
  TempFolder() { fs::create_directory(path); }
  ~TempFolder() { fs::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
  size_t count() const { return static_cast<size_t>(std::distance(fs::directory_iterator(path), {})); }
};

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("restored at any length, a session goes on bit for bit") {
  constexpr size_t kAhead = 6, kEnd = 700 + kAhead;
  for (const uint32_t flags : {0u, static_cast<uint32_t>(DSV4_SESSION_DRAFT)}) {
    CAPTURE(flags);
    const bool draft = flags != 0;
    const Owned whole = make(model().get, flags);
    struct Saved {
      size_t length;
      Bytes bytes;
      std::vector<float> logits;
    };
    std::vector<Saved> saved;
    Rows all;
    size_t done = 0;
    for (const size_t length : {size_t{0}, size_t{1}, size_t{3}, size_t{4}, size_t{5}, size_t{127}, size_t{128},
                                size_t{129}, size_t{300}, size_t{700}, kEnd}) {
      const Rows more = evaluate(whole.get(), done, length, draft);
      all.logits.insert(all.logits.end(), more.logits.begin(), more.logits.end());
      all.draft.insert(all.draft.end(), more.draft.begin(), more.draft.end());
      saved.push_back({length, save(whole.get()), length != 0 ? logits_of(whole.get()) : std::vector<float>()});
      done = length;
    }
    saved.pop_back();
    for (const Saved& s : saved) {
      CAPTURE(s.length);
      const Owned copy = make(model().get, flags);
      evaluate(copy.get(), 0, 2, false);  // what it held before is gone
      Failure f;
      const dsv4_status status = restore(copy.get(), s.bytes, &f);
      INFO(f.text());
      REQUIRE(status == DSV4_OK);
      CHECK(session_info(copy.get()).tokens == s.length);
      CHECK(session_info(copy.get()).evaluated == s.length);
      if (s.length != 0) CHECK(same_bits(logits_of(copy.get()), s.logits));
      CHECK(save(copy.get()) == s.bytes);
      const Rows got = evaluate(copy.get(), s.length, s.length + kAhead, draft);
      const auto want = [&](const std::vector<float>& rows) {
        const auto from = rows.begin() + static_cast<std::ptrdiff_t>(s.length * vocab());
        return std::vector<float>(from, from + static_cast<std::ptrdiff_t>(kAhead * vocab()));
      };
      CHECK(same_bits(got.logits, want(all.logits)));
      if (draft) CHECK(same_bits(got.draft, want(all.draft)));
    }
  }
}

TEST_CASE("waiting tokens and a place that was rewound to are saved as they are") {
  const Owned s = make(model().get);
  evaluate(s.get(), 0, 140, false);
  REQUIRE(dsv4_session_rewind(s.get(), 133, nullptr) == DSV4_OK);
  REQUIRE(dsv4_session_append_tokens(s.get(), ids().data() + 133, 10, nullptr) == DSV4_OK);
  const Owned copy = make(model().get);
  REQUIRE(restore(copy.get(), save(s.get())) == DSV4_OK);
  CHECK(session_info(copy.get()).tokens == 143);
  CHECK(session_info(copy.get()).evaluated == 133);
  for (dsv4_session* p : {s.get(), copy.get()}) {
    REQUIRE(dsv4_session_eval(p, nullptr, 0, nullptr, nullptr) == DSV4_OK);
  }
  CHECK(same_bits(logits_of(copy.get()), logits_of(s.get())));
  const Owned straight = make(model().get);
  evaluate(straight.get(), 0, 143, false);
  CHECK(same_bits(logits_of(copy.get()), logits_of(straight.get())));
  // Back to where it was restored: from the checkpoint there, not from the beginning.
  REQUIRE(dsv4_session_eval(copy.get(), ids().data() + 143, 40, nullptr, nullptr) == DSV4_OK);
  REQUIRE(dsv4_session_rewind(copy.get(), 140, nullptr) == DSV4_OK);
  CHECK(session_info(copy.get()).evaluated == 133);
}

TEST_CASE("a conversation goes on with the same ids and evaluates nothing again") {
  for (const int32_t mode : {DSV4_REASONING_NONE, DSV4_REASONING_HIGH}) {
    CAPTURE(mode);
    SessionHandle s(model().get), copy(model().get);
    s.say("My cat is called Luna. I live in Oslo.");
    Answer first;
    REQUIRE(ask(s, first, greedy(mode)) == DSV4_OK);
    const Bytes bytes = save(s.get);
    REQUIRE(restore(copy.get, bytes) == DSV4_OK);
    CHECK(copy.tokens() == s.tokens());
    CHECK(save(copy.get) == bytes);
    dsv4_generate_stats stats[2] = {};
    Answer answers[2];
    SessionHandle* both[2] = {&s, &copy};
    for (int i = 0; i < 2; ++i) {
      stats[i].struct_size = sizeof stats[i];
      both[i]->say("What is my cat called?");
      REQUIRE(ask(*both[i], answers[i], greedy(mode), &stats[i]) == DSV4_OK);
    }
    CHECK(copy.tokens() == s.tokens());
    CHECK(answers[1].content == answers[0].content);
    CHECK(answers[1].reasoning == answers[0].reasoning);
    CHECK(stats[1].prompt_tokens == stats[0].prompt_tokens);
    CHECK(stats[1].reused_tokens == stats[0].reused_tokens);
    CHECK(stats[0].reused_tokens > 0);
  }
}

TEST_CASE("a conversation with tools, calls and everything else comes back whole") {
  const char* const json =
      R"({"messages": [{"role": "system", "content": "S", "tools": [{"type": "function", "function": {"name": "f",)"
      R"( "parameters": {"type": "object"}}}]}, {"role": "user", "content": "ü"}, {"role": "assistant",)"
      R"( "reasoning_content": "r", "content": null, "tool_calls": [{"id": "1", "type": "function", "function":)"
      R"( {"name": "f", "arguments": "{\"a\": 1.50}"}}]}, {"role": "tool", "content": "x", "tool_call_id": "1"}],)"
      R"( "tool_choice": "none", "response_format": {"type": "json_object"}, "thinking": {"type": "enabled"},)"
      R"( "reasoning_effort": "high"})";
  dsv4_conversation* c = nullptr;
  REQUIRE(dsv4_conversation_from_json(json, DSV4_NUL_TERMINATED, &c, nullptr) == DSV4_OK);
  SessionHandle s(model().get), copy(model().get);
  REQUIRE(dsv4_session_set_conversation(s.get, c, nullptr) == DSV4_OK);
  dsv4_conversation_release(&c);
  REQUIRE(restore(copy.get, save(s.get)) == DSV4_OK);
  std::string texts[2];
  SessionHandle* both[2] = {&s, &copy};
  for (int i = 0; i < 2; ++i) {
    REQUIRE(dsv4_session_conversation(both[i]->get, &c, nullptr) == DSV4_OK);
    size_t n = 0;
    REQUIRE(dsv4_conversation_json(c, nullptr, 0, &n, nullptr) == DSV4_OK);
    texts[i].resize(n);
    REQUIRE(dsv4_conversation_json(c, texts[i].data(), n, &n, nullptr) == DSV4_OK);
    dsv4_conversation_release(&c);
  }
  CHECK(texts[1] == texts[0]);
  CHECK(texts[0].find("1.50") != std::string::npos);
  Failure f;
  CHECK(dsv4_session_append_tokens(copy.get, ids().data(), 1, &f.error) == DSV4_E_INVALID_ARGUMENT);
}

TEST_CASE("from one backend to the other and back: the same rows, and logits that are close") {
  const char* const names[] = {"cpu", "reference"};
  for (int from = 0; from < 2; ++from) {
    CAPTURE(names[from]);
    const Owned a = make(model_on(names[from]).get, DSV4_SESSION_DRAFT, 768, 64);
    const Owned b = make(model_on(names[1 - from]).get, DSV4_SESSION_DRAFT, 768, 64);
    evaluate(a.get(), 0, 150, false);
    const Bytes bytes = save(a.get(), false);
    REQUIRE(restore(b.get(), bytes) == DSV4_OK);
    CHECK(save(b.get(), false) == bytes);
    const Rows want = evaluate(a.get(), 150, 152, true), got = evaluate(b.get(), 150, 152, true);
    double dot = 0, norm_want = 0, norm_got = 0;
    for (size_t i = 0; i < want.logits.size(); ++i) {
      dot += static_cast<double>(want.logits[i]) * got.logits[i];
      norm_want += static_cast<double>(want.logits[i]) * want.logits[i];
      norm_got += static_cast<double>(got.logits[i]) * got.logits[i];
    }
    CHECK(dot / std::sqrt(norm_want * norm_got) > 0.99);
  }
}

TEST_CASE("every level, and none, gives the same session") {
  const Owned s = make(model().get, 0, 768, 0);
  evaluate(s.get(), 0, 500, false);
  const Bytes plain = save(s.get(), false);
  for (const int32_t level : {-7, -1, 0, 1, 3, 19}) {
    CAPTURE(level);
    const Bytes bytes = save(s.get(), true, level);
    CHECK(bytes.size() <= plain.size());
    const Owned copy = make(model().get);
    REQUIRE(restore(copy.get(), bytes) == DSV4_OK);
    CHECK(save(copy.get(), false) == plain);
  }
  CHECK(save(s.get(), true, 19).size() < plain.size() * 19 / 20);  // or nothing was compressed
  dsv4_snapshot_options o = DSV4_SNAPSHOT_OPTIONS_INIT;
  o.level = 20;
  Collector c;
  CHECK(dsv4_session_save(s.get(), Collector::write, &c, &o, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(c.bytes.empty());
}

TEST_CASE("files: beside and renamed, peek, and what was there before") {
  const TempFolder folder;
  const std::string path = folder.file("session.dsv4");
  const Owned s = make(model().get, DSV4_SESSION_DRAFT);
  evaluate(s.get(), 0, 20, false);
  REQUIRE(dsv4_session_save_path(s.get(), path.c_str(), nullptr, nullptr) == DSV4_OK);
  CHECK(folder.count() == 1);
  dsv4_snapshot_info info{};
  info.struct_size = sizeof info;
  REQUIRE(dsv4_snapshot_peek_path(path.c_str(), &info, nullptr) == DSV4_OK);
  CHECK(info.tokens == 20);
  CHECK(info.evaluated == 20);
  CHECK(info.context == 768);
  CHECK(info.vocab == static_cast<int64_t>(vocab()));
  CHECK(info.format_version == 1);
  CHECK(info.driven == DSV4_DRIVEN_BY_TOKENS);
  CHECK(info.draft == 1);
  CHECK(info.state_bytes > 0);
  const Owned copy = make(model().get, DSV4_SESSION_DRAFT);
  REQUIRE(dsv4_session_restore_path(copy.get(), path.c_str(), nullptr) == DSV4_OK);
  CHECK(same_bits(logits_of(copy.get()), logits_of(s.get())));

  // Over an existing one.
  const std::string before = content(path);
  evaluate(s.get(), 20, 21, false);
  REQUIRE(dsv4_session_save_path(s.get(), path.c_str(), nullptr, nullptr) == DSV4_OK);
  CHECK(content(path) != before);
  CHECK(folder.count() == 1);

  Failure f, g, h, i, j;
  const std::string nowhere = folder.file("no/such/folder.dsv4");
  CHECK(dsv4_session_save_path(s.get(), nowhere.c_str(), nullptr, &f.error) == DSV4_E_NOT_FOUND);
  CHECK(f.text().find(nowhere) != std::string::npos);
  CHECK(dsv4_session_restore_path(copy.get(), nowhere.c_str(), &g.error) == DSV4_E_NOT_FOUND);
  CHECK(dsv4_snapshot_peek_path(nowhere.c_str(), &info, &h.error) == DSV4_E_NOT_FOUND);
  CHECK(dsv4_session_restore_path(copy.get(), folder.path.string().c_str(), &i.error) == DSV4_E_IO);
  // A folder where the file should go: the new file cannot take its name, and is gone again.
  fs::create_directory(folder.path / "taken");
  fs::create_directory(folder.path / "taken" / "inside");
  const size_t entries = folder.count();
  CHECK(dsv4_session_save_path(s.get(), folder.file("taken").c_str(), nullptr, &j.error) == DSV4_E_IO);
  CHECK(folder.count() == entries);
  // A file that is longer than its snapshot is one that something else was done to.
  std::ofstream(path, std::ios::binary | std::ios::app) << "x";
  Failure k;
  CHECK(dsv4_session_restore_path(copy.get(), path.c_str(), &k.error) == DSV4_E_CORRUPT);
}

#ifndef _WIN32  // which has no such limit
TEST_CASE("a path keeps what it held when saving fails") {
  const TempFolder folder;
  const std::string path = folder.file("session.dsv4");
  const Owned s = make(model().get);
  evaluate(s.get(), 0, 20, false);
  REQUIRE(dsv4_session_save_path(s.get(), path.c_str(), nullptr, nullptr) == DSV4_OK);
  const std::string before = content(path);
  evaluate(s.get(), 20, 40, false);
  // As a full disk does: the system refuses what goes beyond so many bytes of a file.
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{100}, static_cast<rlim_t>(before.size() / 2)}) {
    CAPTURE(bytes);
    const rlimit small{bytes, old.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    Failure f;
    const dsv4_status status = dsv4_session_save_path(s.get(), path.c_str(), nullptr, &f.error);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK(status == DSV4_E_IO);
    CHECK(f.text().find(path) != std::string::npos);
    CHECK(content(path) == before);
    CHECK(folder.count() == 1);
  }
  std::signal(SIGXFSZ, handler);
}
#endif

TEST_CASE("host_memory_limit counts both states while a session is restored") {
  SessionHandle probe(model().get, 512);
  dsv4_model_options o = DSV4_MODEL_OPTIONS_INIT;
  o.host_memory_limit = session_info(probe.get).state_bytes * 3 / 2;
  ModelHandle limited(kTiny, &o);
  SessionHandle s(limited.get, 512);
  REQUIRE(dsv4_session_eval(s.get, ids().data(), 9, nullptr, nullptr) == DSV4_OK);
  const Bytes bytes = save(s.get);
  Failure f;
  CHECK(restore(s.get, bytes, &f) == DSV4_E_OUT_OF_MEMORY_HOST);
  CHECK(session_info(s.get).tokens == 9);
  REQUIRE(restore(probe.get, bytes) == DSV4_OK);
  for (int i = 0; i < 4; ++i) REQUIRE(restore(probe.get, bytes) == DSV4_OK);  // nothing stays behind
}
