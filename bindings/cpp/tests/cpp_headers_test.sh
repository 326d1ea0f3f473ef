#!/bin/sh
# Every header of the C++ binding by itself, and all of it with its tests, in every standard that it is for, under gcc
# and clang, warnings as errors.
#   sh bindings/cpp/tests/cpp_headers_test.sh SOURCE_DIR
set -eu
cd "$1"
failed=0
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
defines="-DDSV4_TINY=\"\" -DDSV4_SCRATCH=\"\""

check() { # check COMPILER STANDARD FLAGS FILE
  # shellcheck disable=SC2086  # lists of flags
  if ! printf '#include "%s"\n' "$4" |
    "$1" -std="$2" $3 -fsyntax-only -Iinclude -Ibindings/cpp/include -I. -x c++ -; then
    echo "$1 -std=$2: $4 does not compile" >&2
    failed=1
  fi
}

checked=0
for compiler in g++ clang++; do
  command -v "$compiler" >/dev/null || continue
  for header in bindings/cpp/include/dsv4.hpp bindings/cpp/include/dsv4/*.hpp; do
    check "$compiler" c++17 "$warnings -Wno-pragma-once-outside-header" "$header"
  done
  for standard in c++17 c++20; do
    # doctest is not clean under all of these; the tests are held to what the tree is.
    check "$compiler" "$standard" "-Wall -Wextra -Wpedantic -Werror $defines" bindings/cpp/tests/cpp_binding_test.cc
    check "$compiler" "$standard" "$warnings" bindings/cpp/tests/cpp_conversation.cc
    checked=$((checked + 1))
  done
  check "$compiler" c++17 "$warnings" bindings/cpp/examples/cpp_hello.cc
  check "$compiler" c++17 "$warnings -fno-exceptions -fno-rtti" bindings/cpp/tests/cpp_no_exceptions.cc
done
[ "$checked" -gt 0 ] || { echo "no compiler was found" >&2; exit 1; }

# Every function of the C header is called somewhere, but for those that the macros stand for.
functions=$(sed -n 's/^DSV4_API [^(]*[ *]\(dsv4_[a-z0-9_]*\)(.*/\1/p' include/dsv4.h)
[ -n "$functions" ] || { echo "no functions were found in the header" >&2; exit 1; }
missing=""
for name in $functions; do
  case $name in *_init | dsv4_error_status) continue ;; esac
  grep -rqw "$name" bindings/cpp/include || missing="$missing $name"
done
[ -z "$missing" ] || { echo "not in the binding:$missing" >&2; failed=1; }

# It can fail: a Result that nobody looks at is a warning.
planted='#include <dsv4.hpp>
void f(dsv4::Session& s) { s.clear(); }'
if echo "$planted" |
  g++ -std=c++17 -Wall -Werror -fsyntax-only -Iinclude -Ibindings/cpp/include -x c++ - 2>/dev/null; then
  echo "an ignored Result compiles" >&2
  failed=1
fi
exit $failed
