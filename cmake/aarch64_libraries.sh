#!/bin/sh
# The target's libraries for `cmake --preset aarch64`, into build/aarch64-libraries: Debian's packages of arm64, unpacked
# and not installed. apt works on lists of its own below build/, so that this machine's packages, architectures and lists stay
# what they are, and root is not needed. cmake/bootstrap.sh --aarch64 calls this, after what it installs itself.
set -eu
cd "$(dirname "$0")/.."

say() { echo "bootstrap: $*"; }
die() { echo "bootstrap: $*" >&2; exit 1; }

target=build/aarch64-libraries
packages="libfmt-dev libfmt9 nlohmann-json3-dev doctest-dev libpcre2-dev libpcre2-8-0 libzstd-dev libzstd1"
[ "$(cat $target/.packages 2>/dev/null)" = "$packages" ] && exit 0

# apt wants absolute paths.
apt=$PWD/build/aarch64-apt
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/packages"
: >"$apt/status"
with_apt() {
  "$@" -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$apt" -o Dir::State::status="$apt/status" \
      -o Dir::Cache="$apt" -o Dir::Cache::archives="$apt/archives" -o APT::Sandbox::User=root \
      -o Acquire::Languages=none -o Debug::NoLocking=1
}
say "downloading the target's libraries: $packages"
# What matters is whether the packages are found: a source without arm64 is complained about, and is no failure.
with_apt apt-get update -qq >"$apt/log" 2>&1 || true
# shellcheck disable=SC2086  # one word a package
(cd "$apt/packages" && rm -f ./*.deb && with_apt apt-get download -qq $packages) >>"$apt/log" 2>&1 ||
  { tail -n 20 "$apt/log" >&2; die "could not download for arm64: $packages (all that apt said: build/aarch64-apt/log)"; }

new=$target.new
rm -rf $new
mkdir -p $new
for package in "$apt"/packages/*.deb; do dpkg-deb -x "$package" $new; done
echo "$packages" >$new/.packages
rm -rf $target
mv $new $target
