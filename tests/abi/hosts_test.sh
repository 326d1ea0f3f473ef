#!/bin/sh
# The two patterns of samples/ that are more than a program: the game engine with its plug-in, and the editor's helper.
#   hosts_test.sh ROOT ENGINE PLUGIN HELPER
set -eu
root=$1
engine=$2
plugin=$3
helper=$4
tiny=$root/samples/models/tiny
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

# ---- engine
"$engine" "$plugin" "$tiny" >"$dir/frames" 2>"$dir/errors" || fail "engine: exit status $?: $(cat "$dir/errors")"
for said in "Mira: OK. \[stop\]" "Mira: Your name is Emma. \[stop\]" "Mira: Your cat is called Luna. \[stop\]" \
            "Bolt: 20+31=51. \[stop\]" "^work in [0-9]* frames" "^  under .* ms *[0-9]* #"; do
  grep -q "$said" "$dir/frames" || { cat "$dir/frames"; fail "engine: no line '$said'"; }
done
if "$engine" "$plugin" "$dir/no-model" >/dev/null 2>"$dir/errors"; then fail "engine: plays without a model"; fi
grep -q "DSV4_E_NOT_FOUND: .*no-model" "$dir/errors" || fail "engine: its log does not say what is missing"
exported=$(${NM:-nm} -D --defined-only "$plugin" | awk '$2 == "T" {print $3}')
[ "$exported" = npc_plugin ] || fail "engine: the plug-in exports: $exported"

# ---- editor: both ends of its pipes are held open here, as an editor does
start() {
  rm -f "$dir/to" "$dir/from"
  mkfifo "$dir/to" "$dir/from"
  "$helper" "$tiny" <"$dir/to" >"$dir/from" 2>>"$dir/log" &
  pid=$!
  exec 3>"$dir/to" 4<"$dir/from"
}
finish() {
  exec 3>&-
  status=0
  wait "$pid" || status=$?
  exec 4<&-
  [ $status -eq 0 ] || fail "editor: exit status $status"
}
send() { printf '%s\n' "$1" >&3; }
hear() {  # sets `last`, the line that ends a request, and `text`, what came before it
  text=
  while IFS= read -r last <&4; do
    case $last in
      *'"done"'* | *'"error"'*) return ;;
      *'"text"'*) text="$text${last#*\"text\":}" ;;
    esac
  done
  last="nothing more"
}
expect() { case $last in *"$1"*) ;; *) fail "editor: $2: expected $1, found $last" ;; esac }
field() { echo "$last" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }

words="river moon table green stone cloud"
document="Repeat: $words $words $words $words $words $words $words $words $words $words $words $words $words $words"
start
send '{"id": 1, "method": "complete", "prefix": "'"$document"'"}'
hear
expect '"warm_tokens":0' "a first request is cold"
send '{"id": 2, "method": "complete", "prefix": "'"$document river"'"}'
hear
warm_text=$text
cold=$(($(field prompt_tokens) - $(field warm_tokens)))
[ "$cold" -le 16 ] || fail "editor: $cold tokens of the second request were evaluated again: $last"
[ -n "$warm_text" ] || fail "editor: no completion"

send 'not JSON'
hear
expect '"id":null' "a line that is not JSON"
send '{"id": 3, "method": "sing"}'
hear
expect "unknown method" "a method that there is not"
send '{"id": 4, "method": "complete"}'
hear
expect '"error"' "a request without a prefix"

# Both lines at once: what comes later may find the request at its end.
send '{"id": 5, "method": "complete", "prefix": "'"$document"'", "max_tokens": 4000}
{"id": 5, "method": "cancel"}'
hear
expect '"done":"cancelled","id":5' "a cancelled request"
send '{"id": 6, "method": "complete", "prefix": "'"$document"'", "max_tokens": 4000}
{"id": 7, "method": "complete", "prefix": "Hello!"}'
hear
expect '"done":"cancelled","id":6' "a request that another one follows"
hear
expect '"done":"stop","id":7' "the one that followed"
case $text in *Hello*today*) ;; *) fail "editor: a helper that was interrupted answers: $text" ;; esac
finish

# What is warm says the same as what is cold.
start
send '{"id": 2, "method": "complete", "prefix": "'"$document river"'"}'
hear
[ "$text" = "$warm_text" ] || fail "editor: cold '$text', warm '$warm_text'"
finish

grep "^work\|^  under" "$dir/frames"
sed -n 1,2p "$dir/log"
[ $failed -eq 0 ]
