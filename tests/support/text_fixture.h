// What the tests of lib/text share: the two tokenizers, fixture files, and a check for errors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "lib/base/error.h"
#include "lib/text/json_value.h"
#include "lib/text/tokenizer.h"

namespace dsv4::text_test {

std::string data_file(const std::string& name);         // of tests/data, whole
std::vector<Json> json_lines(const std::string& name);  // one value a line
const std::string& real_tokenizer_json();               // decompressed
const Tokenizer& real_tokenizer();                      // the published 129,280 tokens
const Tokenizer& tiny_tokenizer();                      // of samples/models/tiny

inline std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text, bool special = false) {
  std::vector<int32_t> ids;
  tokenizer.encode(text, special, ids);
  return ids;
}
std::vector<int32_t> int_list(const Json& array);

// A generator with a fixed sequence: tests must not change from run to run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  size_t below(size_t n) { return next() % n; }

 private:
  uint64_t state_;
};

template <class Call>
void check_error(Status status, std::string_view part, Call&& call) {
  bool thrown = false;
  try {
    call();
  } catch (const Error& error) {
    thrown = true;
    CHECK_MESSAGE(error.status() == status, error.what());
    CHECK_MESSAGE(std::string_view(error.what()).find(part) != std::string_view::npos,
                  error.what() << "  lacks  " << std::string(part));
  }
  CHECK_MESSAGE(thrown, "no error: " << std::string(part));
}

}  // namespace dsv4::text_test
