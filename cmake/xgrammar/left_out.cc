// The converters of xgrammar that libdsv4 neither compiles nor calls (lib/text writes its own grammars). Other parts of
// xgrammar refer to them, so they are defined here, and throw.
#include <stdexcept>

#include "json_schema_converter.h"
#include "lark_converter.h"
#include "regex_converter.h"
#include "structural_tag.h"
#include "testing.h"

namespace xgrammar {

namespace {
[[noreturn]] void left_out(const char* what) {
  throw std::logic_error(std::string("libdsv4 is built without xgrammar's ") + what);
}
}  // namespace

std::string RegexToEBNF(const std::string&, bool) { left_out("regex converter"); }

Grammar LarkToGrammar(const std::string&, const std::optional<TokenizerInfo>&, const std::vector<NamedGrammar>&) {
  left_out("lark converter");
}

Grammar JSONSchemaToGrammar(const std::string&, bool, std::optional<int>,
                            std::optional<std::pair<std::string, std::string>>, bool, std::optional<int>, bool,
                            JSONFormat, std::vector<std::string>) {
  left_out("JSON schema converter");
}

Result<Grammar, StructuralTagError> StructuralTagToGrammar(const std::string&, const std::optional<TokenizerInfo>&) {
  left_out("structural tags");
}

std::string PrintTokenByIds(const std::vector<int32_t>&, const TokenizerInfo&, int) { left_out("debug printing"); }

}  // namespace xgrammar
