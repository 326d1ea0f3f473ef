// JSON as Python writes it, and bounded reading.
#include "tests/support/text_fixture.h"

using namespace dsv4;
using namespace dsv4::text_test;

namespace {

std::string round_trip(std::string_view text) { return parse_json(text, "json", Status::kCorrupt).dump(); }

}  // namespace

TEST_CASE("values are written as Python's json.dumps writes them") {
  CHECK(round_trip(R"({"b":1,"a":[true,false,null,{}],"c":[]})") ==
        R"({"b": 1, "a": [true, false, null, {}], "c": []})");
  CHECK(round_trip(R"("caf\u00e9 \ud83d\ude00 \u001f\b\f\n\r\t\/\"\\ \u007f")") ==
        "\"café 😀 \\u001f\\b\\f\\n\\r\\t/\\\"\\\\ \x7f\"");
  // repr() of floats; digits of integers of any size
  const std::pair<const char*, const char*> numbers[] = {{"1.0", "1.0"},
                                                         {"1e2", "100.0"},
                                                         {"1E16", "1e+16"},
                                                         {"123456789012345680.0", "1.2345678901234568e+17"},
                                                         {"1e15", "1000000000000000.0"},
                                                         {"0.0001", "0.0001"},
                                                         {"0.00001", "1e-05"},
                                                         {"-0.0", "-0.0"},
                                                         {"-0", "0"},
                                                         {"1.5e-7", "1.5e-07"},
                                                         {"0.1", "0.1"},
                                                         {"2.50", "2.5"},
                                                         {"1e300", "1e+300"},
                                                         {"5e-324", "5e-324"},
                                                         {"12345678901234567890123", "12345678901234567890123"},
                                                         {"18446744073709551615", "18446744073709551615"},
                                                         {"-9223372036854775808", "-9223372036854775808"},
                                                         {"100000.0", "100000.0"},
                                                         {"-12.75", "-12.75"},
                                                         {"0", "0"}};
  for (const auto& [in, out] : numbers) CHECK(round_trip(in) == out);
}

TEST_CASE("a key given twice keeps its first place and its last value") {
  CHECK(round_trip(R"({"a":1,"b":2,"a":3,"c":4,"b":5})") == R"({"a": 3, "b": 5, "c": 4})");
}

TEST_CASE("reading is bounded and says where it failed") {
  const auto parse = [](std::string_view text, JsonLimits limits = {}) {
    parse_json(text, "x", Status::kCorrupt, limits);
  };
  check_error(Status::kCorrupt, "x: not valid JSON at byte 4", [&] { parse("[1,]"); });
  check_error(Status::kCorrupt, "x: not valid JSON", [&] { parse(""); });
  check_error(Status::kCorrupt, "x: not valid JSON", [&] { parse("\"\xff\""); });
  check_error(Status::kCorrupt, "x: not valid JSON", [&] { parse("1 2"); });
  check_error(Status::kCorrupt, "deeper than 3", [&] { parse("[[[[1]]]]", {3, 100}); });
  check_error(Status::kCorrupt, "more than 3 values", [&] { parse("[1,2,3,4]", {3, 3}); });
  check_error(Status::kCorrupt, "deeper than 512", [&] { parse(std::string(1 << 20, '[')); });
  check_error(Status::kCorrupt, "not valid JSON", [&] { parse("1e999"); });
  Json out;
  CHECK(try_parse_json("{\"a\": [1]}", out));
  CHECK_FALSE(try_parse_json("{\"a\": ", out));
}

TEST_CASE("typed access names the path") {
  const Json root = parse_json(R"({"a":{"b":[1,"x",null]},"n":3.5,"big":7})", "x", Status::kCorrupt);
  const JsonAt at(&root, "f.json:", Status::kCorrupt);
  CHECK(at.at("a").at("b").at(1).string() == "x");
  CHECK_FALSE(at.at("a").at("b").at(2).present());
  CHECK(at.at("big").integer(0, 7) == 7);
  check_error(Status::kCorrupt, "f.json: a.b[0]: expected a string, found a number",
              [&] { at.at("a").at("b").at(0).string(); });
  check_error(Status::kCorrupt, "f.json: a.c: expected an array, found nothing", [&] { at.at("a").at("c").array(); });
  check_error(Status::kCorrupt, "f.json: n: expected an integer from 0 to 9, found 3.5",
              [&] { at.at("n").integer(0, 9); });
  check_error(Status::kCorrupt, "f.json: big: expected an integer from 0 to 6", [&] { at.at("big").integer(0, 6); });
}
