#!/bin/sh
# dsv4.dll and its import library export every function that dsv4.h declares, and nothing else. The DLL asks for the
# system's DLLs only. Our objects have no global constructors, register no destructors, carry no order to export, and
# call nothing that a library may not; the kernels move no wide vector as if a Windows stack were aligned for it.
#   exports_dll_test.sh ROOT DLL IMPORT_LIBRARY ARCHIVE OBJDUMP
set -eu
root=$1
dll=$2
import=$3
archive=$4
objdump=$5
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LC_ALL=C
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

# As in exports_test.sh, which also sees that no declaration is without DSV4_API.
grep '^ *DSV4_API' "$root/include/dsv4.h" | sed 's/(.*//; s/.*[ *]//' | sort >"$dir/declared"
[ "$(wc -l <"$dir/declared")" -gt 10 ] || fail "only $(wc -l <"$dir/declared") functions found in dsv4.h"

"$objdump" -p "$dll" >"$dir/headers"
sed -n '/\[Ordinal\/Name Pointer\] Table/,/^$/s/^[ \t]*\[ *[0-9]*\] *//p' "$dir/headers" |
  awk '{print $NF}' | sort >"$dir/exported"
"$objdump" -t "$import" | sed -n 's/.* __imp_//p' | sort -u >"$dir/imported"
for side in exported imported; do
  comm -23 "$dir/declared" "$dir/$side" >"$dir/lacking"
  comm -13 "$dir/declared" "$dir/$side" >"$dir/extra"
  if [ -s "$dir/lacking" ]; then fail "declared and not $side: $(tr '\n' ' ' <"$dir/lacking")"; fi
  if [ -s "$dir/extra" ]; then fail "$side and not declared: $(tr '\n' ' ' <"$dir/extra")"; fi
done

sed -n 's/^[ \t]*DLL Name: //p' "$dir/headers" >"$dir/needed"
[ -s "$dir/needed" ] || fail "the DLL needs no other one: was it read?"
if grep -ivx 'kernel32\.dll\|msvcrt\.dll\|ntdll\.dll\|api-ms-win-crt-.*\.dll' "$dir/needed" >&2; then
  fail "the DLLs above are not the system's"
fi

"$objdump" -h "$archive" | awk '/file format/ {file = $1}
  $2 ~ /^\.(ctors|init_array|CRT)/ {print file, $2}' >"$dir/constructors"
if [ -s "$dir/constructors" ]; then fail "global constructors: $(tr '\n' ' ' <"$dir/constructors")"; fi
"$objdump" -s -j .drectve "$archive" 2>/dev/null | grep -i 'export' >&2 && fail "objects that order exports, see above"
"$objdump" -t "$archive" >"$dir/symbols"
[ "$(grep -c '(sec  *[1-9].* dsv4_[a-z_]*$' "$dir/symbols")" -gt 10 ] || fail "$archive is not the static libdsv4"
for symbol in __cxa_atexit atexit abort exit _exit quick_exit _assert printf puts putchar perror vprintf \
              __mingw_printf __mingw_vprintf getenv setenv _putenv signal raise; do
  if grep -q "(sec  *0).* \(__imp_\)\?$symbol\$" "$dir/symbols"; then fail "an object calls $symbol"; fi
done

"$objdump" -d "$archive" | awk '/file format/ {file = $1}
  /vmov(aps|apd|dqa)/ && /[yz]mm/ && /\(/ {print file; exit}
  /vmov(ups|upd|dqu)/ && /[yz]mm/ && /\(%rsp/ {++spills}
  END {if (spills < 10) print "no spills found: were the kernels read?"}' >"$dir/moves"
if [ -s "$dir/moves" ]; then fail "aligned moves of wide vectors: $(cat "$dir/moves")"; fi

echo "$(wc -l <"$dir/declared") functions declared, $(wc -l <"$dir/exported") exported"
[ $failed -eq 0 ]
