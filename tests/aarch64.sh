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
. tests/cross.sh

cross_build aarch64
cross_test aarch64
