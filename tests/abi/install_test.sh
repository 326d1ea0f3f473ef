#!/bin/sh
# An installed libdsv4 serves a stranger's project: through find_package, shared and static, and through pkg-config; and
# still does after its prefix was moved.
#   install_test.sh ROOT BUILD CMAKE
set -eu
root=$1
build=$2
cmake=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
run() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; echo "FAILED: $*" >&2; exit 1; }; }

run "$cmake" --install "$build" --prefix "$dir/first"
mv "$dir/first" "$dir/prefix"
prefix=$dir/prefix
libdir=$(dirname "$(find "$prefix" -name libdsv4.so)")

# The C header, and the C++ binding over it in a folder of its own.
installed=$(find "$prefix" -name '*.h' -o -name '*.hpp' ! -path "$prefix/include/dsv4.hpp" ! -path "$prefix/include/dsv4/*")
[ "$installed" = "$prefix/include/dsv4.h" ] || { echo "FAILED: headers installed: $installed" >&2; exit 1; }
if grep -rlF "$root" "$prefix/include" "$libdir/cmake" "$libdir/pkgconfig" || grep -rlF "$dir/first" "$libdir/cmake"; then
  echo "FAILED: the files above name a folder of the build" >&2
  exit 1
fi

# A plain C project needs the shared library only; the static one asks for C++'s runtime.
run "$cmake" -S "$root/tests/abi/consumer" -B "$dir/shared" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DWITH_STATIC=OFF
run "$cmake" --build "$dir/shared"
run "$dir/shared/consumer"
run "$cmake" -S "$root/tests/abi/consumer" -B "$dir/static" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DWITH_STATIC=ON
run "$cmake" --build "$dir/static"
run "$dir/static/consumer_static"

PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
cc=${CC:-cc}
# shellcheck disable=SC2046  # flags are words
run $cc $(pkg-config --cflags dsv4) "$root/tests/abi/consumer/consumer.c" $(pkg-config --libs dsv4) \
  -Wl,-rpath,"$libdir" -o "$dir/by_pkg_config"
run "$dir/by_pkg_config"
# shellcheck disable=SC2046
run $cc $(pkg-config --cflags dsv4) "$root/tests/abi/consumer/consumer.c" \
  $(pkg-config --static --libs dsv4 | sed 's/-ldsv4/-l:libdsv4.a/') -o "$dir/by_pkg_config_static"
run "$dir/by_pkg_config_static"

echo "installed, moved, and used four ways"
