#!/bin/sh
# The documentation is true: each function of dsv4.h is called in a program that the build compiles, the examples run,
# the tables name every function and every status, the messages that the handbook quotes are the library's, and links
# lead somewhere.
#   docs_test.sh ROOT EXAMPLES_FOLDER
set -eu
root=$1
examples=$2
tiny=$root/samples/models/tiny
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LC_ALL=C
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

sed -n 's/^DSV4_API [^(]*[ *]\(dsv4_[a-z0-9_]*\)(.*/\1/p' "$root/include/dsv4.h" | sort >"$dir/declared"
[ "$(wc -l <"$dir/declared")" -gt 60 ] || fail "only $(wc -l <"$dir/declared") functions found in dsv4.h"

# ---- examples. What is compiled: each source that a CMakeLists.txt of the samples or examples names.
find "$root/samples" "$root/docs/examples" -name CMakeLists.txt | while read -r list; do
  folder=$(dirname "$list")
  for source in "$folder"/*.c "$folder"/*.cc; do
    name=$(basename "$source")
    if [ -e "$source" ] && grep -q -w "${name%.*}" "$list"; then echo "$source"; fi
  done
done >"$dir/compiled"
for source in "$root"/docs/examples/*.c "$root"/samples/*.c; do
  grep -qxF "$source" "$dir/compiled" || fail "$source is in no CMakeLists.txt"
done
# Comments and strings are no calls.
# shellcheck disable=SC2046  # our own file names
cat $(cat "$dir/compiled") | sed 's/"[^"]*"//g; s|//.*||' | tr '\n' ' ' |
  sed 's|/\*[^*]*\*\{1,\}\([^/*][^*]*\*\{1,\}\)*/||g' >"$dir/code"
while read -r function; do
  grep -q "\<$function(" "$dir/code" || fail "$function has no example: call it in docs/examples or samples"
done <"$dir/declared"
if grep -q "\<dsv4_no_such_function(" "$dir/code"; then fail "this test finds what is not there"; fi

for source in "$root"/docs/examples/*.c; do
  name=$(basename "$source" .c)
  [ "$name" != every_error ] || continue
  "$examples/$name" "$tiny" >"$dir/$name" 2>&1 || fail "$name: exit status $?: $(cat "$dir/$name")"
done
says() { grep -q "$2" "$dir/$1" || fail "$1: no '$2' in: $(cat "$dir/$1")"; }
says own_sampling '^2+3=5\.$'
says snapshot_in_memory '^Your name is Emma\.$'
says parse_output '"reasoning_content": "Two and three is five."'

# ---- threads.md: once each
grep -o '`dsv4_[a-z0-9_]*`' "$root/docs/threads.md" | tr -d '`' | sort -u >"$dir/named"
comm -23 "$dir/declared" "$dir/named" >"$dir/lacking"
if [ -s "$dir/lacking" ]; then fail "not in docs/threads.md: $(tr '\n' ' ' <"$dir/lacking")"; fi
# ---- no page speaks of what does not exist
cat "$root"/docs/*.md | grep -o '`dsv4_[a-z0-9_]*[`(.]' | tr -d '`(.' | sort -u | while read -r name; do
  grep -q "\<$name\>" "$root/include/dsv4.h" || echo "$name"
done >"$dir/unknown"
cat "$root"/docs/*.md | grep -o '\<DSV4_[A-Z0-9_]*\>' | grep -v '^DSV4_\(0\|VERSION_\)$' | sort -u |
  while read -r name; do
    grep -q "\<$name\>" "$root/include/dsv4.h" || echo "$name"
  done >>"$dir/unknown"
if [ -s "$dir/unknown" ]; then fail "docs speak of what is not in dsv4.h: $(tr '\n' ' ' <"$dir/unknown")"; fi

# ---- errors.md: a section for each status, and the messages as they are, but for numbers, places and what this machine
# has
for status in $(grep -o '\<DSV4_E_[A-Z_]* = ' "$root/include/dsv4.h" | cut -d' ' -f1); do
  grep -q "^## $status\$" "$root/docs/errors.md" || fail "docs/errors.md has no section $status"
done
plain() { sed "s|$dir/||g; s/\<[0-9][0-9]*\>/N/g; s/are: auto .*/are: auto N/"; }
mkdir "$dir/files"
(cd "$root" && "$examples/every_error" samples/models/tiny "$dir/files") >"$dir/messages" ||
  fail "every_error: exit status $?"
sed "s|files/||" "$dir/messages" | plain | sort >"$dir/are"
awk '/^## / {status = $2} /^    / {sub(/^    /, ""); print status ": " $0}' "$root/docs/errors.md" | plain | sort \
  >"$dir/quoted"
[ "$(wc -l <"$dir/are")" -ge 10 ] || fail "every_error printed $(wc -l <"$dir/are") messages"
cmp -s "$dir/are" "$dir/quoted" || fail "docs/errors.md quotes other messages: $(diff "$dir/quoted" "$dir/are")"

# ---- links
for page in "$root"/docs/*.md "$root"/samples/*/README.md; do
  for link in $(grep -o '](\([^)#]*\)' "$page" | sed 's/^](//' | grep -v '^[a-z]*:'); do
    [ -e "$(dirname "$page")/$link" ] || fail "$page: no $link"
  done
done
for page in "$root"/docs/*.md; do
  for path in $(grep -o '`\(tests\|samples\|cmake\|docs\)/[A-Za-z0-9_./]*`' "$page" | tr -d '`'); do
    [ -e "$root/$path" ] || fail "$page: no $path"
  done
done

echo "$(wc -l <"$dir/declared") functions in $(wc -l <"$dir/compiled") programs' sources; $(wc -l <"$dir/are") messages"
[ $failed -eq 0 ]
