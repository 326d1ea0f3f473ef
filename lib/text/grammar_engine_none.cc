// A build without xgrammar: constrained output is an error that says so.
#include "lib/base/error.h"
#include "lib/text/grammar_engine.h"

namespace dsv4 {

namespace {
[[noreturn]] void missing() {
  fail(Status::kUnsupported, "constrained output: this library was built without xgrammar (DSV4_WITHOUT_XGRAMMAR)");
}
}  // namespace

struct GrammarEngine::Impl {};
struct GrammarCursor::Impl {};

bool GrammarEngine::available() { return false; }
GrammarEngine::GrammarEngine(const std::vector<std::string>&, int64_t, int32_t) { missing(); }
GrammarEngine::~GrammarEngine() = default;
std::shared_ptr<const CompiledGrammar> GrammarEngine::compile(const std::string&) { missing(); }

GrammarCursor::GrammarCursor(std::shared_ptr<const CompiledGrammar>) { missing(); }
GrammarCursor::~GrammarCursor() = default;
GrammarCursor::GrammarCursor(const GrammarCursor&) { missing(); }
GrammarCursor& GrammarCursor::operator=(const GrammarCursor&) { missing(); }
GrammarCursor::GrammarCursor(GrammarCursor&&) noexcept = default;
GrammarCursor& GrammarCursor::operator=(GrammarCursor&&) noexcept = default;
void GrammarCursor::fill(uint32_t*) { missing(); }
bool GrammarCursor::accept(int32_t) { missing(); }
bool GrammarCursor::complete() const { missing(); }

}  // namespace dsv4
