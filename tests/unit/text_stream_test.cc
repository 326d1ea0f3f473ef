// Streams: whole characters only, the same text whatever the token borders, stop strings, the switch out of reasoning.
#include <algorithm>

#include "lib/base/utf8.h"
#include "lib/text/detokenizer.h"
#include "lib/text/stream_parser.h"
#include "tests/support/text_fixture.h"

using namespace dsv4;
using namespace dsv4::text_test;

namespace {

struct Result {
  std::string reasoning, content;
  int ends = 0, switches = 0;
  EndReason reason = EndReason::kNone;
  bool operator==(const Result&) const = default;
};

// Checks what holds for every event, and puts the deltas together.
Result collect(const std::vector<StreamEvent>& events) {
  Result r;
  for (const StreamEvent& e : events) {
    CHECK(r.ends == 0);
    CHECK(utf8_valid(e.text));
    switch (e.type) {
      case StreamEvent::Type::kReasoning:
        CHECK(r.switches == 0);
        CHECK_FALSE(e.text.empty());
        r.reasoning += e.text;
        break;
      case StreamEvent::Type::kReasoningEnd: ++r.switches; break;
      case StreamEvent::Type::kContent:
        CHECK_FALSE(e.text.empty());
        r.content += e.text;
        break;
      case StreamEvent::Type::kEnd:
        ++r.ends;
        r.reason = e.reason;
        break;
      default: r.content += "[call]"; break;  // text_output_test.cc looks into these
    }
  }
  return r;
}

Result parse(const std::vector<int32_t>& ids, bool reasoning, std::vector<std::string> stops = {},
             EndReason reason = EndReason::kLength) {
  OutputParserOptions options;
  options.start = reasoning ? OutputStart::kReasoning : OutputStart::kContent;
  options.stops = std::move(stops);
  StreamParser parser(real_tokenizer(), options);
  std::vector<StreamEvent> events;
  for (const int32_t id : ids) parser.push(id, events);
  parser.finish(reason, events);
  CHECK(parser.stopped());
  return collect(events);
}

// The tokens of a text in another cut: every ordinary token may be split into tokens of its bytes.
std::vector<int32_t> recut(const std::vector<int32_t>& ids, Random& random) {
  static const std::vector<int32_t> byte_ids = [] {
    std::vector<int32_t> out(256, -1);
    for (int32_t id = 0; id < 1000; ++id) {
      const std::string_view b = real_tokenizer().bytes(id);
      if (b.size() == 1) out[static_cast<uint8_t>(b[0])] = id;
    }
    return out;
  }();
  std::vector<int32_t> out;
  for (const int32_t id : ids) {
    if (real_tokenizer().is_added(id) || random.below(2) == 0) {
      out.push_back(id);
    } else {
      for (const char c : real_tokenizer().bytes(id)) out.push_back(byte_ids[static_cast<uint8_t>(c)]);
    }
  }
  return out;
}

std::vector<int32_t> tokens(std::string_view text) { return encode(real_tokenizer(), text, true); }

}  // namespace

TEST_CASE("a stream decoder gives whole characters and loses nothing") {
  Random random(5);
  const Tokenizer& tokenizer = real_tokenizer();
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> ids;  // any ids: most are not text that anyone would write
    for (size_t n = random.below(50); n > 0; --n) ids.push_back(static_cast<int32_t>(random.below(129300)));
    if (round % 2 == 0) ids = recut(tokens("Ünïcödé 👩‍👩‍👧‍👦 </think>中文ﷺ"), random);
    for (const ControlTokens control : {ControlTokens::kSkip, ControlTokens::kWrite}) {
      StreamDecoder decoder(tokenizer, control);
      std::string text;
      for (const int32_t id : ids) {
        const std::string delta = decoder.push(id);
        CHECK(utf8_valid(delta));
        text += delta;
      }
      text += decoder.finish();
      CHECK(text == decode(tokenizer, ids, control));
      // A character cannot go on behind a control token, so compare where there is none.
      const bool plain = std::none_of(ids.begin(), ids.end(), [&](int32_t id) { return tokenizer.is_special(id); });
      if (plain) CHECK(text == utf8_sanitize(decode_bytes(tokenizer, ids, control)));
    }
  }
}

TEST_CASE("characters are not held back longer than they must be") {
  Random random(6);
  StreamDecoder decoder(real_tokenizer());
  std::vector<int32_t> ids;
  for (const char c : std::string("a😀b")) {
    for (int32_t id = 0; id < 1000; ++id) {
      if (real_tokenizer().bytes(id) == std::string_view(&c, 1)) ids.push_back(id);
    }
  }
  REQUIRE(ids.size() == 6);
  const char* want[] = {"a", "", "", "", "😀", "b"};
  for (size_t i = 0; i < 6; ++i) CHECK(decoder.push(ids[i]) == want[i]);
  CHECK(decoder.finish().empty());
  decoder.push(ids[1]);
  decoder.push(ids[2]);
  CHECK(decoder.push(real_tokenizer().find("</think>")) == "\ufffd\ufffd");
}

TEST_CASE("reasoning, the switch, content, EOS") {
  const Result r = parse(tokens("I think.</think>Answer 😀<｜end▁of▁sentence｜>more"), true);
  CHECK(r == Result{"I think.", "Answer 😀", 1, 1, EndReason::kStop});
  CHECK(parse(tokens("Just so<｜end▁of▁sentence｜>"), false) == Result{"", "Just so", 1, 0, EndReason::kStop});
  CHECK(parse(tokens("cut"), true) == Result{"cut", "", 1, 0, EndReason::kLength});
  CHECK(parse(tokens("cut"), false, {}, EndReason::kCancelled).reason == EndReason::kCancelled);
  CHECK(parse({}, true) == Result{"", "", 1, 0, EndReason::kLength});
}

TEST_CASE("control tokens never show as text, spelled-out ones do") {
  const Result r = parse(tokens("a<｜User｜>b<think>c</think>d<｜title｜>e<｜▁pad▁｜>"), true);
  CHECK(r == Result{"abc", "de", 1, 1, EndReason::kLength});
  CHECK(parse(tokens("x</think>y"), false) == Result{"", "xy", 1, 0, EndReason::kLength});
  const std::string spelled = "a<｜User｜>b</think>c";
  CHECK(parse(encode(real_tokenizer(), spelled), true) == Result{spelled, "", 1, 0, EndReason::kLength});
}

TEST_CASE("stop strings") {
  CHECK(parse(tokens("one two three"), false, {"two"}) == Result{"", "one ", 1, 0, EndReason::kStopString});
  CHECK(parse(tokens("one tw"), false, {"two"}) == Result{"", "one tw", 1, 0, EndReason::kLength});
  CHECK(parse(tokens("one tw<｜end▁of▁sentence｜>"), false, {"two"}) == Result{"", "one tw", 1, 0, EndReason::kStop});
  // The one that ends first, then the longest; overlaps with itself; in the midst of a character's bytes
  CHECK(parse(tokens("xabcdy"), false, {"abcd", "bc"}).content == "xa");
  CHECK(parse(tokens("xabcy"), false, {"bc", "abc"}).content == "x");
  CHECK(parse(tokens("aabaabaac"), false, {"aabaac"}).content == "aab");
  CHECK(parse(tokens("日本語"), false, {"本"}).content == "日");
  CHECK(parse(tokens("èé"), false, {"é"}).content == "è");
  // Not in the reasoning, and not across the switch
  CHECK(parse(tokens("a stop b</think>c stop d"), true, {"stop"}) ==
        Result{"a stop b", "c ", 1, 1, EndReason::kStopString});
  CHECK(parse(tokens("a st</think>op"), true, {"stop"}) == Result{"a st", "op", 1, 1, EndReason::kLength});
  const auto make = [](std::vector<std::string> stops) {
    return StreamParser(real_tokenizer(), {OutputStart::kContent, std::move(stops)});
  };
  check_error(Status::kInvalidArgument, "stop string 1: empty", [&] { make({"a", ""}); });
  check_error(Status::kInvalidArgument, "not valid UTF-8", [&] { make({"\xff"}); });
}

TEST_CASE("text is held back only while a stop string may still come") {
  StopMatcher matcher({"\n\nUser:", "END"});
  std::string out;
  CHECK_FALSE(matcher.push("abc\n", out));
  CHECK(out == "abc");
  CHECK_FALSE(matcher.push("\nUse", out));
  CHECK(out == "abc");
  CHECK_FALSE(matcher.push("d EN", out));
  CHECK(out == "abc\n\nUsed ");
  CHECK_FALSE(matcher.push("TRY", out));
  CHECK(out == "abc\n\nUsed ENTRY");
  CHECK(matcher.push("-END-", out));
  CHECK(out == "abc\n\nUsed ENTRY-");
}

TEST_CASE("any cut of the same text gives the same result") {
  Random random(7);
  const std::string texts[] = {"Let's see: 12 + 30 = 42 😀.</think>It is 42. aabaabaac 中文 END\n\n",
                               "é\u0301</think></think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
                               "name=\"f\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>",
                               "no switch at all, naïve EN", "</think>", ""};
  const std::vector<std::vector<std::string>> stop_sets = {
      {}, {"END"}, {"aabaac", "ba"}, {"\n\n", "文"}, {"42.", "2. a", "ENDX"}};
  for (const std::string& text : texts) {
    const std::vector<int32_t> ids = tokens(text);
    for (const auto& stops : stop_sets) {
      for (const bool reasoning : {false, true}) {
        const Result want = parse(ids, reasoning, stops);
        for (int round = 0; round < 20; ++round) CHECK(parse(recut(ids, random), reasoning, stops) == want);
      }
    }
  }
}

TEST_CASE("nothing follows the end") {
  StreamParser parser(real_tokenizer(), {OutputStart::kContent, {"b"}});
  std::vector<StreamEvent> events;
  for (const int32_t id : tokens("a b c")) parser.push(id, events);
  parser.finish(EndReason::kLength, events);
  parser.push(0, events);
  CHECK(collect(events) == Result{"", "a ", 1, 0, EndReason::kStopString});
  CHECK(parser.reason() == EndReason::kStopString);
}
