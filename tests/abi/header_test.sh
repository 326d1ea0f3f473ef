#!/bin/sh
# include/dsv4.h compiles cleanly as every C and C++ standard that a host may use, under gcc and clang.
#   header_test.sh ROOT
set -eu
root=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Included twice, every struct used and every *_INIT macro expanded: clang lays a struct out, and so finds its padding,
# only where it is used.
{
  echo '#include <dsv4.h>'
  echo '#include <dsv4.h>'
  macros=$(sed -n 's/^#define \(DSV4_\([A-Z0-9_]*\)_INIT\) .*/\1/p' "$root/include/dsv4.h")
  [ -n "$macros" ] || { echo "no *_INIT macro found in dsv4.h: this test has lost its subject" >&2; exit 1; }
  for macro in $macros; do
    type=$(echo "${macro%_INIT}" | tr 'A-Z' 'a-z')
    echo "size_t use_$type(void);"
    echo "size_t use_$type(void) { $type value = $macro; return value.struct_size; }"
  done
  for type in $(sed -n 's/^typedef struct \(dsv4_[a-z0-9_]*\) {.*/\1/p' "$root/include/dsv4.h"); do
    echo "size_t size_of_$type(void);"
    echo "size_t size_of_$type(void) { return sizeof($type); }"
  done
} >"$dir/use.c"
cp "$dir/use.c" "$dir/use.cc"

# What is declared is also pinned.
for name in $(sed -n -e 's/^typedef struct \(dsv4_[a-z0-9_]*\) {.*/\1/p' -e 's/.*\(DSV4_[A-Z0-9_]*\) = -*[0-9].*/\1/p' \
              "$root/include/dsv4.h"); do
  grep -q "(\($name\), " "$root/tests/abi/layout_test.c" || {
    echo "FAILED: $name has no line in tests/abi/layout_test.c" >&2
    exit 1
  }
done

tried=0
failed=0
check() {  # check COMPILER STANDARD FILE
  tried=$((tried + 1))
  if ! "$1" -std="$2" -Wall -Wextra -pedantic -Werror -Wpadded -I"$root/include" -fsyntax-only "$dir/$3"; then
    echo "FAILED: $1 -std=$2" >&2
    failed=$((failed + 1))
  fi
}
for compilers in gcc:g++ clang:clang++; do
  c=${compilers%:*}
  cxx=${compilers#*:}
  if ! command -v "$c" >/dev/null || ! command -v "$cxx" >/dev/null; then
    echo "skipped: no $c/$cxx here (sh cmake/bootstrap.sh --tests)"
    continue
  fi
  for standard in c99 c11 c17; do check "$c" $standard use.c; done
  for standard in c++11 c++14 c++17 c++20; do check "$cxx" $standard use.cc; done
  # The check can fail: a hole in a struct is refused.
  echo 'struct hole { char a; long b; }; unsigned long size = sizeof(struct hole);' >"$dir/hole.c"
  if "$c" -Werror -Wpadded -fsyntax-only "$dir/hole.c" 2>/dev/null; then
    echo "FAILED: $c does not refuse padding" >&2
    failed=$((failed + 1))
  fi
done
echo "$tried compilations, $failed failed"
[ "$tried" -gt 0 ] && [ "$failed" -eq 0 ]
