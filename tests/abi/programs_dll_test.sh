#!/bin/sh
# The programs that are built beside dsv4.dll do what they do elsewhere: the first sample answers, and `dsv4` takes its
# arguments, its files and its pipe as UTF-8, byte for byte.
#   programs_dll_test.sh ROOT BIN [EMULATOR]
set -eu
root=$1
bin=$2
shift 2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }
tiny=$root/samples/models/tiny

greeting='Hello! How can I help you today?'
[ "$("$@" "$bin/hello.exe" "$tiny" 'Hello!' 2>/dev/null | tr -d '\r')" = "$greeting" ] || fail "hello"

folder="$dir/Modèle модель 模型"
mkdir "$folder"
cp "$tiny"/*.json "$tiny"/*.safetensors "$folder"
run() { expected=$1; shift; found=$("$@" 2>"$dir/err") || { cat "$dir/err" >&2; fail "$*"; return; }
  [ "$found" = "$expected" ] || fail "$*: $expected expected, found: $found"; }
run '12+30=42.' "$@" "$bin/dsv4.exe" run "$folder" 'What is 12 plus 30?' --temperature 0 \
  --save "$dir/снимок"
[ -s "$dir/снимок" ] || fail "--save wrote no file of that name"
"$@" "$bin/dsv4.exe" peek "$dir/снимок" 2>&1 | grep -q '^tokens *24' || fail "peek"
run "$greeting" sh -c 'printf "Hello!\r\n" | "$@"' chat "$@" "$bin/dsv4.exe" chat "$tiny" --temperature 0

# What was typed reaches the prompt as it is, and comes out with no byte more.
printf '{"messages": [{"role": "user", "content": "Grüße, мир\\n"}]}' >"$dir/запрос.json"
"$@" "$bin/dsv4.exe" render "$tiny" "$dir/запрос.json" >"$dir/prompt" 2>"$dir/err" || fail "render: $(cat "$dir/err")"
grep -q 'Grüße, мир' "$dir/prompt" || fail "render: $(cat "$dir/prompt")"
if od -An -c "$dir/prompt" | grep -q '\\r'; then fail "render: a line end was changed"; fi

code=0
"$@" "$bin/dsv4.exe" info "$dir/нет" >"$dir/out" 2>"$dir/err" || code=$?
[ $code -eq 13 ] || fail "a missing model: exit code $code, 13 expected"
grep -q "dsv4: .*нет/config.json: cannot open: ..* (DSV4_E_NOT_FOUND)" "$dir/err" ||
  fail "a missing model: $(cat "$dir/err")"
[ $failed -eq 0 ] && echo "hello, and dsv4 with six commands"
[ $failed -eq 0 ]
