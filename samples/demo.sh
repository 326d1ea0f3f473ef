#!/bin/sh
# From a clone to an answer: installs what is missing, builds, and has a short conversation with the bundled model.
# Every answer is the model's own, greedy. Nothing leaves this folder but packages that bootstrap.sh installs.
set -eu
cd "$(dirname "$0")/.."
dsv4=build/release/bin/dsv4
model=samples/models/tiny
talk=build/demo

say() { printf '\n== %s\n' "$*"; }

say "What the build needs"
sh cmake/bootstrap.sh

say "Building (the first time takes minutes)"
mkdir -p build
cmake --preset release >build/demo-configure.log 2>&1 || { cat build/demo-configure.log >&2; exit 1; }
cmake --build --preset release --target dsv4_cli --target hello --target tools --target json --target snapshot

say "The bundled model: a real DeepSeek-V4 in the published checkpoint format, very small"
$dsv4 info $model | sed -n '1,/^weights/p'

# ask WHAT-IS-TYPED...: shows the command as one would type it, then what it prints.
ask() {
  printf '\n$ dsv4'
  for word in "$@"; do
    case $word in *[!A-Za-z0-9_./=-]*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
  done
  printf '\n'
  $dsv4 "$@"
}

say "Without thinking"
ask run $model "Hello!" --temperature 0 --think none
ask run $model "What can you do?" --temperature 0 --think none

say "Thinking, with the reasoning shown"
ask run $model "What is 47+38?" --temperature 0 --think high --show-thinking

# A conversation is a list of messages. The model's answer joins the list as it is, and the next question follows.
json_text() { sed 's/\\/\\\\/g; s/"/\\"/g' | awk '{ printf "%s%s", separator, $0; separator = "\\n" }'; }

say "A fact, remembered over turns"
mkdir -p $talk
fact="I have a cat called Luna."
printf '[{"role": "user", "content": "%s"}]\n' "$fact" >$talk/first.json
printf '\n(user) %s\n' "$fact"
answer=$($dsv4 run $model --messages $talk/first.json --temperature 0 --think none 2>/dev/null)
printf '(model) %s\n' "$answer"
printf '[{"role": "user", "content": "%s"},\n {"role": "assistant", "content": "%s"}]\n' "$fact" \
  "$(printf '%s\n' "$answer" | json_text)" >$talk/second.json
ask run $model "What is my cat called?" --messages $talk/second.json --temperature 0 --think none

say "The same library from one page of C (samples/hello.c)"
printf '\n$ hello %s "Who are you?"\n' $model
build/release/bin/hello $model "Who are you?"

say "Tools: the model asks, the program answers, the model goes on (samples/tools.c)"
printf '\n$ tools %s\n' $model
build/release/bin/tools $model

say "An answer that keeps to a JSON schema (samples/json.c)"
printf '\n$ json %s\n' $model
build/release/bin/json $model

say "A long beginning, evaluated once and restored for each of many sessions (samples/snapshot.c)"
printf '\n$ snapshot %s %s/snapshot.dsv4\n' $model $talk
build/release/bin/snapshot $model $talk/snapshot.dsv4

say "An answer interrupted in its midst, and resumed from the file: the same tokens"
ask run $model "What is 12 + 30?" --seed 5 --think high --show-thinking --save $talk/half.dsv4 --save-at 12
printf '\n$ dsv4 peek %s/half.dsv4\n' $talk
$dsv4 peek $talk/half.dsv4
ask run $model --restore $talk/half.dsv4 --show-thinking

cat <<TEXT

== Now you
  $dsv4 chat $model --temperature 0
talks to it; /help there lists the commands, \`$dsv4 chat --help\` the options. The model is tiny: it greets, adds
numbers of two digits, remembers facts, repeats words and calls two tools, and nothing more ($model/README.md). A real
checkpoint, a folder with config.json, tokenizer.json and *.safetensors as published, goes in its place.
TEXT
