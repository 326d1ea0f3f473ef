#include "lib/text/grammar_engine.h"

#include <exception>
#include <mutex>
#include <utility>

#include <xgrammar/xgrammar.h>

#include "lib/base/error.h"

namespace dsv4 {

namespace {

// Memory that runs out stays what it is; everything else that xgrammar throws becomes an Error with its words.
template <class Call>
auto guarded(const char* doing, Call&& call) -> decltype(call()) {
  try {
    return call();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const xgrammar::WorkLimitError&) {
    fail(Status::kUnsupported, "constrained output: {}: a text can be read in too many ways by this grammar", doing);
  } catch (const std::exception& error) {
    fail(Status::kInternal, "constrained output: {}: {}", doing, error.what());
  }
}

}  // namespace

class CompiledGrammar {
 public:
  CompiledGrammar(xgrammar::CompiledGrammar grammar, int64_t vocab) : grammar_(std::move(grammar)), vocab_(vocab) {}
  const xgrammar::CompiledGrammar& get() const { return grammar_; }
  int64_t vocab() const { return vocab_; }
  // Masks are made when a cursor first needs them, and kept with the grammar.
  std::mutex& masks() const { return masks_; }

 private:
  mutable std::mutex masks_;
  xgrammar::CompiledGrammar grammar_;
  int64_t vocab_;
};

struct GrammarEngine::Impl {
  xgrammar::GrammarCompiler compiler;
  int64_t vocab;
};

bool GrammarEngine::available() { return true; }

GrammarEngine::GrammarEngine(const std::vector<std::string>& tokens, int64_t vocab, int32_t eos)
    : impl_(guarded("preparing the vocabulary", [&] {
        const xgrammar::TokenizerInfo info(tokens, xgrammar::VocabType::RAW, static_cast<int>(vocab),
                                           std::vector<int32_t>{eos});
        // One thread and no cache: threads are the host's to give, and ConstraintCompiler keeps a bounded cache.
        return std::make_unique<Impl>(Impl{xgrammar::GrammarCompiler(info, 1, false), vocab});
      })) {}

GrammarEngine::~GrammarEngine() = default;

std::shared_ptr<const CompiledGrammar> GrammarEngine::compile(const std::string& ebnf) {
  return guarded("compiling a grammar", [&] {
    return std::make_shared<const CompiledGrammar>(impl_->compiler.CompileGrammar(ebnf), impl_->vocab);
  });
}

struct GrammarCursor::Impl {
  std::shared_ptr<const CompiledGrammar> grammar;
  xgrammar::GrammarMatcher matcher;
};

GrammarCursor::GrammarCursor(std::shared_ptr<const CompiledGrammar> grammar)
    : impl_(guarded("starting a grammar", [&] {
        xgrammar::GrammarMatcher matcher(grammar->get());
        return std::make_unique<Impl>(Impl{std::move(grammar), std::move(matcher)});
      })) {}

GrammarCursor::~GrammarCursor() = default;
GrammarCursor::GrammarCursor(GrammarCursor&&) noexcept = default;
GrammarCursor& GrammarCursor::operator=(GrammarCursor&&) noexcept = default;

GrammarCursor::GrammarCursor(const GrammarCursor& other)
    : impl_(guarded("copying a grammar's state", [&] {
        return std::make_unique<Impl>(Impl{other.impl_->grammar, other.impl_->matcher.Fork()});
      })) {}

GrammarCursor& GrammarCursor::operator=(const GrammarCursor& other) {
  if (this != &other) *this = GrammarCursor(other);
  return *this;
}

void GrammarCursor::fill(uint32_t* mask) {
  int64_t words = (impl_->grammar->vocab() + 31) / 32;
  DLTensor tensor{};
  tensor.data = mask;
  tensor.device = {kDLCPU, 0};
  tensor.ndim = 1;
  tensor.dtype = xgrammar::GetBitmaskDLType();
  tensor.shape = &words;
  // Its return value says "not every token is allowed"; the mask is written either way.
  guarded("masking tokens", [&] {
    const std::lock_guard<std::mutex> lock(impl_->grammar->masks());
    impl_->matcher.FillNextTokenBitmask(&tensor);
  });
}

bool GrammarCursor::accept(int32_t id) {
  return guarded("accepting a token", [&] { return impl_->matcher.AcceptToken(id); });
}

bool GrammarCursor::complete() const {
  return guarded("asking for the end", [&] { return impl_->matcher.IsCompleted(); });
}

}  // namespace dsv4
