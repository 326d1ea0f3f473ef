#include "lib/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lib/base/error.h"
#include "lib/base/utf8.h"

namespace dsv4 {
namespace {

// White_Space of Unicode, which tokenizers mean by \s. PCRE2's own \s has U+180E in addition.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr size_t kPatternLimit = 64 * 1024;
constexpr size_t kPatternCount = 32;
constexpr size_t kJitStack = 1024 * 1024;
constexpr uint32_t kInterpreterHeapKiB = 256 * 1024;  // for texts that the JIT stack cannot hold

std::string pcre2_message(int code) {
  char buffer[256];
  const int n = pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(buffer), sizeof(buffer));
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : fmt::format("error {}", code);
}

// The file's expressions are in Oniguruma's dialect. This lets through what means the same in PCRE2, spells out \s and
// \S, and refuses the rest by name, because a pattern that is read differently would give wrong ids in silence.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& path) : in_(pattern), path_(path) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        char_class();
      } else if (c == '(' && peek(1) == '?') {
        group();
      } else if (c == '^' || c == '$') {
        refuse(1);  // Oniguruma: of a line; PCRE2: of the text
      } else {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  char peek(size_t n) const { return at_ + n < in_.size() ? in_[at_ + n] : '\0'; }
  void copy(size_t n) {
    out_ += in_.substr(at_, n);
    at_ += n;
  }
  [[noreturn]] void refuse(size_t n) const {
    fail(Status::kUnsupported, "{}: \"{}\" at byte {} is not supported", path_, utf8_sanitize(in_.substr(at_, n)), at_);
  }
  void escape(bool in_class) {
    const char e = peek(1);
    const bool letter = (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z');
    const bool digit = e >= '0' && e <= '9';
    if (e == 's') {
      out_ += in_class ? std::string(kSpaces) : fmt::format("[{}]", kSpaces);
      at_ += 2;
    } else if (e == 'S' && !in_class) {
      out_ += fmt::format("[^{}]", kSpaces);
      at_ += 2;
    } else if (e == '\0' || digit || (letter && std::string_view("pPdDrntx").find(e) == std::string_view::npos)) {
      refuse(2);
    } else {
      copy(2);
    }
  }
  void char_class() {
    copy(1);
    if (peek(0) == '^') copy(1);
    if (peek(0) == ']') refuse(1);
    while (at_ < in_.size() && in_[at_] != ']') {
      if (in_[at_] == '\\') {
        escape(true);
      } else if (in_[at_] == '[' || in_.substr(at_, 2) == "&&") {
        refuse(2);  // Oniguruma: a set within a set, an intersection
      } else {
        copy(1);
      }
    }
    if (at_ < in_.size()) copy(1);
  }
  void group() {
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"}) {
      if (in_.substr(at_, known.size()) == known) return copy(known.size());
    }
    refuse(3);
  }

  std::string_view in_;
  const std::string& path_;
  std::string out_;
  size_t at_ = 0;
};

}  // namespace

struct PreTokenizer::Pattern {
  std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> code{nullptr, pcre2_code_free};
  std::string path;  // where it stands in the file
};

struct PreTokenizer::Matcher::State {
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data{nullptr, pcre2_match_data_free};
  std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context{nullptr, pcre2_match_context_free};
  std::unique_ptr<pcre2_jit_stack, void (*)(pcre2_jit_stack*)> stack{nullptr, pcre2_jit_stack_free};
};

PreTokenizer::PreTokenizer(const JsonAt& spec) {
  const auto add = [&](const JsonAt& one) {
    if (byte_level_) fail(Status::kUnsupported, "{}: a pre-tokenizer after ByteLevel is not supported", one.path());
    const std::string& type = one.object().at("type").string();
    if (type == "Split") return add_split(one);
    if (type == "ByteLevel") return add_byte_level(one);
    fail(Status::kUnsupported, "{}.type: pre-tokenizer \"{}\" is not supported (Split and ByteLevel are)", one.path(),
         type);
  };
  if (!spec.present())
    fail(Status::kUnsupported, "{}: a tokenizer without a pre-tokenizer is not supported", spec.path());
  if (spec.object().at("type").string() == "Sequence") {
    const JsonAt list = spec.at("pretokenizers").array();
    if (list.size() > kPatternCount) {
      fail(Status::kUnsupported, "{}: {} pre-tokenizers, at most {} are supported", list.path(), list.size(),
           kPatternCount);
    }
    for (size_t i = 0; i < list.size(); ++i) add(list.at(i));
  } else {
    add(spec);
  }
  if (!byte_level_)
    fail(Status::kUnsupported, "{}: only byte-level tokenizers are supported (no ByteLevel)", spec.path());
}

PreTokenizer::~PreTokenizer() = default;

void PreTokenizer::add_split(const JsonAt& spec) {
  const std::string& behavior = spec.at("behavior").string();
  if (behavior != "Isolated") {
    fail(Status::kUnsupported, "{}.behavior: \"{}\" is not supported (Isolated is)", spec.path(), behavior);
  }
  if (spec.at("invert").present() && spec.at("invert").boolean()) {
    fail(Status::kUnsupported, "{}.invert: true is not supported", spec.path());
  }
  const JsonAt pattern = spec.at("pattern").object();
  if (!pattern.at("Regex").present()) fail(Status::kUnsupported, "{}: only Regex is supported", pattern.path());
  const std::string& text = pattern.at("Regex").string();
  if (text.size() > kPatternLimit) {
    fail(Status::kUnsupported, "{}.Regex: {} bytes, at most {} are supported", pattern.path(), text.size(),
         kPatternLimit);
  }
  int error = 0;
  PCRE2_SIZE offset = 0;
  Pattern p;
  p.path = pattern.path() + ".Regex";
  const std::string spelled = Translator(text, p.path).run();
  // NEVER_BACKSLASH_C: \C could cut a character in two.
  p.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (!p.code && error == PCRE2_ERROR_HEAP_FAILED) {
    fail(Status::kOutOfMemoryHost, "{}: {}", p.path, pcre2_message(error));
  }
  if (!p.code) fail(Status::kCorrupt, "{}: {} (at byte {})", p.path, pcre2_message(error), offset);
  // Without JIT (a host may forbid executable memory) pcre2_match interprets: slower, same result.
  pcre2_jit_compile(p.code.get(), PCRE2_JIT_COMPLETE);
  patterns_.push_back(std::move(p));
}

void PreTokenizer::add_byte_level(const JsonAt& spec) {
  const auto refuse = [&](const char* key, bool default_value) {
    const JsonAt flag = spec.at(key);
    if (flag.present() ? flag.boolean() : default_value) {
      fail(Status::kUnsupported, "{}: true is not supported", flag.path());
    }
  };
  refuse("add_prefix_space", true);
  refuse("use_regex", true);
  byte_level_ = true;
}

PreTokenizer::Matcher::Matcher(const PreTokenizer& owner) : owner_(owner), state_(std::make_unique<State>()) {
  state_->data.reset(pcre2_match_data_create(1, nullptr));
  state_->context.reset(pcre2_match_context_create(nullptr));
  if (!state_->data || !state_->context) fail(Status::kOutOfMemoryHost, "tokenizer: no memory for matching");
  pcre2_set_heap_limit(state_->context.get(), kInterpreterHeapKiB);
}

PreTokenizer::Matcher::~Matcher() = default;

const std::vector<size_t>& PreTokenizer::Matcher::split(std::string_view text) {
  ends_.clear();
  if (text.empty()) return ends_;
  // Patterns over character classes take a few steps a byte; this stops one that takes exponentially many.
  const uint64_t steps = uint64_t{10'000'000} + uint64_t{16} * text.size();
  pcre2_set_match_limit(state_->context.get(), static_cast<uint32_t>(std::min<uint64_t>(steps, 0xffffffffu)));
  ends_.push_back(text.size());
  for (size_t p = 0; p < owner_.patterns_.size(); ++p) {
    next_.clear();
    size_t begin = 0;
    for (const size_t end : ends_) {
      split_piece(p, text, begin, end, next_);
      begin = end;
    }
    ends_.swap(next_);
  }
  return ends_;
}

// Each piece is matched as a text of its own: look-behind, look-ahead and anchors see nothing beyond it.
void PreTokenizer::Matcher::split_piece(size_t pattern, std::string_view text, size_t begin, size_t end,
                                        std::vector<size_t>& ends) {
  const Pattern& p = owner_.patterns_[pattern];
  const std::string_view piece = text.substr(begin, end - begin);
  const auto match = [&](size_t from, uint32_t options) {
    return pcre2_match(p.code.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(), from,
                       PCRE2_NO_UTF_CHECK | options, state_->data.get(), state_->context.get());
  };
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state_->data.get());
  size_t done = 0;
  for (size_t at = 0; at < piece.size();) {
    int rc = match(at, 0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !state_->stack) {
      state_->stack.reset(pcre2_jit_stack_create(32 * 1024, kJitStack, nullptr));
      if (state_->stack) pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
      rc = match(at, 0);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(at, PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc == PCRE2_ERROR_NOMEMORY) {
      fail(Status::kOutOfMemoryHost, "{}: no memory to split a text of {} bytes", p.path, piece.size());
    }
    if (rc < 0)
      fail(Status::kUnsupported, "{}: cannot split a text of {} bytes: {}", p.path, piece.size(), pcre2_message(rc));
    const size_t from = found[0], to = std::max(found[0], found[1]);  // \K may end a match before its start
    if (to == from) {                                                 // an empty match splits nothing
      at = from;
      if (at < piece.size()) utf8_next(piece, at);
      continue;
    }
    if (from > done) ends.push_back(begin + from);
    ends.push_back(begin + to);
    done = at = to;
  }
  if (done < piece.size()) ends.push_back(end);
}

}  // namespace dsv4
