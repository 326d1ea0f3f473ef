#!/bin/sh
# The Windows library, from a bare Debian to a verdict: installs mingw-w64 and Wine where they are missing, compiles
# dsv4.dll, its import library, the programs and the tests, and runs them under Wine. Needs no Windows and no display.
#
#   sh tests/windows.sh           configure, build, test
#   sh tests/windows.sh long      also what takes minutes there
#
# The first failure ends it, with CTest's own list of what failed. JOBS: how many at once (default: the cores). What has
# no test here, and why, is said by the configure step and in tests/left_out.cmake.
set -eu
cd "$(dirname "$0")/.."
. tests/cross.sh

cross_build windows

# A Wine of our own: nothing of the user's, no window. It is made here, before several tests would at the same time.
WINEPREFIX=$PWD/build/wine
export WINEPREFIX WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
unset DISPLAY WAYLAND_DISPLAY
wine=$(sed -n 's/^DSV4_WINE:[A-Z]*=//p' build/windows/CMakeCache.txt)
say "Wine: $("$wine" build/windows/bin/dsv4.exe --version 2>build/wine.log | tr -d '\r' | tr '\n' ';')"
cross_test windows
