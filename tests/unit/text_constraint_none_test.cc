// Constrained output in a build without xgrammar: what is wrong with a request is said as ever; what is right is not
// supported, and the message says which option took it away.
#include "lib/text/constraint.h"
#include "tests/support/text_fixture.h"

namespace dsv4::text_test {
namespace {

TEST_CASE("without xgrammar") {
  CHECK_FALSE(ConstraintCompiler::available());
  ConstraintCompiler compiler(tiny_tokenizer(), tiny_tokenizer().vocab_size(), 1);
  ConstraintSpec spec;
  spec.kind = ConstraintSpec::Kind::kJsonSchema;
  spec.text = R"({"type":"object"})";
  check_error(Status::kUnsupported, "DSV4_WITHOUT_XGRAMMAR", [&] { compiler.compile(spec); });
  spec.text = R"({"type":3})";
  check_error(Status::kInvalidArgument, "schema.type", [&] { compiler.compile(spec); });
}

}  // namespace
}  // namespace dsv4::text_test
