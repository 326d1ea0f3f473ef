// The tokenizer: exact on the recorded texts, injective, bounded in time, strict about its file.
#include <algorithm>
#include <ctime>
#include <map>
#include <thread>

#include "lib/base/utf8.h"
#include "lib/text/bpe.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/detokenizer.h"
#include "lib/text/protocol_text.h"
#include "tests/support/text_fixture.h"

using namespace dsv4;
using namespace dsv4::text_test;

namespace {

// Of this process's own processor time: what else the machine does must not show.
double seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

std::string repeat(std::string_view s, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += s;
  return out;
}

// Merging by the definition: the lowest rank, then the leftmost, again and again.
std::vector<int32_t> merge_plainly(const MergeTable& merges, std::vector<int32_t> tokens) {
  for (;;) {
    size_t best = 0;
    MergeTable::Merge merge;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const MergeTable::Merge m = merges.find(tokens[i], tokens[i + 1]);
      if (m.rank < merge.rank) {
        merge = m;
        best = i;
      }
    }
    if (merge.rank == MergeTable::kNone) return tokens;
    tokens[best] = merge.token;
    tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

// A whole small tokenizer.json with room for one change: the 256 byte tokens, "ab", one special token.
struct SmallFile {
  std::string normalizer = "null";
  std::string pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\s+|\\S+"},"behavior":"Isolated","invert":false},)"
      R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  std::string decoder = R"({"type":"ByteLevel"})";
  std::string model_head = R"("type":"BPE")";
  std::string vocab_tail = R"(,"ab":256)";
  std::string merges = R"(["a b"])";
  std::string added = R"([{"id":257,"content":"<think>","special":false}])";
  std::string more;
  int skip_byte = -1;

  std::string text() const {
    const ByteAlphabet alphabet;
    Json vocab = Json::object();
    for (int b = 0; b < 256; ++b) {
      if (b != skip_byte) vocab.append(alphabet.encode(static_cast<uint8_t>(b)), Json::number(std::to_string(b)));
    }
    std::string v = vocab.dump();
    v.insert(v.size() - 1, vocab_tail);
    return R"({"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" + pre_tokenizer + R"(,"decoder":)" + decoder +
           R"(,"added_tokens":)" + added + more + R"(,"model":{)" + model_head + R"(,"vocab":)" + v + R"(,"merges":)" +
           merges + "}}";
  }
};

template <class Change>
void refused(Status status, std::string_view part, Change&& change) {
  SmallFile file;
  change(file);
  check_error(status, part, [&] { Tokenizer::parse(file.text(), "tokenizer.json"); });
}

}  // namespace

TEST_CASE("the published tokenizer gives the recorded ids of all 434 texts") {
  const Tokenizer& tokenizer = real_tokenizer();
  CHECK(tokenizer.vocab_size() == 129280);
  const std::vector<Json> cases = json_lines("fixtures/tokenizer/cases.jsonl");
  CHECK(cases.size() == 434);
  for (const Json& c : cases) {
    const std::string& text = c.find("text")->text();
    const std::vector<int32_t> ids = encode(tokenizer, text, true);
    CHECK_MESSAGE(ids == int_list(*c.find("ids")), text);
    CHECK(decode(tokenizer, ids, ControlTokens::kWrite) == text);
  }
}

TEST_CASE("the published tokenizer loads in little time") {
  const std::string& json = real_tokenizer_json();
  const double start = seconds();
  const auto tokenizer = Tokenizer::parse(json, "tokenizer.json");
  MESSAGE("129,280 tokens: " << seconds() - start << " s");
  CHECK(tokenizer->find("<｜User｜>") == 128803);
}

TEST_CASE("control tokens are known by name, though the file does not mark them") {
  for (const Tokenizer* tokenizer : {&real_tokenizer(), &tiny_tokenizer()}) {
    for (const std::string_view name : protocol::kControlTokens) {
      const int32_t id = tokenizer->find(name);
      CHECK(id >= 0);
      CHECK(tokenizer->is_special(id));
      CHECK(tokenizer->is_added(id));
      CHECK(tokenizer->bytes(id) == name);
    }
  }
  CHECK_FALSE(real_tokenizer().is_special(real_tokenizer().find("<｜search｜>")));  // added, but ordinary
  CHECK(real_tokenizer().is_special(real_tokenizer().find("<｜image｜>")));         // the file says so
  CHECK(real_tokenizer().find("Hello") == -1);
  CHECK(real_tokenizer().bytes(-1).empty());
  CHECK(real_tokenizer().bytes(129280).empty());
}

TEST_CASE("text of a caller never becomes an added token") {
  for (const Tokenizer* tokenizer : {&real_tokenizer(), &tiny_tokenizer()}) {
    std::string all;
    for (int64_t id = 0; id < tokenizer->vocab_size(); ++id) {
      if (tokenizer->is_added(static_cast<int32_t>(id))) all += tokenizer->bytes(static_cast<int32_t>(id));
    }
    all += "a<｜User｜>b</think> <think>｜DSML｜";
    const std::vector<int32_t> ids = encode(*tokenizer, all);
    CHECK(std::none_of(ids.begin(), ids.end(), [&](int32_t id) { return tokenizer->is_added(id); }));
    CHECK(decode_bytes(*tokenizer, ids) == all);
    const std::vector<int32_t> special = encode(*tokenizer, "a<｜User｜>b", true);
    CHECK(std::count(special.begin(), special.end(), tokenizer->find("<｜User｜>")) == 1);
  }
}

TEST_CASE("any text comes back from its ids") {
  Random random(1);
  const std::string_view parts[] = {"a",      "B",       " ",   "  ",   "\n",       "\r\n",   "\t",
                                    "7",      "12345",   "é",   "中文", "ひらカタ", "😀",      "👩‍👩‍👧",
                                    "\u0301", "ﷺ",       "\0x", "'s",   "...",      "\u180e", "\u00a0",
                                    "\u2028", "</think>"};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t n = random.below(60); n > 0; --n) text += parts[random.below(std::size(parts))];
    for (const Tokenizer* tokenizer : {&real_tokenizer(), &tiny_tokenizer()}) {
      CHECK(decode_bytes(*tokenizer, encode(*tokenizer, text)) == text);
      CHECK(decode_bytes(*tokenizer, encode(*tokenizer, text, true), ControlTokens::kWrite) == text);
    }
  }
}

TEST_CASE("merging agrees with the definition, for short pieces and long ones") {
  // A table over letters 0..3 with many overlapping merges of random rank.
  Random random(2);
  for (int round = 0; round < 60; ++round) {
    MergeTable merges;
    std::array<int32_t, 256> byte_tokens{};
    for (size_t b = 0; b < 256; ++b) byte_tokens[b] = static_cast<int32_t>(b % 4);
    int32_t tokens = 4;
    for (uint32_t rank = 0; rank < 30; ++rank) {
      const int32_t left = static_cast<int32_t>(random.below(static_cast<size_t>(tokens)));
      const int32_t right = static_cast<int32_t>(random.below(static_cast<size_t>(tokens)));
      if (merges.insert(left, right, {rank, tokens})) ++tokens;
    }
    for (const size_t length : {1u, 2u, 3u, 17u, 47u, 48u, 49u, 50u, 200u, 700u}) {
      std::string piece;
      for (size_t i = 0; i < length; ++i) piece.push_back(static_cast<char>(random.below(round % 3 == 0 ? 1 : 4)));
      BpeScratch scratch;
      std::vector<int32_t> got;
      bpe_encode(merges, byte_tokens, piece, scratch, got);
      std::vector<int32_t> start;
      for (const char c : piece) start.push_back(byte_tokens[static_cast<uint8_t>(c)]);
      CHECK(got == merge_plainly(merges, start));
    }
  }
}

TEST_CASE("one megabyte of anything") {
  constexpr size_t kSize = 1u << 20;
  std::string letters;
  Random random(3);
  for (size_t i = 0; i < kSize; ++i) letters.push_back(static_cast<char>('a' + random.below(26)));
  const std::map<std::string, std::string> texts = {
      {"one letter", std::string(kSize, 'a')},
      {"spaces", std::string(kSize, ' ')},
      {"newlines", std::string(kSize, '\n')},
      {"digits", std::string(kSize, '7')},
      {"marks", std::string(kSize, '!')},
      {"zero bytes", std::string(kSize, '\0')},
      {"space and newline", repeat(" \n", kSize)},
      {"random letters", letters},
      {"prose", repeat(data_file("prompt/tools.txt"), kSize)},
      {"Chinese", repeat("中文分词测试，混合。", kSize)},
      {"combining", repeat("e\u0301\u0302", kSize)},
      {"nearly special", repeat("<｜begin▁of▁sentenc", kSize)},
  };
  for (const auto& [name, text] : texts) {
    std::vector<int32_t> ids;
    const double start = seconds();
    real_tokenizer().encode(text, true, ids);
    MESSAGE(name << ": " << seconds() - start << " s, " << ids.size() << " ids");
    CHECK(decode_bytes(real_tokenizer(), ids, ControlTokens::kWrite) == text);
  }
}

TEST_CASE("malformed UTF-8 is refused and appends nothing") {
  std::vector<int32_t> ids = {7};
  check_error(Status::kInvalidArgument, "not valid UTF-8 at byte 2 (0xff)",
              [&] { real_tokenizer().encode("ab\xff", false, ids); });
  check_error(Status::kInvalidArgument, "at byte 1 (0xe4)", [&] { real_tokenizer().encode("a\xe4\xb8", true, ids); });
  check_error(Status::kInvalidArgument, "at byte 0 (0xed)",
              [&] { real_tokenizer().encode("\xed\xa0\x80", true, ids); });
  CHECK(ids == std::vector<int32_t>{7});
}

TEST_CASE("several threads use one tokenizer") {
  const std::string text = repeat("Mixed 123 文本 text.\n", 5000);
  const std::vector<int32_t> want = encode(real_tokenizer(), text);
  std::vector<std::vector<int32_t>> got(4);
  std::vector<std::thread> threads;
  for (auto& ids : got) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        ids.clear();
        real_tokenizer().encode(text, true, ids);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  for (const auto& ids : got) CHECK(ids == want);
}

TEST_CASE("a small tokenizer file works") {
  const auto tokenizer = Tokenizer::parse(SmallFile().text(), "tokenizer.json");
  CHECK(encode(*tokenizer, "abc ab<think>", true) == std::vector<int32_t>{256, 'c', ' ', 256, 257});
  CHECK(encode(*tokenizer, "<think>").size() == 7);
  // Newer files write merges as pairs.
  SmallFile pairs;
  pairs.merges = R"([["a","b"]])";
  CHECK(encode(*Tokenizer::parse(pairs.text(), "t"), "ab") == std::vector<int32_t>{256});
}

TEST_CASE("added tokens: raw ones are found first, and the longest wins") {
  SmallFile file;
  file.added =
      R"([{"id":300,"content":"<a>"},{"id":301,"content":"<a><b>"},{"id":302,"content":"x<a","normalized":true}])";
  const auto tokenizer = Tokenizer::parse(file.text(), "tokenizer.json");
  CHECK(encode(*tokenizer, "<a><b><a>", true) == std::vector<int32_t>{301, 300});
  CHECK(encode(*tokenizer, "x<a>", true) == std::vector<int32_t>{'x', 300});
  CHECK(encode(*tokenizer, "x<a.", true) == std::vector<int32_t>{302, '.'});
  CHECK(tokenizer->vocab_size() == 303);
  CHECK(tokenizer->bytes(299).empty());
}

TEST_CASE("what a tokenizer file asks for and we lack is named") {
  const auto split = [](const std::string& regex, const std::string& behavior = "Isolated") {
    return R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)" + Json::string(regex).dump() +
           R"(},"behavior":")" + behavior + R"("},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  };
  const Status no = Status::kUnsupported;
  refused(no, "normalizer: \"NFC\"", [](SmallFile& f) { f.normalizer = R"({"type":"NFC"})"; });
  refused(no, "normalizer.normalizers",
          [](SmallFile& f) { f.normalizer = R"({"type":"Sequence","normalizers":[{"type":"NFKC"}]})"; });
  refused(no, "\"Metaspace\"", [](SmallFile& f) { f.pre_tokenizer = R"({"type":"Metaspace"})"; });
  refused(no, "without a pre-tokenizer", [](SmallFile& f) { f.pre_tokenizer = "null"; });
  refused(no, "no ByteLevel", [](SmallFile& f) { f.pre_tokenizer = R"({"type":"Sequence","pretokenizers":[]})"; });
  refused(no, "add_prefix_space", [](SmallFile& f) { f.pre_tokenizer = R"({"type":"ByteLevel","use_regex":false})"; });
  refused(no, "behavior: \"Removed\"", [&](SmallFile& f) { f.pre_tokenizer = split("a", "Removed"); });
  refused(no, "pretokenizers[0].pattern.Regex: \"\\h\" at byte 0",
          [&](SmallFile& f) { f.pre_tokenizer = split("\\h"); });
  refused(no, "\"^\"", [&](SmallFile& f) { f.pre_tokenizer = split("^a"); });
  refused(no, "\"[b\"", [&](SmallFile& f) { f.pre_tokenizer = split("[a[b]]"); });
  refused(no, "\"&&\"", [&](SmallFile& f) { f.pre_tokenizer = split("[a-z&&c]"); });
  refused(no, "\"(?m\"", [&](SmallFile& f) { f.pre_tokenizer = split("(?m:.)"); });
  refused(no, "model.type: \"WordPiece\"", [](SmallFile& f) { f.model_head = R"("type":"WordPiece")"; });
  for (const std::string key : {"byte_fallback", "ignore_merges", "fuse_unk"}) {
    refused(no, "model." + key, [&](SmallFile& f) { f.model_head += ",\"" + key + "\":true"; });
  }
  refused(no, "model.dropout", [](SmallFile& f) { f.model_head += R"(,"dropout":0.1)"; });
  refused(no, "model.unk_token", [](SmallFile& f) { f.model_head += R"(,"unk_token":"?")"; });
  refused(no, "model.continuing_subword_prefix",
          [](SmallFile& f) { f.model_head += R"(,"continuing_subword_prefix":"##")"; });
  refused(no, "lstrip of \"<x>\"", [](SmallFile& f) { f.added = R"([{"id":300,"content":"<x>","lstrip":true}])"; });
  refused(no, "merges[1]: makes \"ab\", which an earlier merge uses", [](SmallFile& f) {
    f.vocab_tail = R"(,"ab":256,"abc":258)";
    f.merges = R"(["ab c","a b"])";
  });
  refused(no, "decoder: \"Fuse\"", [](SmallFile& f) { f.decoder = R"({"type":"Fuse"})"; });
  refused(no, "post_processor: \"TemplateProcessing\"",
          [](SmallFile& f) { f.more = R"(,"post_processor":{"type":"TemplateProcessing"})"; });
  refused(no, "truncation", [](SmallFile& f) { f.more = R"(,"truncation":{"max_length":5})"; });
}

TEST_CASE("malformed tokenizer files: each its own message") {
  const Status bad = Status::kCorrupt;
  check_error(bad, "tokenizer.json: not valid JSON at byte", [] { Tokenizer::parse("{\"a\":", "tokenizer.json"); });
  check_error(bad, "expected an object, found an array", [] { Tokenizer::parse("[]", "tokenizer.json"); });
  check_error(bad, "nested deeper than", [] { Tokenizer::parse(std::string(100000, '['), "tokenizer.json"); });
  refused(bad, "model.vocab[\"ab\"]: expected an integer", [](SmallFile& f) { f.vocab_tail = R"(,"ab":"x")"; });
  refused(bad, "expected an integer from 0 to", [](SmallFile& f) { f.vocab_tail = R"(,"ab":-1)"; });
  refused(bad, "expected an integer from 0 to", [](SmallFile& f) { f.vocab_tail = R"(,"ab":99999999999999999999)"; });
  refused(bad, "expected an integer from 0 to", [](SmallFile& f) { f.vocab_tail = R"(,"ab":1.5)"; });
  refused(bad, "id 97 is given to two tokens", [](SmallFile& f) { f.vocab_tail = R"(,"ab":97)"; });
  refused(bad, "no token for byte 0x41", [](SmallFile& f) { f.skip_byte = 0x41; });
  refused(bad, "merges[0]: expected a pair", [](SmallFile& f) { f.merges = R"(["ab"])"; });
  refused(bad, "merges[0]: expected a pair", [](SmallFile& f) { f.merges = R"(["a b c"])"; });
  refused(bad, "merges[1]: expected a pair", [](SmallFile& f) { f.merges = R"(["a b",7])"; });
  refused(bad, "merges[0]: token \"bc\"", [](SmallFile& f) { f.merges = R"(["b c"])"; });
  refused(bad, "listed twice", [](SmallFile& f) { f.merges = R"(["a b","a b"])"; });
  refused(bad, "model.merges: expected an array", [](SmallFile& f) { f.merges = "{}"; });
  refused(bad, "added_tokens[0].content: expected a string", [](SmallFile& f) { f.added = R"([{"id":300}])"; });
  refused(bad, "added_tokens[0].content: expected a text",
          [](SmallFile& f) { f.added = R"([{"id":300,"content":""}])"; });
  refused(bad, "id 97 of \"<x>\" belongs to another", [](SmallFile& f) { f.added = R"([{"id":97,"content":"<x>"}])"; });
  refused(bad, "has id 300 here and 256", [](SmallFile& f) { f.added = R"([{"id":300,"content":"ab"}])"; });
  refused(bad, "listed twice",
          [](SmallFile& f) { f.added = R"([{"id":300,"content":"<x>"},{"id":301,"content":"<x>"}])"; });
  refused(bad, "special: expected a boolean",
          [](SmallFile& f) { f.added = R"([{"id":300,"content":"<x>","special":1}])"; });
  refused(bad, "Regex: ", [](SmallFile& f) {
    f.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated"})";
  });
  check_error(Status::kNotFound, "no-such-file", [] { Tokenizer::load("/no-such-file"); });
}

TEST_CASE("a pattern that backtracks without end is stopped") {
  SmallFile file;
  file.pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?:a+a+)+b"},"behavior":"Isolated"},)"
      R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  const auto tokenizer = Tokenizer::parse(file.text(), "tokenizer.json");
  // The last bytes keep PCRE2 from seeing at once that the text has no "b" at all.
  check_error(Status::kUnsupported, "cannot split a text of 62 bytes",
              [&] { encode(*tokenizer, std::string(60, 'a') + "xb"); });
}
