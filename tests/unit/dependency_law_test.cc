// The law of the house (CONTRIBUTING.md), held by reading the source: who may include whom, which headers and calls
// stay in which folder, and file names that are unique in the tree. Every rule is also shown to find what it forbids.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

bool starts_with_any(std::string_view text, const Strings& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& p) { return text.starts_with(p); });
}

// ------------------------------------------------------------------------------------------------- reading a source

struct Source {
  std::string path;  // from the root of the tree
  std::string code;  // comments and the inside of literals blanked out, lines kept
  std::string text;  // comments blanked out only
};

bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// A small scanner, so that a word in a comment or a message is not taken for a call.
Source scan(const std::string& path, const std::string& raw) {
  Source s{path, raw, raw};
  const auto blank = [](std::string& out, size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      if (out[i] != '\n') out[i] = ' ';
    }
  };
  size_t i = 0;
  while (i < raw.size()) {
    size_t end = i + 1;
    if (raw.compare(i, 2, "//") == 0) {
      end = std::min(raw.find('\n', i), raw.size());
      blank(s.code, i, end);
      blank(s.text, i, end);
    } else if (raw.compare(i, 2, "/*") == 0) {
      const size_t close = raw.find("*/", i + 2);
      end = close == std::string::npos ? raw.size() : close + 2;
      blank(s.code, i, end);
      blank(s.text, i, end);
    } else if (raw.compare(i, 2, "R\"") == 0 && (i == 0 || !in_word(raw[i - 1]))) {
      const size_t open = std::min(raw.find('(', i), raw.size());
      const std::string close = ")" + raw.substr(i + 2, open - i - 2) + "\"";
      const size_t at = raw.find(close, open);
      end = at == std::string::npos ? raw.size() : at + close.size();
      blank(s.code, i + 2, end - 1);
    } else if (raw[i] == '"') {
      while (end < raw.size() && raw[end] != '"' && raw[end] != '\n') end += raw[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, raw.size());
      // An include's own quotes are not a literal.
      const size_t line = i == 0 ? 0 : raw.rfind('\n', i - 1) + 1;
      static const std::regex include("[ \\t]*#[ \\t]*include[ \\t]*");
      if (!std::regex_match(raw.substr(line, i - line), include)) blank(s.code, i + 1, end - 1);
    } else if (raw[i] == '\'' && (i == 0 || !in_word(raw[i - 1]))) {  // not 1'000
      while (end < raw.size() && raw[end] != '\'' && raw[end] != '\n') end += raw[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, raw.size());
      blank(s.code, i + 1, end - 1);
    }
    i = end;
  }
  return s;
}

struct Include {
  std::string name;
  bool quoted;
};

std::vector<Include> includes_of(const Source& source) {
  static const std::regex pattern("^[ \\t]*#[ \\t]*include[ \\t]*([<\"])([^>\"\\n]+)[>\"]", std::regex::multiline);
  std::vector<Include> result;
  for (std::sregex_iterator it(source.code.begin(), source.code.end(), pattern), end; it != end; ++it) {
    result.push_back({(*it)[2], (*it)[1] == "\""});
  }
  return result;
}

// --------------------------------------------------------------------------------------------------------- the law

// Which folders of the tree a file may include from, by the longest prefix of its path.
Strings allowed_folders(const std::string& path) {
  static const std::map<std::string, Strings> law = {
      {"include/", {}},
      {"lib/base/", {"lib/base/"}},
      {"lib/checkpoint/", {"lib/base/", "lib/checkpoint/"}},
      {"lib/text/", {"lib/base/", "lib/text/"}},
      {"lib/sample/", {"lib/base/", "lib/sample/"}},
      {"lib/backend/", {"lib/base/", "lib/backend/"}},
      {"lib/model/", {"lib/base/", "lib/checkpoint/", "lib/backend/", "lib/model/"}},
      {"lib/session/",
       {"lib/base/", "lib/checkpoint/", "lib/text/", "lib/sample/", "lib/backend/", "lib/model/", "lib/session/"}},
      {"lib/api/", {"lib/", "include/", "dsv4.h"}},
      {"lib/api/registry.cc", {"lib/", "include/", "dsv4.h", "backends/"}},  // alone knows which backends exist
      {"backends/reference/", {"lib/base/", "lib/backend/", "backends/reference/"}},
      {"backends/cpu/", {"lib/base/", "lib/backend/", "backends/cpu/"}},
      {"backends/cuda/", {"lib/base/", "lib/backend/", "backends/cuda/"}},
      {"samples/", {"include/", "dsv4.h", "samples/"}},
      {"bindings/", {"include/", "dsv4.h", "bindings/"}},
  };
  size_t longest = 0;
  Strings result;
  for (const auto& [prefix, folders] : law) {
    if (path.starts_with(prefix) && prefix.size() > longest) {
      longest = prefix.size();
      result = folders;
    }
  }
  return result;
}

// Third-party and system headers that belong to some folders only.
struct HeaderRule {
  const char* what;
  std::regex header;
  Strings folders;
};

const std::vector<HeaderRule>& header_rules() {
  static const std::vector<HeaderRule> rules = {
      {"oneDNN", std::regex("(dnnl.*|oneapi/.*)"), {"backends/cpu/"}},
      {"xgrammar", std::regex("(xgrammar|dlpack)/.*"), {"lib/text/grammar_engine.cc"}},
      {"OpenMP", std::regex("omp\\.h"), {"backends/cpu/"}},
      {"CUDA", std::regex("(cuda|cublas|cutlass|nvrtc|nccl).*"), {"backends/cuda/"}},
      {"SIMD intrinsics",
       std::regex("(.*mmintrin\\.h|immintrin\\.h|x86intrin\\.h|x86gprintrin\\.h|intrin\\.h|cpuid\\.h|arm_.*\\.h)"),
       {"backends/cpu/"}},
      {"POSIX or Windows",
       std::regex("((unistd|fcntl|pthread|dlfcn|sched|poll|dirent|spawn|signal|termios|semaphore|windows|process)\\.h"
                  "|csignal|(sys|linux|asm|arpa|netinet|net|bits)/.*)",
                  std::regex::icase),
       {"lib/base/", "samples/", "bindings/"}},
      {"PCRE2", std::regex("pcre2.*"), {"lib/text/"}},
      {"zstd", std::regex("zstd.*"), {"lib/session/"}},
      {"JSON", std::regex("nlohmann/.*"), {"lib/checkpoint/", "lib/text/", "lib/session/", "lib/api/", "samples/"}},
      {"doctest", std::regex("doctest.*"), {"bindings/cpp/tests/"}},
      {"iostream", std::regex("(iostream|ostream|istream|fstream|iomanip)"), {"samples/", "bindings/"}},
      {"assert", std::regex("(assert\\.h|cassert)"), {"samples/", "bindings/"}},
  };
  return rules;
}

// Calls that a library may not make: it prints nothing, ends no process, reads no environment, takes no signal.
const std::vector<std::pair<const char*, std::regex>>& forbidden_calls() {
  static const std::vector<std::pair<const char*, std::regex>> calls = {
      {"prints", std::regex("\\b(v?f?printf|f?puts|f?putc|putchar|perror|fwrite)\\s*\\(")},
      {"prints", std::regex("\\b(std\\s*::\\s*(cout|cerr|clog|print(ln)?)\\b|fmt\\s*::\\s*print|stdout\\b|stderr\\b)")},
      {"ends the process", std::regex("\\b(abort|exit|_exit|_Exit|quick_exit|terminate|atexit|raise)\\s*\\(")},
      {"asserts", std::regex("\\bassert\\s*\\(")},
      {"reads the environment", std::regex("\\b(secure_)?(getenv|setenv|putenv|unsetenv)\\s*\\(")},
      {"takes a signal", std::regex("\\b(signal|sigaction|siglongjmp|sigsetjmp|setjmp|longjmp)\\s*\\(")},
      {"has state per thread", std::regex("\\bthread_local\\b")},
  };
  return calls;
}

bool in_library(const std::string& path) { return path.starts_with("lib/") || path.starts_with("backends/"); }

void check_include(const Source& source, const Include& include, const std::set<std::string>& tree, Strings& found) {
  const std::string where = source.path + ": #include " + include.name;
  const Strings own = {"lib/", "backends/", "tests/", "samples/", "bindings/", "include/", "dsv4"};
  const std::string folder = source.path.substr(0, source.path.rfind('/') + 1);
  if (source.path.starts_with("bindings/") &&
      (tree.contains("bindings/cpp/include/" + include.name) || tree.contains(folder + include.name))) {
    return;
  }
  if (starts_with_any(include.name, own) || tree.contains(include.name)) {
    if (!starts_with_any(include.name, allowed_folders(source.path))) found.push_back(where + ": against the law");
    return;
  }
  if (include.quoted) {
    // Hosts lie beside each other in folders of their own; a binding's headers are installed in a folder of theirs.
    const bool host = source.path.starts_with("samples/") || source.path.starts_with("bindings/");
    const bool neighbour = host && (tree.contains(folder + include.name) || include.name == "_cgo_export.h");
    if (!neighbour) found.push_back(where + ": includes are written from the root");
    return;
  }
  if (source.path.starts_with("include/") && include.name != "stddef.h" && include.name != "stdint.h") {
    found.push_back(where + ": the C header needs stddef.h and stdint.h only");
  }
  for (const HeaderRule& rule : header_rules()) {
    if (std::regex_match(include.name, rule.header) && !starts_with_any(source.path, rule.folders)) {
      found.push_back(where + ": " + rule.what + " does not belong here");
    }
  }
}

Strings violations(const Source& source, const std::set<std::string>& tree) {
  Strings found;
  for (const Include& include : includes_of(source)) check_include(source, include, tree, found);
  if (!in_library(source.path)) return found;
  for (const auto& [what, pattern] : forbidden_calls()) {
    std::smatch match;
    if (std::regex_search(source.code, match, pattern)) found.push_back(source.path + ": " + what + ": " + match.str());
  }
  // Only the checkpoint's table knows what tensors are called.
  static const std::regex tensor_name("\"[^\"\\n]*(\\.weight|\\.scale|(layers|experts|mtp)\\.[{0-9])[^\"\\n]*\"");
  std::smatch match;
  if (!source.path.starts_with("lib/checkpoint/") && std::regex_search(source.text, match, tensor_name)) {
    found.push_back(source.path + ": a tensor's name outside lib/checkpoint: " + match.str());
  }
  return found;
}

// ------------------------------------------------------------------------------------------------------- the tree

const std::set<std::string> kSourceEndings = {".h",  ".hpp", ".c",  ".cc", ".cpp", ".cu",   ".cuh",
                                              ".rs", ".go",  ".cs", ".py", ".sh",  ".cmake"};

// Every source file, from the root. Build folders and test data are not ours to judge.
std::set<std::string> source_files() {
  std::set<std::string> files;
  const fs::path root = DSV4_SOURCE_DIR;
  for (const char* top : {"include", "lib", "backends", "bindings", "samples", "tests", "cmake"}) {
    if (!fs::exists(root / top)) continue;
    for (auto it = fs::recursive_directory_iterator(root / top); it != fs::recursive_directory_iterator(); ++it) {
      const std::string path = fs::relative(it->path(), root).generic_string();
      if (it->is_directory() && (path == "tests/data" || path.ends_with("/build") || path.ends_with("/target") ||
                                 path.ends_with("__pycache__"))) {
        it.disable_recursion_pending();
      } else if (it->is_regular_file() && kSourceEndings.contains(it->path().extension().string())) {
        files.insert(path);
      }
    }
  }
  return files;
}

Source read_source(const std::string& path) {
  std::ifstream in(fs::path(DSV4_SOURCE_DIR) / path, std::ios::binary);
  return scan(path, std::string(std::istreambuf_iterator<char>(in), {}));
}

bool is_c_family(const std::string& path) {
  const std::string ending = fs::path(path).extension().string();
  static const std::set<std::string> endings = {".h", ".hpp", ".c", ".cc", ".cpp", ".cu", ".cuh"};
  return endings.contains(ending);
}

Strings duplicate_names(const std::set<std::string>& files) {
  std::map<std::string, std::string> seen;
  Strings found;
  for (const std::string& path : files) {
    const auto [it, fresh] = seen.emplace(fs::path(path).filename().string(), path);
    if (!fresh) found.push_back(path + " and " + it->second);
  }
  return found;
}

}  // namespace

TEST_CASE("every source of the tree keeps the dependency law") {
  const std::set<std::string> files = source_files();
  size_t checked = 0;
  for (const std::string& path : files) {
    // cmake/ holds what is compiled into other people's sources, not a part of the house.
    if (!is_c_family(path) || path.starts_with("tests/") || path.starts_with("cmake/")) continue;
    ++checked;
    for (const std::string& violation : violations(read_source(path), files)) FAIL_CHECK(violation);
  }
  CHECK(checked > 20);  // a test that lost sight of the tree would pass
}

TEST_CASE("file names are unique in the tree") {
  for (const std::string& pair : duplicate_names(source_files())) FAIL_CHECK(pair);
}

TEST_CASE("every folder of the house is named by the law") {
  for (const std::string& path : source_files()) {
    if (!is_c_family(path) || !in_library(path)) continue;
    CAPTURE(path);
    CHECK_FALSE(allowed_folders(path).empty());
  }
}

TEST_CASE("planted violations are found") {
  const std::set<std::string> tree = {"lib/base/error.h", "lib/base/mat.h", "samples/cli/client.h"};
  struct Plant {
    const char* path;
    const char* source;
    const char* expected;  // part of the message
  };
  const Plant plants[] = {
      {"lib/base/x.cc", "#include \"lib/checkpoint/config.h\"\n", "against the law"},
      {"lib/sample/x.cc", "#include \"lib/backend/backend.h\"\n", "against the law"},
      {"lib/text/x.cc", "  #  include \"lib/model/model.h\"\n", "against the law"},
      {"lib/model/x.cc", "#include \"lib/session/session.h\"\n", "against the law"},
      {"lib/model/x.cc", "#include \"backends/cpu/cpu.h\"\n", "against the law"},
      {"lib/session/x.cc", "#include <dsv4.h>\n", "against the law"},
      {"lib/api/model_api.cc", "#include \"backends/cpu/cpu.h\"\n", "against the law"},
      {"backends/cpu/x.cc", "#include \"lib/checkpoint/config.h\"\n", "against the law"},
      {"backends/cpu/x.cc", "#include \"backends/reference/reference.h\"\n", "against the law"},
      {"samples/hello.c", "#include \"lib/base/error.h\"\n", "against the law"},
      {"samples/hello.c", "#include <lib/base/error.h>\n", "against the law"},
      {"lib/new_room/x.cc", "#include \"lib/base/error.h\"\n", "against the law"},
      {"lib/base/x.cc", "#include \"error.h\"\n", "written from the root"},
      {"lib/base/x.cc", "#include \"../base/error.h\"\n", "written from the root"},
      {"include/dsv4.h", "#include <stdbool.h>\n", "the C header"},
      {"backends/reference/x.cc", "#include <dnnl.hpp>\n", "oneDNN"},
      {"lib/model/x.cc", "#include <oneapi/dnnl/dnnl.hpp>\n", "oneDNN"},
      {"lib/base/x.cc", "#include <immintrin.h>\n", "SIMD"},
      {"backends/cpu/x.cc", "#include <cuda_runtime.h>\n", "CUDA"},
      {"lib/session/x.cc", "#include <unistd.h>\n", "POSIX"},
      {"backends/cpu/x.cc", "#include <sys/mman.h>\n", "POSIX"},
      {"lib/api/x.cc", "#include <Windows.h>\n", "POSIX"},
      {"lib/api/x.cc", "#include <pcre2.h>\n", "PCRE2"},
      {"lib/text/x.cc", "#include <xgrammar/xgrammar.h>\n", "xgrammar"},
      {"lib/backend/x.cc", "#include <nlohmann/json.hpp>\n", "JSON"},
      {"lib/base/x.cc", "#include <cassert>\n", "assert"},
      {"lib/base/x.cc", "#include <iostream>\n", "iostream"},
      {"lib/base/x.cc", "void f() { printf(\"x\"); }", "prints"},
      {"lib/base/x.cc", "void f() { std::fprintf(stderr, \"x\"); }", "prints"},
      {"lib/base/x.cc", "void f() { fmt::print(\"x\"); }", "prints"},
      {"lib/base/x.cc", "void f() { std::cout << 1; }", "prints"},
      {"backends/cpu/x.cc", "void f() { std::abort(); }", "ends the process"},
      {"lib/base/x.cc", "void f() { exit (1); }", "ends the process"},
      {"lib/base/x.cc", "void f() { assert(true); }", "asserts"},
      {"backends/cpu/x.cc", "auto x = std::getenv(\"HOME\");", "environment"},
      {"lib/session/x.cc", "void f() { signal(2, g); }", "signal"},
      {"lib/session/x.cc", "thread_local int x;", "per thread"},
      {"lib/model/x.cc", "auto n = \"layers.0.attn.wq_a.weight\";", "tensor's name"},
      {"lib/base/x.cc", "int a = 1'000; /* \" */ void f() { abort(); } // \"", "ends the process"},
  };
  for (const Plant& plant : plants) {
    const Strings found = violations(scan(plant.path, plant.source), tree);
    const std::string what = plant.path + std::string(": ") + plant.source;
    CAPTURE(what);
    CHECK(std::any_of(found.begin(), found.end(),
                      [&](const std::string& v) { return v.find(plant.expected) != std::string::npos; }));
  }
  CHECK(duplicate_names({"lib/base/error.cc", "lib/model/error.cc", "lib/model/other.cc"}).size() == 1);
}

TEST_CASE("what the law allows is not reported") {
  const std::set<std::string> tree = {"lib/base/error.h", "samples/cli/client.h"};
  const std::pair<const char*, const char*> fine[] = {
      {"lib/base/x.cc", "#include <sys/mman.h>\n#include \"lib/base/error.h\"\n"},
      {"lib/api/registry.cc", "#include \"backends/cpu/cpu.h\"\n"},
      {"lib/api/x.cc", "#include \"include/dsv4.h\"\n#include <dsv4.h>\n"},
      {"backends/cpu/x.cc", "#include <immintrin.h>\n#include <dnnl.hpp>\n#include \"lib/backend/host_state.h\"\n"},
      {"samples/cli/x.cc", "#include \"client.h\"\n#include <dsv4.h>\n#include <iostream>\n"},
      {"lib/base/x.cc", "// printf(1) abort()\n/* assert(x)\n exit(1) */ auto s = \"printf(x)\"; snprintf(b, n, s);"},
      {"lib/base/x.cc", "auto r = R\"x(abort() \" exit(1))x\"; static_assert(true); my_exit(1);"},
      {"lib/checkpoint/x.cc", "auto n = \"layers.{}.attn.wq_a.weight\";"},
  };
  for (const auto& [path, source] : fine) {
    const Strings found = violations(scan(path, source), tree);
    if (!found.empty()) FAIL_CHECK(found[0]);
  }
}
