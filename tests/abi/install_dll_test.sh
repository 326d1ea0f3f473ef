#!/bin/sh
# An installed libdsv4 for Windows serves a stranger's project, cross-compiled with the same toolchain: through
# find_package, shared and static, and by its files; and still does after its prefix was moved.
#   install_dll_test.sh ROOT BUILD CMAKE TOOLCHAIN [EMULATOR]
set -eu
root=$1
build=$2
cmake=$3
toolchain=$4
shift 4
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
run() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; echo "FAILED: $*" >&2; exit 1; }; }

run "$cmake" --install "$build" --prefix "$dir/first"
mv "$dir/first" "$dir/prefix"
prefix=$dir/prefix
for file in bin/dsv4.dll bin/dsv4.exe lib/libdsv4.dll.a lib/libdsv4.a lib/dsv4.def include/dsv4.h; do
  [ -f "$prefix/$file" ] || { echo "FAILED: no $file was installed" >&2; exit 1; }
done
if grep -rlF "$dir/first" "$prefix/lib/cmake"; then
  echo "FAILED: the files above name where it was first" >&2
  exit 1
fi

for kind in OFF ON; do
  run "$cmake" -S "$root/tests/abi/consumer" -B "$dir/$kind" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$toolchain" \
    -DCMAKE_FIND_ROOT_PATH="$prefix;$root/build/windows-deps" -Ddsv4_DIR="$prefix/lib/cmake/dsv4" -DWITH_STATIC=$kind
  run "$cmake" --build "$dir/$kind"
done
cp "$prefix/bin/dsv4.dll" "$dir/OFF"
run "$@" "$dir/OFF/consumer.exe"
run "$@" "$dir/ON/consumer_static.exe"

# By hand, as any makefile would.
cc=$(sed -n 's/^set(CMAKE_C_COMPILER \(.*\))/\1/p' "$toolchain")
run "$cc" -I"$prefix/include" "$root/tests/abi/consumer/consumer.c" -L"$prefix/lib" -ldsv4 -o "$prefix/bin/by_hand.exe"
run "$@" "$prefix/bin/by_hand.exe"
echo "installed, moved, and used three ways"
