#!/bin/sh
# The library for 64-bit Arm on a machine that is none: installs what is missing, builds with Debian's cross compiler, runs
# the tests under qemu-user, the cpu backend's NEON levels against the reference among them.
#
#   sh tests/aarch64.sh           configure, build, test
#   sh tests/aarch64.sh long      also what takes minutes under the emulator
#
# The first failure ends it, with CTest's own list of what failed. JOBS: how many at once (default: the cores). What has
# no test here, and why, is said by the configure step and in tests/left_out.cmake.
set -eu
cd "$(dirname "$0")/.."

long="--label-exclude long"
case ${1:-} in
  "") ;;
  long) long="" ;;
  *) echo "usage: sh tests/aarch64.sh [long]" >&2; exit 2 ;;
esac
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
started=$(date +%s)
say() { echo "==== $(($(date +%s) - started)) s: $*"; }

say "what is missing is installed"
sh cmake/bootstrap.sh --aarch64
say "configure"
cmake --preset aarch64 -DDSV4_WERROR=ON >build/configure-aarch64.log 2>&1 ||
  { cat build/configure-aarch64.log >&2; exit 1; }
grep 'left out' build/configure-aarch64.log
say "build"
cmake --build --preset aarch64 --parallel "$jobs"
say "test"
# shellcheck disable=SC2086  # words
ctest --preset aarch64 --parallel "$jobs" --no-tests=error $long
say "done"
