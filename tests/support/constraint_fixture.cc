#include "tests/support/constraint_fixture.h"

#include <array>

#include "lib/text/protocol_text.h"

namespace dsv4::text_test {

ConstraintBench::ConstraintBench(const Tokenizer& t)
    : tokenizer(t), vocab(t.vocab_size() + kRowsBeyond), eos(t.find(protocol::kEos)), dsml(t.find(protocol::kDsml)),
      compiler(t, vocab, eos) {}

ConstraintBench& tiny_bench() {
  static ConstraintBench bench(tiny_tokenizer());
  return bench;
}

ConstraintBench& real_bench() {
  static ConstraintBench bench(real_tokenizer());
  return bench;
}

ConstraintSpec spec_of(ConstraintSpec::Kind kind, std::string text) {
  ConstraintSpec spec;
  spec.kind = kind;
  spec.text = std::move(text);
  return spec;
}

bool allows(std::span<const uint32_t> mask, int32_t id) {
  return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

std::vector<int32_t> allowed(std::span<const uint32_t> mask) {
  std::vector<int32_t> out;
  for (size_t i = 0; i < mask.size() * 32; ++i) {
    if (allows(mask, static_cast<int32_t>(i))) out.push_back(static_cast<int32_t>(i));
  }
  return out;
}

bool accepts(ConstraintMatcher& matcher, const std::vector<int32_t>& ids, size_t* at) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (at != nullptr) *at = i;
    const bool in_mask = allows(matcher.mask(), ids[i]);
    const bool accepted = matcher.accept(ids[i]);
    REQUIRE(in_mask == accepted);
    if (!accepted) return false;
  }
  return true;
}

bool is_answer(ConstraintBench& bench, const std::shared_ptr<const Constraint>& constraint, std::string_view text) {
  std::vector<int32_t> ids;
  for (size_t at = 0; at <= text.size();) {
    const size_t mark = std::min(text.find(protocol::kDsml, at), text.size());
    bench.tokenizer.encode(text.substr(at, mark - at), false, ids);
    if (mark < text.size()) ids.push_back(bench.dsml);
    at = mark + (mark < text.size() ? protocol::kDsml.size() : 1);
  }
  ConstraintMatcher matcher(constraint);
  return accepts(matcher, ids) && matcher.can_end() && matcher.accept(bench.eos) && matcher.ended();
}

namespace {

// Which of these is the shortest way out, by its first byte: a quotation mark ends a string, a bracket what is open, '<'
// a tag. Which of them is right the bytes do not tell, so the caller tries all three ways in turn.
int urge_to_end(std::string_view bytes, size_t way, bool in_tag) {
  constexpr std::array<std::string_view, 3> kWays = {"\"}]n0/,:<\n", "}]\"n<\n0/,:", "<\n/}]\"n0,:"};
  if (bytes.empty()) return 100;
  if (in_tag && bytes == "/") return 0;
  const size_t at = kWays[way].find(bytes[0]);
  return at == std::string_view::npos ? 50 : static_cast<int>(at * 2 + (bytes.size() > 1 ? 1 : 0));
}

}  // namespace

Walk walk(ConstraintBench& bench, const std::shared_ptr<const Constraint>& constraint, Random& random, int wander,
          int limit) {
  Walk out;
  ConstraintMatcher matcher(constraint);
  for (int step = 0; step < limit; ++step) {
    const std::vector<int32_t> ids = allowed(matcher.mask());
    REQUIRE_FALSE(ids.empty());
    REQUIRE(allows(matcher.mask(), bench.eos) == matcher.can_end());
    REQUIRE(matcher.must_end() == (ids.size() == 1 && matcher.can_end()));
    for (const int32_t id : ids) {
      const bool control = bench.tokenizer.is_special(id) && id != bench.eos && id != bench.dsml;
      const bool nothing = id != bench.eos && bench.tokenizer.bytes(id).empty();  // beyond the vocabulary, too
      if (control || nothing) FAIL("token " << id << " is allowed after '" << out.text << "'");
    }
    int32_t choice = ids[random.below(ids.size())];
    if (step >= wander) {
      if (matcher.can_end()) {
        choice = bench.eos;
      } else {
        int best = 1000;
        const size_t way = random.below(3);
        for (const int32_t id : ids) {
          const int urge = id == bench.dsml ? (out.text.ends_with("</") ? -1 : 60)
                                              : urge_to_end(bench.tokenizer.bytes(id), way, out.text.ends_with('<'));
          if (urge < best) {
            best = urge;
            choice = id;
          }
        }
      }
    }
    if (choice == bench.eos) {
      REQUIRE(matcher.accept(choice));
      REQUIRE(matcher.ended());
      REQUIRE(allowed(matcher.mask()).empty());
      REQUIRE_FALSE(matcher.accept(bench.eos));
      out.ended = true;
      return out;
    }
    REQUIRE(matcher.accept(choice));
    out.ids.push_back(choice);
    out.text += bench.tokenizer.bytes(choice);
  }
  return out;
}

}  // namespace dsv4::text_test
