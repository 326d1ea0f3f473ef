#!/bin/sh
# Runs two_copies with two files that hold the same library.
#   two_copies_test.sh ROOT LIBRARY PROGRAM
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -L "$2" "$dir/first.so"
cp -L "$2" "$dir/second.so"
# The report of a leak says "unknown module" where a library is gone: what it allocated is named by its address only.
"$3" "$dir/first.so" "$dir/second.so" "$1/samples/models/tiny" 4
