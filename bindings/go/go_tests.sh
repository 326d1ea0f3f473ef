#!/bin/sh
# The Go binding against a built library: format, vet, tests under the race detector, the conversation script.
#   go_tests.sh ROOT LIBDIR WORKDIR      Go's caches are in WORKDIR, nothing is fetched
set -eu
root=$1
libdir=$2
work=$3
mkdir -p "$work"
cd "$root/bindings/go"

export GOCACHE="$work/cache" GOPATH="$work/path" GOENV=off GOPROXY=off GOFLAGS=-buildvcs=false CGO_ENABLED=1
export CGO_CFLAGS="-I$root/include -O2" CGO_LDFLAGS="-L$libdir -Wl,-rpath,$libdir"

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "FAILED: not as gofmt writes it: $unformatted" >&2; exit 1; }
go vet ./...
# -count=1: a changed library is nothing that Go's cache of results would know of.
go test -race -count=1 .
# Examples and callbacks again with every pointer that goes to C checked.
GODEBUG=cgocheck=2 go test -count=1 .

go build -o "$work/conversation" ./conversation
"$work/conversation" "$root/samples/models/tiny" >"$work/conversation.out"
diff "$root/tests/bindings/conversation.expected" "$work/conversation.out"

# What README.md shows is a program.
awk '/^```go$/ {p = 1; next} /^```$/ {p = 0} p' README.md >"$work/readme.go"
go build -o "$work/readme" "$work/readme.go"
[ "$(cd "$root" && "$work/readme")" = "I can add two numbers, remember facts, repeat words and call tools." ]

# The other way to find the library: by pkg-config alone.
if command -v pkg-config >/dev/null; then
  printf 'Name: dsv4\nDescription: in the build tree\nVersion: 0\nCflags: -I%s\nLibs: -L%s -ldsv4 -Wl,-rpath,%s\n' \
    "$root/include" "$libdir" "$libdir" >"$work/dsv4.pc"
  CGO_CFLAGS= CGO_LDFLAGS= PKG_CONFIG_PATH=$work go build -tags dsv4_pkgconfig -o "$work/conversation" ./conversation
  "$work/conversation" "$root/samples/models/tiny" | cmp - "$root/tests/bindings/conversation.expected"
fi
