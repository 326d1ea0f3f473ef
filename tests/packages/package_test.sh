#!/bin/sh
# The packages that cpack makes are what a user needs: each is unpacked into an empty folder, the hello sample is built
# against it (the .deb through pkg-config, the archive through find_package) and run with the bundled model. As root, the
# former runs once more with that folder as its whole world, beside only what the package says it depends on.
#   package_test.sh ROOT BUILD CMAKE CPACK
set -eu
root=$1
build=$2
cmake=$3
cpack=$4
tiny=$root/samples/models/tiny
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }
run() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; echo "FAILED: $*" >&2; exit 1; }; }
greets() { case $("$@" 2>&1) in "Hello! How can I help you today?"*) ;; *) fail "no greeting from: $*" ;; esac }

generators=TGZ
if command -v dpkg-deb >/dev/null; then generators="DEB;TGZ"; else echo "no dpkg-deb here: the archive only"; fi
run "$cpack" --config "$build/CPackConfig.cmake" -G "$generators" -B "$dir/packages"
archive=$(find "$dir/packages" -maxdepth 1 -name 'libdsv4-*.tar.gz')
[ -n "$archive" ] || { echo "FAILED: cpack made no archive" >&2; exit 1; }

# ---- the archive, unpacked anywhere
prefix="$dir/any where"
mkdir "$prefix"
tar -xzf "$archive" -C "$prefix" --strip-components=1
run "$cmake" -S "$root/tests/packages/stranger" -B "$dir/stranger" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
  -DHELLO="$root/samples/hello.c"
run "$cmake" --build "$dir/stranger"
greets "$dir/stranger/stranger" "$tiny" "Hello!"
if grep -rlF -e "$root" -e "$dir/packages" "$prefix/lib/cmake" "$prefix/lib/pkgconfig" "$prefix/include"; then
  fail "the files above name a folder of the build"
fi
for file in "$prefix"/lib/*.so "$prefix"/lib/*.a; do
  if readelf -SW "$file" | grep -q '\.debug_info'; then fail "$file carries debug information"; fi
done
if readelf -d "$prefix/lib/libdsv4.so" | grep 'R.*PATH' | grep -vF '[$ORIGIN/dsv4]'; then fail "a foreign search path"; fi
(cd "$prefix" && find . ! -type d) | sed 's|^\./||' | sort >"$dir/in_archive"

# ---- the Debian package
case $generators in *DEB*) ;; *) exit $failed ;; esac
deb=$(find "$dir/packages" -maxdepth 1 -name 'libdsv4_*.deb')
[ -n "$deb" ] || { echo "FAILED: cpack made no .deb" >&2; exit 1; }
run dpkg-deb -x "$deb" "$dir/system"
(cd "$dir/system/usr" && find . ! -type d) | sed 's|^\./||' | sort >"$dir/in_deb"
cmp -s "$dir/in_archive" "$dir/in_deb" || fail "the packages differ: $(diff "$dir/in_archive" "$dir/in_deb")"
depends=$(dpkg-deb -f "$deb" Depends)
case $depends in *libc6*libstdc++6*) ;; *) fail "Depends: $depends" ;; esac

PKG_CONFIG_PATH=$dir/system/usr/lib/pkgconfig
export PKG_CONFIG_PATH
mkdir -p "$dir/system/usr/bin"
# shellcheck disable=SC2046  # flags are words
run ${CC:-cc} $(pkg-config --cflags dsv4) "$root/samples/hello.c" $(pkg-config --libs dsv4) -o "$dir/system/usr/bin/hello"
greets env LD_LIBRARY_PATH="$dir/system/usr/lib" "$dir/system/usr/bin/hello" "$tiny" "Hello!"

# A system that has the package and what it depends on, and nothing else: found without a search path or an environment.
if [ "$(id -u)" = 0 ] && chroot / true 2>/dev/null; then
  for file in usr/bin/hello usr/lib/libdsv4.so usr/lib/dsv4/libdnnl.so.3; do
    if [ -e "$dir/system/$file" ]; then ldd "$dir/system/$file"; fi
  done | sed -n 's/^[^/]*\(\/[^ ]*\) (.*/\1/p' | grep -v "^$dir" | sort -u >"$dir/needed"
  while read -r file; do
    mkdir -p "$dir/system$(dirname "$file")"
    cp -L "$file" "$dir/system$file"
    # dpkg knows a file by the name under which it was installed, before or after /lib became a link to /usr/lib.
    package=$( (dpkg -S "$file" || dpkg -S "$(readlink -f "$file")") 2>/dev/null | sed -n '1s/:.*//p')
    echo "$depends" | tr ',' '\n' | sed 's/^ *//; s/ .*//' | grep -qx "$package" ||
      fail "$file of the package $package is needed, and Depends names $depends"
  done <"$dir/needed"
  cp -r "$tiny" "$dir/system/tiny"
  greets env -i "$(command -v chroot)" "$dir/system" /usr/bin/hello /tiny "Hello!"
  world="and in a root of its own"
else
  world="(not in a root of its own: only root may make one)"
fi
echo "$(wc -l <"$dir/in_deb") files, $(du -k "$deb" | cut -f1) KiB; Depends: $depends"
echo "used by find_package and pkg-config $world"
exit $failed
