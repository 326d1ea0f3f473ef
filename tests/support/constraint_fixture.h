// What the tests of constrained output share: compilers for both tokenizers, and random walks through masks.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/constraint.h"
#include "tests/support/text_fixture.h"

namespace dsv4::text_test {

inline constexpr int64_t kRowsBeyond = 37;  // rows of the logits that have no token

// A tokenizer with its compiler, which keeps what it has prepared from test to test.
struct ConstraintBench {
  const Tokenizer& tokenizer;
  int64_t vocab;
  int32_t eos, dsml;
  ConstraintCompiler compiler;
  explicit ConstraintBench(const Tokenizer& t);
};
ConstraintBench& tiny_bench();
ConstraintBench& real_bench();

ConstraintSpec spec_of(ConstraintSpec::Kind kind, std::string text);
inline ConstraintSpec schema_spec(std::string text) {
  return spec_of(ConstraintSpec::Kind::kJsonSchema, std::move(text));
}

bool allows(std::span<const uint32_t> mask, int32_t id);
std::vector<int32_t> allowed(std::span<const uint32_t> mask);
// Whether an answer may begin with these tokens; the first that may not in `at`.
bool accepts(ConstraintMatcher& matcher, const std::vector<int32_t>& ids, size_t* at = nullptr);
// Whether exactly `text` is an answer, as the tokenizer cuts it (｜DSML｜ in it is the token).
bool is_answer(ConstraintBench& bench, const std::shared_ptr<const Constraint>& constraint, std::string_view text);

// A walk takes random tokens, and after `wander` of them heads for the end. Each mask on the way is checked: no control
// token but those that may be, no row without a token, and whatever the mask allows is accepted.
struct Walk {
  std::vector<int32_t> ids;  // without EOS
  std::string text;
  bool ended = false;
};
Walk walk(ConstraintBench& bench, const std::shared_ptr<const Constraint>& constraint, Random& random, int wander,
          int limit);

}  // namespace dsv4::text_test
