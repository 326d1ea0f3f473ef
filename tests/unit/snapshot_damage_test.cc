// What is not a whole, fitting snapshot is refused with its own status, and leaves the session as it was: cut short
// anywhere, any bit turned, of another model, of another format, written by somebody who can compute checksums too.

#include <algorithm>
#include <random>
#include <string>

#include "tests/support/sanitizers.h"
#include "tests/unit/snapshot_fixture.h"

using namespace dsv4::api_test;
using namespace dsv4::snapshot;

namespace {

constexpr size_t kIds[] = {17, 230, 99};

// A session with something in it, that must stay.
struct Victim {
  SessionHandle session;
  std::vector<int32_t> ids;
  std::vector<float> logits;
  explicit Victim(uint32_t flags = 0, uint64_t context = 64) : session(model().get, context, flags) {
    const int32_t own[] = {5, 6, 7, 8, 9};
    REQUIRE(dsv4_session_eval(session.get, own, 5, nullptr, nullptr) == DSV4_OK);
    ids = session.tokens();
    logits = logits_of(session.get);
  }
  dsv4_status restore_from(const Bytes& bytes, std::string* text = nullptr) {
    Failure f;
    const dsv4_status status = restore(session.get, bytes, &f);
    if (text != nullptr) *text = f.text();
    return status;
  }
  bool unchanged() { return session.tokens() == ids && same_bits(logits_of(session.get), logits); }
};

Bytes small_snapshot(uint32_t flags = 0, bool compress = true) {
  SessionHandle s(model().get, 64, flags);
  std::vector<int32_t> ids(std::begin(kIds), std::end(kIds));
  REQUIRE(dsv4_session_eval(s.get, ids.data(), ids.size(), nullptr, nullptr) == DSV4_OK);
  return save(s.get, compress);
}

Bytes conversation_snapshot() {
  SessionHandle s(model().get, 256);
  s.say("Hi");
  Answer a;
  dsv4_generate_options o = greedy(DSV4_REASONING_NONE);
  o.max_tokens = 3;
  REQUIRE(ask(s, a, o) == DSV4_OK);
  return save(s.get);
}

Place section_of(const Bytes& bytes, SectionType type) {
  for (const Place& p : find_sections(bytes)) {
    if (p.header.is(type)) return p;
  }
  FAIL("no such section");
  return {};
}

// Where a snapshot with a conversation begins to differ in kind from one without.
size_t new_from(const Bytes& bytes) {
  for (const Place& p : find_sections(bytes)) {
    if (p.header.is(SectionType::kConversation)) return p.at;
  }
  return 0;
}

}  // namespace

TEST_CASE("the end of the snapshot is where its reader stops, and reads may be as short as they like") {
  Bytes bytes = small_snapshot();
  const size_t size = bytes.size();
  bytes.resize(size + 100);
  for (const size_t most : {size_t{1}, size_t{3}, size_t{7}, size_t{1009}, SIZE_MAX}) {
    CAPTURE(most);
    SessionHandle s(model().get, 64);
    Feeder feeder(bytes);
    feeder.most = most;
    REQUIRE(dsv4_session_restore(s.get, Feeder::read, &feeder, nullptr) == DSV4_OK);
    CHECK(feeder.at == size);
    CHECK(s.tokens().size() == std::size(kIds));
  }
}

TEST_CASE("cut short at any byte") {
  for (const Bytes& bytes : {small_snapshot(), conversation_snapshot()}) {
    Victim victim(0, 256);
    size_t wrong = 0;
    for (size_t size = new_from(bytes); size < bytes.size(); size += dsv4::test::kSanitized ? 5 : 1) {
      Feeder feeder(bytes);
      feeder.size = size;
      wrong += dsv4_session_restore(victim.session.get, Feeder::read, &feeder, nullptr) != DSV4_E_CORRUPT;
    }
    CHECK(wrong == 0);
    CHECK(victim.unchanged());
    CHECK(victim.restore_from(bytes) == DSV4_OK);
  }
}

TEST_CASE("any bit turned") {
  for (Bytes bytes : {small_snapshot(), small_snapshot(0, false), conversation_snapshot()}) {
    Victim victim(0, 256);
    std::vector<bool> head(bytes.size());  // of the file or of a section: every bit of it is tried
    const std::vector<Place> places = find_sections(bytes);
    std::fill_n(head.begin(), places.front().at, true);
    for (const Place& p : places) std::fill_n(head.begin() + static_cast<std::ptrdiff_t>(p.at), kSectionBytes, true);
    std::mt19937 random(2);
    size_t wrong = 0;
    const size_t begin = new_from(bytes), most = begin != 0 ? 8 : 1;  // of the rows in a mark only some
    for (size_t at = begin; at < bytes.size(); at += head[at] || at < begin + 2000 ? 1 : most) {
      const int only = static_cast<int>(random() % 8);
      for (int bit = 0; bit < 8; bit += dsv4::test::kSanitized ? 5 : 1) {
        if (!head[at] && bit != only) continue;
        bytes[at] ^= static_cast<uint8_t>(1 << bit);
        wrong += victim.restore_from(bytes) != DSV4_E_CORRUPT;
        bytes[at] ^= static_cast<uint8_t>(1 << bit);
      }
    }
    CHECK(wrong == 0);
    CHECK(victim.unchanged());
    CHECK(victim.restore_from(bytes) == DSV4_OK);
  }
}

TEST_CASE("something else altogether") {
  Victim victim;
  std::string text;
  CHECK(victim.restore_from({}, &text) == DSV4_E_CORRUPT);
  CHECK(victim.restore_from(Bytes(1000), &text) == DSV4_E_CORRUPT);
  CHECK(text.find("not a snapshot") != std::string::npos);
  CHECK(victim.unchanged());
}

TEST_CASE("another model, format, layout or size") {
  const Bytes good = small_snapshot();
  Victim victim;
  std::string text;

  Bytes b = good;
  put_number(b, 8, 2, 4);
  fix_checksums(b);
  CHECK(victim.restore_from(b, &text) == DSV4_E_UNSUPPORTED);
  CHECK(text.find("version 2") != std::string::npos);

  for (const char* golden : {"micro", "flash"}) {
    ModelHandle other((std::string(DSV4_TEST_DATA) + "/golden/" + golden).c_str());
    SessionHandle s(other.get, 64);
    Failure f;
    CHECK(restore(s.get, good, &f) == DSV4_E_INCOMPATIBLE);
    CHECK(f.text().find("another model") != std::string::npos);
    CHECK(s.tokens().empty());
    // The same with the other's fingerprint: the layout does not fit either.
    dsv4_model_info info{};
    info.struct_size = sizeof info;
    REQUIRE(dsv4_model_info_get(other.get, &info, nullptr) == DSV4_OK);
    b = good;
    put_number(b, 16, info.fingerprint, 8);
    put_number(b, 56, static_cast<uint64_t>(info.vocab), 4);
    fix_checksums(b);
    CHECK(restore(s.get, b) == DSV4_E_INCOMPATIBLE);
  }

  CHECK(victim.restore_from(small_snapshot(DSV4_SESSION_DRAFT), &text) == DSV4_E_INCOMPATIBLE);
  CHECK(text.find("DSV4_SESSION_DRAFT") != std::string::npos);
  Victim with_draft(DSV4_SESSION_DRAFT);
  CHECK(with_draft.restore_from(good) == DSV4_E_INCOMPATIBLE);
  CHECK(with_draft.unchanged());

  SessionHandle tight(model().get, 2);
  Failure f;
  CHECK(restore(tight.get, good, &f) == DSV4_E_CONTEXT_FULL);
  SessionHandle enough(model().get, 3);
  CHECK(restore(enough.get, good) == DSV4_OK);
  CHECK(victim.unchanged());
}

TEST_CASE("right checksums over wrong contents") {
  const Bytes good = small_snapshot(0, false);
  Victim victim;
  const auto status_after = [&](size_t at, uint64_t value, size_t size) {
    Bytes b = good;
    put_number(b, at, value, size);
    fix_checksums(b);
    return victim.restore_from(b);
  };
  // The header: tokens, evaluated, context, state bytes, vocabulary, profile, drive, window, layers, chunks.
  CHECK(status_after(24, 4, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(24, UINT64_MAX, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(24, 65, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(32, 4, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(32, 2, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(40, 2, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(48, 1, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(56, 7, 4) == DSV4_E_INCOMPATIBLE);
  CHECK(status_after(60, 9, 4) == DSV4_E_CORRUPT);
  CHECK(status_after(64, UINT32_MAX, 4) == DSV4_E_CORRUPT);
  CHECK(status_after(64, DSV4_DRIVEN_BY_MESSAGES, 4) == DSV4_E_CORRUPT);
  CHECK(status_after(68, 1, 4) == DSV4_E_INCOMPATIBLE);
  CHECK(status_after(76, 1, 4) == DSV4_E_CORRUPT);
  CHECK(status_after(80, 1, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(96 + 4, 1 << 19, 4) == DSV4_E_CORRUPT);

  const Place tokens = section_of(good, SectionType::kTokens), state = section_of(good, SectionType::kState);
  const Place logits = section_of(good, SectionType::kLogits);
  const size_t content = tokens.at + kSectionBytes;
  CHECK(status_after(content, UINT32_MAX, 4) == DSV4_E_CORRUPT);
  CHECK(status_after(content, 1 << 30, 4) == DSV4_E_CORRUPT);
  for (const Place& p : {tokens, state, logits}) {
    CHECK(status_after(p.at + 8, uint64_t{1} << 60, 8) == DSV4_E_CORRUPT);   // raw size
    CHECK(status_after(p.at + 16, uint64_t{1} << 60, 8) == DSV4_E_CORRUPT);  // stored size
    CHECK(status_after(p.at + 4, 3, 4) == DSV4_E_CORRUPT);                   // "compressed", and no smaller
    CHECK(status_after(p.at, 99, 4) == DSV4_E_UNSUPPORTED);                  // unknown and critical
  }
  CHECK(status_after(tokens.at, static_cast<uint64_t>(SectionType::kLogits), 4) == DSV4_E_CORRUPT);
  CHECK(status_after(section_of(good, SectionType::kEnd).at + 8, 9, 8) == DSV4_E_CORRUPT);
  CHECK(victim.unchanged());
}

TEST_CASE("sections: unknown ones, missing ones, twice the same") {
  const Bytes good = small_snapshot(0, false);
  SessionHandle s(model().get, 64);
  Bytes b = good;
  add_section(b, 77, 0, Bytes(3 << 20, 5));
  add_section(b, 78, kCompressed, {});
  CHECK(restore(s.get, b) == DSV4_OK);
  CHECK(save(s.get, false) == good);  // it is left out again
  Victim victim;
  b.back() ^= 1;
  CHECK(victim.restore_from(b) == DSV4_E_CORRUPT);
  for (const uint32_t type : {16u, 31u, 77u}) {
    b = good;
    add_section(b, type, kCritical, {1, 2, 3});
    CHECK(victim.restore_from(b) == DSV4_E_UNSUPPORTED);
  }
  for (const SectionType type : {SectionType::kTokens, SectionType::kState, SectionType::kLogits}) {
    const Place p = section_of(good, type);
    const auto from = good.begin() + static_cast<std::ptrdiff_t>(p.at + kSectionBytes);
    b = good;
    add_section(b, p.header.type, kCritical, Bytes(from, from + static_cast<std::ptrdiff_t>(p.header.stored)));
    CHECK(victim.restore_from(b) == DSV4_E_CORRUPT);
    // Without it. A snapshot without logits is a snapshot.
    b = good;
    const auto at = b.begin() + static_cast<std::ptrdiff_t>(p.at);
    b.erase(at, at + static_cast<std::ptrdiff_t>(kSectionBytes + p.header.stored));
    put_number(b, find_sections(b).back().at + 8, find_sections(b).size() - 1, 8);
    fix_checksums(b);
    if (type == SectionType::kLogits) {
      CHECK(restore(s.get, b) == DSV4_OK);
      size_t n = 0;
      CHECK(dsv4_session_logits(s.get, nullptr, 0, &n, nullptr) == DSV4_E_INVALID_ARGUMENT);
      CHECK(dsv4_session_eval(s.get, nullptr, 0, nullptr, nullptr) == DSV4_OK);  // evaluates the last one again
      CHECK(dsv4_session_logits(s.get, nullptr, 0, &n, nullptr) == DSV4_OK);
    } else {
      CHECK(victim.restore_from(b) == DSV4_E_CORRUPT);
    }
  }
  b = good;
  add_section(b, static_cast<uint32_t>(SectionType::kConversation), kCritical, Bytes(16));
  CHECK(victim.restore_from(b) == DSV4_E_CORRUPT);
  CHECK(victim.unchanged());
}

TEST_CASE("conversations that are none") {
  const Bytes good = conversation_snapshot();
  Victim victim(0, 256);
  const Place p = section_of(good, SectionType::kConversation);
  const size_t begin = p.at + kSectionBytes, end = begin + p.header.stored;
  // Every byte of it as every other byte it may have been: accepted as another conversation, or CORRUPT.
  size_t refused = 0;
  std::mt19937 random(4);
  SessionHandle other(model().get, 256);
  for (size_t at = begin; at < end; ++at) {
    for (const uint8_t value : {uint8_t{0}, uint8_t{255}, static_cast<uint8_t>(random())}) {
      Bytes b = good;
      b[at] = value;
      fix_checksums(b);
      const dsv4_status status = restore(other.get, b);
      refused += status == DSV4_E_CORRUPT;
      CHECK((status == DSV4_OK || status == DSV4_E_CORRUPT));
    }
  }
  CHECK(refused > (end - begin));
  Bytes b = good;
  put_number(b, 64, DSV4_DRIVEN_BY_TOKENS, 4);
  fix_checksums(b);
  CHECK(victim.restore_from(b) == DSV4_E_CORRUPT);
  CHECK(victim.unchanged());
}

TEST_CASE("marks that are none") {
  const Bytes good = conversation_snapshot();
  Victim victim(0, 256);
  const Place p = section_of(good, SectionType::kMark);
  const size_t content = p.at + kSectionBytes;
  const uint64_t position = good[content];
  REQUIRE(position > 1);
  const auto status_after = [&](size_t at, uint64_t value, size_t size) {
    Bytes b = good;
    put_number(b, at, value, size);
    fix_checksums(b);
    return victim.restore_from(b);
  };
  CHECK(status_after(content, 0, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(content, position + 5, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(content, position - 1, 8) == DSV4_E_CORRUPT);  // has fewer rows
  CHECK(status_after(content, UINT64_MAX, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(p.at + 4, kCompressed, 4) == DSV4_E_CORRUPT);
  CHECK(status_after(p.at + 8, 1, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(p.at + 8, uint64_t{1} << 60, 8) == DSV4_E_CORRUPT);
  CHECK(status_after(p.at + 16, 7, 8) == DSV4_E_CORRUPT);
  CHECK(victim.unchanged());
}

TEST_CASE("callbacks that give up, at each call in turn") {
  SessionHandle s(model().get, 64);
  const int32_t ids[] = {1, 2, 3, 4};
  REQUIRE(dsv4_session_eval(s.get, ids, 4, nullptr, nullptr) == DSV4_OK);
  int64_t writes = 0;
  for (;; ++writes) {
    Collector c;
    c.calls_left = writes;
    Failure f;
    const dsv4_status status = dsv4_session_save(s.get, Collector::write, &c, nullptr, &f.error);
    if (status == DSV4_OK) break;
    REQUIRE(status == DSV4_E_IO);
    REQUIRE(f.text().find("7") != std::string::npos);
  }
  CHECK(writes > 5);
  const Bytes bytes = save(s.get);
  Victim victim;
  for (int64_t reads = 0;; ++reads) {
    Feeder feeder(bytes);
    feeder.calls_left = reads;
    const dsv4_status status = dsv4_session_restore(victim.session.get, Feeder::read, &feeder, nullptr);
    if (status == DSV4_OK) {
      CHECK(reads > 5);
      break;
    }
    REQUIRE(status == DSV4_E_IO);
    REQUIRE(victim.unchanged());
  }
  CHECK(victim.session.tokens().size() == 4);
}

TEST_CASE("arguments") {
  SessionHandle s(model().get, 64);
  dsv4_snapshot_info info{};
  info.struct_size = sizeof info;
  CHECK(dsv4_session_save(s.get, nullptr, nullptr, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(dsv4_session_restore(s.get, nullptr, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(dsv4_session_save_path(s.get, nullptr, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(dsv4_session_restore_path(s.get, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(dsv4_session_save_path(nullptr, "x", nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(dsv4_snapshot_peek_path(nullptr, &info, nullptr) == DSV4_E_INVALID_ARGUMENT);
  CHECK(dsv4_snapshot_peek(nullptr, nullptr, &info, nullptr) == DSV4_E_INVALID_ARGUMENT);
  const auto too_many = [](void*, void*, size_t size) { return static_cast<int64_t>(size) + 1; };
  CHECK(dsv4_session_restore(s.get, too_many, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  const Bytes bytes = small_snapshot();
  Feeder feeder(bytes);
  CHECK(dsv4_snapshot_peek(Feeder::read, &feeder, nullptr, nullptr) == DSV4_E_INVALID_ARGUMENT);
  Feeder again(bytes);
  REQUIRE(dsv4_snapshot_peek(Feeder::read, &again, &info, nullptr) == DSV4_OK);
  CHECK(info.tokens == std::size(kIds));
  CHECK(again.at == find_sections(bytes).front().at);  // the header alone
}
