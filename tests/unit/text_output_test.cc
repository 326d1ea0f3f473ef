// The model's output read into events: the vendor's recorded outputs, tool calls piece by piece, what breaks the
// format, and that no cut of the output changes anything.
#include <algorithm>

#include "lib/base/utf8.h"
#include "lib/text/prompt.h"
#include "lib/text/stream_parser.h"
#include "tests/support/text_fixture.h"

using namespace dsv4;
using namespace dsv4::text_test;

namespace {

using Type = StreamEvent::Type;

struct Result {
  Message message;
  std::vector<std::string> arguments;  // of every call that began, its deltas put together
  int ends = 0;
  EndReason reason = EndReason::kNone;
};

// Checks what holds for every stream of events, and puts them together.
Result collect(const std::vector<StreamEvent>& events) {
  Result r;
  bool switched = false, open = false;
  for (const StreamEvent& e : events) {
    CHECK(r.ends == 0);
    CHECK(utf8_valid(e.text));
    const bool has_text = e.type == Type::kReasoning || e.type == Type::kContent || e.type == Type::kArguments ||
                          e.type == Type::kMalformed;
    CHECK(e.text.empty() != has_text);
    if (e.type == Type::kReasoning) CHECK_FALSE(switched);
    if (e.type == Type::kReasoningEnd) {
      CHECK_FALSE(switched);
      switched = true;
    }
    if (e.type == Type::kCallBegin) {
      CHECK(e.index == r.message.calls.size());
      CHECK_FALSE(e.call.name.empty());
      r.arguments.emplace_back();
      open = true;
    }
    if (e.type == Type::kArguments) {
      REQUIRE(open);
      r.arguments.back() += e.text;
    }
    if (e.type == Type::kCall) {
      CHECK(open);
      CHECK(e.index == r.message.calls.size());
      CHECK(e.call.arguments == r.arguments.back());
      Json json;
      CHECK(try_parse_json(e.call.arguments, json));
      CHECK(json.is_object());
      open = false;
    }
    add_event(e, r.message);
    if (e.type != Type::kEnd) continue;
    ++r.ends;
    r.reason = e.reason;
  }
  CHECK(r.ends == 1);
  return r;
}

bool same(const Result& a, const Result& b) {
  const auto same_call = [](const ToolCall& x, const ToolCall& y) {
    return x.id == y.id && x.name == y.name && x.arguments == y.arguments;
  };
  return a.message.reasoning == b.message.reasoning && a.message.content == b.message.content &&
         a.message.malformed == b.message.malformed && a.reason == b.reason && a.arguments == b.arguments &&
         std::equal(a.message.calls.begin(), a.message.calls.end(), b.message.calls.begin(), b.message.calls.end(),
                    same_call);
}

OutputParserOptions starting(OutputStart start, std::vector<std::string> stops = {}) {
  return {start, std::move(stops), 7};
}

// Pieces of the given sizes in turn.
Result read(std::string_view text, const OutputParserOptions& options, const std::vector<size_t>& sizes = {},
            EndReason reason = EndReason::kStop) {
  TextStreamParser parser(options);
  std::vector<StreamEvent> events;
  for (size_t at = 0, i = 0; at < text.size(); ++i) {
    const size_t size = sizes.empty() ? text.size() : std::max<size_t>(sizes[i % sizes.size()], 1);
    parser.push(text.substr(at, size), events);
    at += size;
  }
  parser.finish(reason, events);
  CHECK(parser.stopped());
  return collect(events);
}

Result read_tokens(std::string_view text, const OutputParserOptions& options, EndReason reason = EndReason::kStop) {
  StreamParser parser(real_tokenizer(), options);
  std::vector<StreamEvent> events;
  for (const int32_t id : encode(real_tokenizer(), text, true)) parser.push(id, events);
  parser.finish(reason, events);
  return collect(events);
}

std::string call(const std::string& name, const std::string& parameters) {
  return "<｜DSML｜invoke name=\"" + name + "\">\n" + parameters + "</｜DSML｜invoke>\n";
}
std::string text_parameter(const std::string& name, const std::string& value) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"true\">" + value + "</｜DSML｜parameter>\n";
}
std::string json_parameter(const std::string& name, const std::string& value) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"false\">" + value + "</｜DSML｜parameter>\n";
}
std::string block(const std::string& calls) { return "\n\n<｜DSML｜tool_calls>\n" + calls + "</｜DSML｜tool_calls>"; }

// Rows of parse.jsonl that break the format: 0, 64, 65 call inside reasoning that never ends (the vendor's parser takes
// such calls); 17, 31, 33 lack the end of a call, 59, 89 a `string` attribute; 27, 57, 66, 67 are cut off; behind the
// block of 11 and 21 stands more text. The vendor's parser drops what is broken without a word.
constexpr size_t kMalformedRows[] = {0, 11, 17, 21, 27, 31, 33, 57, 59, 64, 65, 66, 67, 89};

const std::string kDeep = [] {
  std::string s;
  for (int i = 0; i < 100000; ++i) s += "[";
  return s;
}();

}  // namespace

TEST_CASE("the recorded outputs give the recorded messages, as text and as tokens") {
  const std::vector<Json> rows = json_lines("fixtures/recipe/parse.jsonl");
  REQUIRE(rows.size() == 110);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json& row = rows[i];
    const bool broken = std::find(std::begin(kMalformedRows), std::end(kMalformedRows), i) != std::end(kMalformedRows);
    const std::string& output = row.find("output")->text();
    CAPTURE(output);
    const OutputParserOptions options =
        starting(row.find("thinking")->bool_value() ? OutputStart::kReasoning : OutputStart::kContent);
    for (const Result& r : {read(output, options), read(output, options, {1}), read_tokens(output, options)}) {
      if (broken) {
        CHECK(r.reason == EndReason::kMalformed);
        CHECK_FALSE(r.message.malformed.empty());
        continue;
      }
      CHECK(r.message.malformed.empty());
      CHECK(r.message.reasoning == row.find("reasoning")->text());
      CHECK(std::string(end_reason_name(r.reason)) == row.find("finish")->text());
      const Json& calls = *row.find("tool_calls");
      REQUIRE(r.message.calls.size() == calls.size());
      for (size_t k = 0; k < calls.size(); ++k) {
        CHECK(r.message.calls[k].name == calls.items()[k].find("name")->text());
        CHECK(r.message.calls[k].arguments == calls.items()[k].find("arguments")->text());
      }
    }
    // A spelled <think> is text, the token is not: the content is compared where the output is text.
    if (!broken) CHECK(read(output, options).message.content == row.find("content")->text());
  }
}

TEST_CASE("calls come piece by piece, then whole") {
  TextStreamParser parser(starting(OutputStart::kContent));
  std::vector<StreamEvent> events;
  const auto push = [&](std::string_view text) {
    events.clear();
    parser.push(text, events);
    return events;
  };
  CHECK(push("Let me look.\n").size() == 1);
  CHECK(push("\n<｜DSML｜tool_").empty());
  CHECK(push("calls>\n<｜DSML｜invoke name=\"get_weather\"").empty());
  const auto begin = push(">");
  REQUIRE(begin.size() == 1);
  CHECK(begin[0].type == Type::kCallBegin);
  CHECK(begin[0].call.name == "get_weather");
  CHECK(begin[0].call.id.starts_with("call_"));
  const auto first = push("\n<｜DSML｜parameter name=\"city\" string=\"true\">Par");
  REQUIRE(first.size() == 2);
  CHECK(first[0].text == "{\"city\": \"");
  CHECK(first[1].text == "Par");
  CHECK(push("is \"<").front().text == "is \\\"");  // '<' waits
  CHECK(push("b>\n").front().text == "<b>\\n");
  CHECK(push("</｜DSML｜").empty());
  CHECK(push("parameter>").front().text == "\"");
  CHECK(push("\n<｜DSML｜parameter name=\"days\" string=\"false\">3").front().text == ", \"days\": ");
  const auto last = push("</｜DSML｜parameter>\n</｜DSML｜invoke>");
  REQUIRE(last.size() == 2);
  CHECK(last[0].text == "}");
  CHECK(last[1].type == Type::kCall);
  CHECK(last[1].call.arguments == "{\"city\": \"Paris \\\"<b>\\n\", \"days\": 3}");
  CHECK(last[1].call.id == begin[0].call.id);
  CHECK(push("\n</｜DSML｜tool_calls>").empty());
  const auto end = push("<｜end▁of▁sentence｜>");
  REQUIRE(end.size() == 1);
  CHECK(end[0].reason == EndReason::kToolCalls);
}

TEST_CASE("both profiles' calls without parameters, several calls, the start inside a block") {
  const std::string calls = call("a", "") + call("b", "\n") + call("c", json_parameter("x", " [1, {\"y\": null}] "));
  const Result r = read("Well." + block(calls), starting(OutputStart::kContent));
  CHECK(r.reason == EndReason::kToolCalls);
  REQUIRE(r.message.calls.size() == 3);
  CHECK(r.message.calls[0].arguments == "{}");
  CHECK(r.message.calls[1].arguments == "{}");
  CHECK(r.message.calls[2].arguments == "{\"x\":  [1, {\"y\": null}] }");
  CHECK(r.message.calls[0].id != r.message.calls[1].id);
  CHECK(r.message.content == "Well.");
  const Result inside = read(calls + "</｜DSML｜tool_calls>", starting(OutputStart::kToolCalls));
  CHECK(inside.reason == EndReason::kToolCalls);
  CHECK(inside.message.calls.size() == 3);
  CHECK(inside.message.content.empty());
  OutputParserOptions other = starting(OutputStart::kToolCalls);
  other.id_seed = 8;
  CHECK(read(calls + "</｜DSML｜tool_calls>", other).message.calls[0].id != inside.message.calls[0].id);
}

TEST_CASE("what breaks the format is reported with its text, and nothing that came before is lost") {
  const std::string good = call("ok", text_parameter("a", "b"));
  struct Case {
    const char* name;
    std::string output;
    size_t calls;
    std::string raw;
  };
  const std::string open = "\n\n<｜DSML｜tool_calls>\n";
  const std::string broken_json = call("f", json_parameter("x", "{1"));
  const std::string twice = call("f", text_parameter("x", "1") + text_parameter("x", "2"));
  const Case cases[] = {
      {"an unclosed block", open + good, 1, "\n"},
      {"an unclosed call", open + good + "<｜DSML｜invoke name=\"f\">\n" + text_parameter("a", "1"), 1,
       "\n<｜DSML｜invoke name=\"f\">\n" + text_parameter("a", "1")},
      {"an unclosed parameter", open + "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">tex",
       0, open + "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">tex"},
      {"an unclosed tag", open + "<｜DSML｜invoke na", 0, open + "<｜DSML｜invoke na"},
      {"a parameter's missing end",
       open + good +
           "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" "
           "string=\"true\">x\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
       1,
       "\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" "
       "string=\"true\">x\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"},
      {"broken JSON", block(good + broken_json), 1, "\n" + broken_json + "</｜DSML｜tool_calls>"},
      {"a parameter twice", block(good + twice), 1, "\n" + twice + "</｜DSML｜tool_calls>"},
      {"an unknown tag in a block", block(good + "<｜DSML｜result>1"), 1, "\n<｜DSML｜result>1</｜DSML｜tool_calls>"},
      {"text between calls", block(good + "and\n" + good), 1, "\nand\n" + good + "</｜DSML｜tool_calls>"},
      {"an empty block", block(""), 0, block("")},
      {"text behind the block", block(good) + "\nso there", 1, "so there"},
      {"an unknown block", "Hm.\n\n<｜DSML｜function_calls>\nx", 0, "\n\n<｜DSML｜function_calls>\nx"},
      {"a closing tag in the text", "Hm. </｜DSML｜invoke> x", 0, "</｜DSML｜invoke> x"},
      {"a name without end", block("<｜DSML｜invoke name=\"" + std::string(5000, 'n')), 0,
       block("<｜DSML｜invoke name=\"" + std::string(5000, 'n'))},
      {"no name", block(call("", "")), 0, block(call("", ""))},
      {"a wrong attribute", block("<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"yes\">1"), 0,
       block("<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"yes\">1")},
      {"deep JSON", block(call("f", json_parameter("x", kDeep))), 0, block(call("f", json_parameter("x", kDeep)))},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    for (const std::vector<size_t>& sizes : {std::vector<size_t>{}, {3, 1}}) {
      if (c.output.size() > 50000 && !sizes.empty()) continue;
      const Result r = read(c.output, starting(OutputStart::kContent), sizes);
      CHECK(r.reason == EndReason::kMalformed);
      CHECK(r.message.calls.size() == c.calls);
      CHECK(r.message.malformed == c.raw);
    }
    if (c.output.size() < 50000) {
      const Result cut = read(c.output, starting(OutputStart::kContent), {}, EndReason::kLength);
      CHECK(cut.reason == EndReason::kLength);
      CHECK(cut.message.malformed == c.raw);
    }
  }
}

TEST_CASE("calls inside the reasoning break the format; what follows </think> is read as usual") {
  const std::string calls = block(call("f", ""));
  const Result alone = read("Hm." + calls, starting(OutputStart::kReasoning));
  CHECK(alone.reason == EndReason::kMalformed);
  CHECK(alone.message.calls.empty());
  CHECK(alone.message.reasoning == "Hm.");
  CHECK(alone.message.malformed == calls);
  const Result more = read("Hm." + calls + "</think>Answer." + block(call("g", "")), starting(OutputStart::kReasoning));
  CHECK(more.reason == EndReason::kMalformed);
  CHECK(more.message.content == "Answer.");
  REQUIRE(more.message.calls.size() == 1);
  CHECK(more.message.calls[0].name == "g");
  CHECK(more.message.malformed == calls);
}

TEST_CASE("only the control token opens a block: its spelling in ordinary tokens is text") {
  StreamParser parser(real_tokenizer(), starting(OutputStart::kContent));
  const std::string text = "see" + block(call("f", ""));
  std::vector<StreamEvent> events;
  for (const int32_t id : encode(real_tokenizer(), text, false)) parser.push(id, events);
  parser.finish(EndReason::kStop, events);
  const Result r = collect(events);
  CHECK(r.message.content == text);
  CHECK(r.reason == EndReason::kStop);
}

TEST_CASE("newlines around the reasoning are not part of it; nothing is held back longer than a tag asks for") {
  const Result r = read("\n\nfirst\n\nsecond\n\n</think>\n\nanswer\n\n", starting(OutputStart::kReasoning), {1});
  CHECK(r.message.reasoning == "first\n\nsecond");
  CHECK(r.message.content == "\n\nanswer\n\n");
  TextStreamParser parser(starting(OutputStart::kContent));
  const std::pair<const char*, const char*> steps[] = {{"a", "a"},      {"\n", ""},   {"b", "\nb"},
                                                       {"\n\n", ""},    {"\n", "\n"}, {"<", ""},
                                                       {"x", "\n\n<x"}, {"<｜", ""},  {" ", "<｜ "}};
  for (const auto& [in, want] : steps) {
    std::vector<StreamEvent> events;
    parser.push(in, events);
    std::string got;
    for (const StreamEvent& e : events) got += e.text;
    CHECK(got == want);
  }
}

TEST_CASE("no cut of an output changes what it says") {
  Random random(11);
  const std::string pieces[] = {"\n",
                                "\n\n",
                                "<",
                                "</",
                                "｜DSML｜",
                                "</think>",
                                "text ",
                                "tool_calls>",
                                "invoke name=\"f\">",
                                "parameter name=\"p",
                                "\" string=\"true\">",
                                "\" string=\"false\">",
                                "parameter>",
                                "é😀",
                                "{\"a\": 1}",
                                "[1",
                                "invoke>",
                                "<｜end▁of▁sentence｜>",
                                "STOP",
                                "\xf0\x9f",
                                block(call("f", text_parameter("k", "v"))),
                                text_parameter("k", "a<b"),
                                "<｜DSML｜tool_calls>",
                                "<｜DSML｜invoke name=\"g\">"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (size_t n = random.below(14); n > 0; --n) text += pieces[random.below(std::size(pieces))];
    const OutputStart start = static_cast<OutputStart>(random.below(3));
    std::vector<std::string> stops;
    if (random.below(3) == 0) stops = {"STOP", "\n\n\n"};
    const Result whole = read(text, starting(start, stops));
    CAPTURE(text);
    for (int cut = 0; cut < 3; ++cut) {
      std::vector<size_t> sizes;
      for (int i = 0; i < 7; ++i) sizes.push_back(1 + random.below(cut == 0 ? 1 : 6));
      CHECK(same(read(text, starting(start, stops), sizes), whole));
    }
  }
}

TEST_CASE("a rendered answer reads back as the message it was rendered from, in both profiles") {
  const Conversation conversation = Conversation::from_json(R"([{"role": "user", "content": "q"},
    {"role": "assistant", "content": "c \" < é", "tool_calls": [
      {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": \"x\\n</y>\", \"b\": [1.5, null]}"}},
      {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}])");
  for (const Profile profile : {Profile::kPreview, Profile::k0731}) {
    const std::string text = render(conversation, {profile, ReasoningMode::kNone, {}}).text();
    const std::string_view answer = std::string_view(text).substr(text.find("</think>") + 8);
    const Result r = read(answer, starting(OutputStart::kContent));
    CHECK(r.reason == EndReason::kToolCalls);
    CHECK(r.message.content == conversation.messages[1].content);
    REQUIRE(r.message.calls.size() == 2);
    for (size_t i = 0; i < 2; ++i) {
      CHECK(r.message.calls[i].name == conversation.messages[1].calls[i].name);
      CHECK(r.message.calls[i].arguments == conversation.messages[1].calls[i].arguments);
    }
  }
}
