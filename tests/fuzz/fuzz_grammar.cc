// Any bytes as a constraint: byte 0 says whether the rest is a schema, a grammar, a regular expression or the functions
// of tool calls. An Error, or a constraint along whose masks a walk goes: every mask offers something (the tiny
// tokenizer writes every byte), what it offers is accepted, no control token is offered where none belongs, and an
// answer that ends is JSON where JSON was asked for.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/constraint.h"
#include "lib/text/json_value.h"
#include "lib/text/protocol_text.h"

namespace {

using namespace dsv4;
using Kind = ConstraintSpec::Kind;

constexpr int kMaxSteps = 60;

struct World {
  std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(DSV4_SOURCE_DIR "/samples/models/tiny/tokenizer.json");
  int32_t eos = tokenizer->find(protocol::kEos);
  int32_t dsml = tokenizer->find(protocol::kDsml);
};

bool read_spec(const uint8_t* data, size_t size, ConstraintSpec& spec) {
  if (size < 2) return false;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  spec.text = text;
  switch (data[0] & 7) {
    case 0:
    case 4: spec.kind = Kind::kJsonSchema; break;
    case 1: spec.kind = Kind::kEbnf; break;
    case 2: spec.kind = Kind::kRegex; break;
    default: {
      Json functions;
      if (!try_parse_json(text, functions) || !functions.is_array()) return false;
      spec.functions = functions.items();
      spec.tools = (data[0] & 8) != 0 ? ConstraintSpec::Tools::kAllowed : ConstraintSpec::Tools::kRequired;
      spec.kind = (data[0] & 16) != 0 ? Kind::kJsonObject : Kind::kNone;
      spec.profile = (data[0] & 32) != 0 ? Profile::k0731 : Profile::kPreview;
      spec.starts_in_tool_calls = (data[0] & 64) != 0;
    }
  }
  return true;
}

void follow(const World& world, const ConstraintSpec& spec, ConstraintMatcher matcher, uint64_t state) {
  std::string text;
  for (int step = 0; step < kMaxSteps; ++step) {
    const std::span<const uint32_t> mask = matcher.mask();
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < world.tokenizer->vocab_size(); ++id) {
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) == 0) continue;
      ids.push_back(id);
      const bool control = world.tokenizer->is_special(id) && id != world.eos;
      if (control && !(id == world.dsml && spec.tools != ConstraintSpec::Tools::kNone)) __builtin_trap();
    }
    if (ids.empty()) __builtin_trap();
    state = state * 6364136223846793005u + 1442695040888963407u;
    const int32_t id = ids[(state >> 33) % ids.size()];
    ConstraintMatcher copy = matcher;
    if (!copy.accept(id)) __builtin_trap();
    matcher = std::move(copy);
    if (id == world.eos) {
      Json value;
      if (!utf8_valid(text)) __builtin_trap();
      if (spec.kind == Kind::kJsonSchema && !try_parse_json(text, value)) __builtin_trap();
      return;
    }
    text += world.tokenizer->bytes(id);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const World world;
  ConstraintSpec spec;
  if (!read_spec(data, size, spec)) return 0;
  try {
    ConstraintCompiler compiler(*world.tokenizer, world.tokenizer->vocab_size(), world.eos);
    const auto constraint = compiler.compile(spec);
    uint64_t seed = 1;
    for (size_t i = 0; i < size; ++i) seed = seed * 31 + data[i];
    for (uint64_t i = 0; i < 3; ++i) follow(world, spec, ConstraintMatcher(constraint), seed + i);
  } catch (const Error& error) {
    if (error.status() == Status::kInternal) __builtin_trap();  // the engine was handed what it cannot read
  }
  return 0;
}
