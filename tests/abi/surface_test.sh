#!/bin/sh
# What libdsv4.so offers today serves every program that was compiled against the baseline: abidiff finds no difference
# once structs with a struct_size are cut to the length that the baseline knows, and no constant has another value. New
# functions, constants and fields at the end of such structs pass; everything else fails.
#   surface_test.sh ROOT LIBRARY                  exit status 77: no abidiff here
#   surface_test.sh ROOT LIBRARY --new-baseline   after a release: today's surface becomes the baseline
# The library needs debug information of lib/api (lib/api/CMakeLists.txt). baseline/dsv4.abi is its surface as abidw
# describes it, the types of dsv4.h only; baseline/dsv4_baseline.h is the header that old_client.c is compiled against.
set -eu
root=$1
library=$2
mode=${3:-test}
here=$root/tests/abi
baseline=$here/baseline
for tool in abidw abidiff; do
  if ! command -v $tool >/dev/null; then echo "skipped: no $tool here (sh cmake/bootstrap.sh --tests)"; exit 77; fi
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LC_ALL=C
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

# describe LIBRARY FOLDER_OF_DSV4_H OUT: without what tells one machine or one source line from another.
describe() {
  abidw --exported-interfaces-only --headers-dir "$2" --drop-private-types --no-show-locs --no-comp-dir-path \
    --no-corpus-path --no-elf-needed --no-architecture --type-id-style hash "$1" | sed "s| path='$root/| path='|" >"$3"
  functions=$(grep -c '<elf-symbol ' "$3" || true)
  described=$(grep -c '<function-decl .*elf-symbol-id=' "$3" || true)
  if [ "$described" -le 10 ] || [ "$described" -ne "$functions" ]; then
    echo "FAILED: $1 describes $described of its $functions functions; lib/api is to be compiled with -g" >&2
    exit 1
  fi
}
# compare OLD NEW REPORT: status 0 where a program compiled against OLD can run with NEW.
compare() {
  awk -f "$here/surface_cut.awk" "$1" "$2" >"$dir/cut.abi"
  abidiff --harmless --no-added-syms "$1" "$dir/cut.abi" >"$3"
}
# library_of HEADER NAME: a library with the functions that HEADER declares, described in NAME.abi.
library_of() {
  mkdir -p "$dir/$2"
  cp "$1" "$dir/$2/dsv4.h"
  {
    echo '#include "dsv4.h"'
    ${CC:-cc} -E -P -x c "$1" | awk -v RS=';' '/visibility\("default"\)/ {print $0 " { __builtin_trap(); }"}'
  } >"$dir/$2/all.c"
  ${CC:-cc} -g -w -fPIC -shared "$dir/$2/all.c" -o "$dir/$2/all.so" -Wl,-soname,libdsv4.so.0 \
    -Wl,--version-script="$root/cmake/dsv4.map"
  describe "$dir/$2/all.so" "$dir/$2" "$dir/$2.abi"
}
constants() {  # constants HEADER: NAME VALUE
  grep -oE '\<DSV4_[A-Z0-9_]+ = -?[0-9]+' "$1" | sed 's/ = / /'
  sed -n 's/^#define \(DSV4_[A-Z0-9_]*\) \((.*)\)$/\1 \2/p' "$1"
}

describe "$library" "$root/include" "$dir/today.abi"
if [ "$mode" = --new-baseline ]; then
  cp "$dir/today.abi" "$baseline/dsv4.abi"
  cp "$root/include/dsv4.h" "$baseline/dsv4_baseline.h"
  echo "the baseline is now $described functions; old_client.c names the sizes that it expects of it"
  exit 0
fi

if ! compare "$baseline/dsv4.abi" "$dir/today.abi" "$dir/report"; then
  cat "$dir/report" >&2
  fail "programs compiled against the baseline would break, see above. Undo it; or, if a new SOVERSION is meant, raise
        it with the node of cmake/dsv4.map and then: sh tests/abi/surface_test.sh . LIBDSV4.SO --new-baseline"
fi
{
  echo '#include <dsv4.h>'
  constants "$baseline/dsv4_baseline.h" | sed 's/\([^ ]*\) \(.*\)/_Static_assert(\1 == \2, "\1 was \2");/'
} >"$dir/constants.c"
[ "$(grep -c Static "$dir/constants.c")" -gt 70 ] || fail "the constants of the baseline were not found"
${CC:-cc} -std=c11 -I"$root/include" -fsyntax-only "$dir/constants.c" ||
  fail "a constant has another value than in the baseline"
sed 's/ == 4,/ == 14,/' "$dir/constants.c" >"$dir/moved.c"
if ${CC:-cc} -std=c11 -I"$root/include" -fsyntax-only "$dir/moved.c" 2>"$dir/report"; then
  fail "a moved constant is not found"
fi

# The two files of the baseline say the same; and each of these changes to the header is found, or let pass.
library_of "$baseline/dsv4_baseline.h" before
if ! { compare "$baseline/dsv4.abi" "$dir/before.abi" "$dir/report" &&
       compare "$dir/before.abi" "$baseline/dsv4.abi" "$dir/report"; }; then
  cat "$dir/report" >&2
  fail "dsv4.abi and dsv4_baseline.h are not the same surface"
fi
planted=0
plant() {  # plant passes|breaks WHAT SED-SCRIPT
  planted=$((planted + 1))
  sed -E "$3" "$baseline/dsv4_baseline.h" >"$dir/planted.h"
  if cmp -s "$dir/planted.h" "$baseline/dsv4_baseline.h"; then fail "$2: the header no longer has that line"; return; fi
  library_of "$dir/planted.h" after
  if compare "$dir/before.abi" "$dir/after.abi" "$dir/report"; then found=passes; else found=breaks; fi
  [ $found = "$1" ] || fail "$2: $found"
}
plant passes "a field at the end of a struct_size struct" \
  's/^  const char \*notes;.*/& const double *more; uint64_t count;/'
plant passes "a new function" \
  's/^DSV4_API void dsv4_session_cancel.*/& DSV4_API int32_t dsv4_session_new(dsv4_session *s);/'
plant breaks "a field in the midst of a struct" 's/^  int32_t threads;.*/& int32_t more; int32_t even_more;/'
plant breaks "a field taken away" 's/^  const char \*notes;.*//'
plant breaks "two fields of one type exchanged" \
  's/^  const char \*onednn;.*/const char *cuda;/; t; s/^  const char \*cuda;.*/const char *onednn;/'
plant breaks "growth at the end that hides a change before it" \
  's/^  int32_t fits;/uint32_t fits;/; s/^\} dsv4_estimate;/uint64_t more; &/'
plant breaks "growth of a struct without struct_size" 's/^  float bias;/float bias; float more;/'
plant breaks "growth of an array's element" 's/^  double logprob; \/\* natural/double logprob; double more; \/* natural/'
plant breaks "a field of another type and size" 's/^  double temperature;/float temperature; float more;/'
plant breaks "a function taken away" 's/^DSV4_API void dsv4_session_cancel.*//'
plant breaks "a parameter more" 's/(dsv4_session_fork\(dsv4_session \*session,)/\1 int32_t flags,/'
plant breaks "a narrower parameter" 's/(dsv4_session_rewind\(dsv4_session \*session,) uint64_t/\1 uint32_t/'
plant breaks "another type returned" 's/^DSV4_API uint32_t dsv4_version/DSV4_API uint64_t dsv4_version/'
plant breaks "a callback's parameter" 's/(dsv4_write_fn\)\(void \*user, const void \*data,) size_t/\1 uint32_t/'
plant breaks "another type behind a typedef" 's/^typedef int32_t dsv4_status/typedef int64_t dsv4_status/'

echo "$described functions, $(grep -c Static "$dir/constants.c") constants held to the baseline; $planted changes planted"
[ $failed -eq 0 ]
