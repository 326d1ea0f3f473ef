#!/bin/sh
# The library for 64-bit Arm on a machine that is none: installs what is missing, builds with Debian's cross compiler, runs
# the tests under qemu-user, the cpu backend's NEON levels against the reference among them.
#
#   sh tests/aarch64.sh
#
# What cannot run under an emulator, and why: tests/emulated.cmake; CTest lists it as not run. The first failure ends it,
# with CTest's own list of what failed. JOBS: how many at once (default: the cores).
set -eu
cd "$(dirname "$0")/.."
[ $# -eq 0 ] || { echo "usage: sh tests/aarch64.sh" >&2; exit 2; }

jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
started=$(date +%s)
say() { echo "==== $(($(date +%s) - started)) s: $*"; }

say "what is missing is installed"
sh cmake/bootstrap.sh --aarch64
say "configure"
cmake --preset aarch64 -DDSV4_WERROR=ON >build/configure-aarch64.log 2>&1 ||
  { cat build/configure-aarch64.log >&2; exit 1; }
say "build"
cmake --build --preset aarch64 --parallel "$jobs"
say "test"
ctest --preset aarch64 --parallel "$jobs" --no-tests=error
say "done"
