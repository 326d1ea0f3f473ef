#!/bin/sh
# libdsv4.so exports every function that dsv4.h declares, under the version node DSV4_<soversion>, and nothing else. It
# has no global constructors, registers no destructors, and does not import what a library may not call.
#   exports_test.sh ROOT LIBRARY ARCHIVE
set -eu
nm=${NM:-nm}
root=$1
library=$2
archive=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LC_ALL=C
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

# A declaration begins with DSV4_API and names its function before the first parenthesis.
grep '^ *DSV4_API' "$root/include/dsv4.h" >"$dir/lines"
if grep -v '(' "$dir/lines" >&2; then fail "the lines above declare something whose name is not on the line of DSV4_API"; fi
sed 's/(.*//; s/.*[ *]//' "$dir/lines" | sort >"$dir/declared"
[ "$(wc -l <"$dir/declared")" -gt 10 ] || fail "only $(wc -l <"$dir/declared") functions found in dsv4.h"
# What is declared without DSV4_API would be hidden: no other function prototype may exist.
sed -n 's/^[a-z].*[ *]\(dsv4_[a-z0-9_]*\)(.*/\1/p' "$root/include/dsv4.h" | sort >"$dir/unmarked"
if [ -s "$dir/unmarked" ]; then fail "declared without DSV4_API: $(tr '\n' ' ' <"$dir/unmarked")"; fi

$nm -D --defined-only "$library" | awk '{print $NF}' | grep -v '^DSV4_[0-9]*$' >"$dir/versioned" || true
sed 's/@.*//' "$dir/versioned" | sort >"$dir/exported"
comm -23 "$dir/declared" "$dir/exported" >"$dir/lacking"
comm -13 "$dir/declared" "$dir/exported" >"$dir/extra"
if [ -s "$dir/lacking" ]; then fail "declared and not exported: $(tr '\n' ' ' <"$dir/lacking")"; fi
if [ -s "$dir/extra" ]; then fail "exported and not declared: $(tr '\n' ' ' <"$dir/extra")"; fi
soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[libdsv4\.so\.\([0-9]*\)\].*/\1/p')
[ -n "$soname" ] || fail "the library has no soname libdsv4.so.N"
if grep -v "@@DSV4_$soname\$" "$dir/versioned" >&2; then fail "the symbols above are not of version DSV4_$soname"; fi

# Of our own objects, not of the finished library: what the compiler's runtime brings along is its affair.
readelf -SW "$archive" | awk '/^File:/ {file = $2} / \.(init_array|ctors)/ {print file}' | sort -u >"$dir/constructors"
if [ -s "$dir/constructors" ]; then fail "global constructors: $(tr '\n' ' ' <"$dir/constructors")"; fi
[ "$($nm "$archive" 2>/dev/null | grep -c ' T dsv4_')" -gt 10 ] || fail "$archive is not the static libdsv4"
for symbol in __cxa_atexit atexit abort exit _exit quick_exit __assert_fail printf puts putchar perror vprintf \
              __printf_chk __vprintf_chk stdout getenv secure_getenv setenv signal sigaction; do
  if $nm -D --undefined-only "$library" | grep -q " $symbol\(@\|\$\)"; then fail "the library imports $symbol"; fi
done

echo "$(wc -l <"$dir/declared") functions declared, $(wc -l <"$dir/exported") exported"
[ $failed -eq 0 ]
