#!/bin/sh
# Everything from a bare machine to a verdict: installs what is missing, builds, runs every test.
#
#   sh tests/run.sh           release build, all tests; then, with clang, ASan + UBSan, and TSan for what has threads
#   sh tests/run.sh quick     release only
#
# The first failure ends it, with CTest's own list of what failed. JOBS: how many at once (default: the cores).
set -eu
cd "$(dirname "$0")/.."

stages="release asan tsan"
case ${1:-} in
  "") ;;
  quick) stages=release ;;
  *) echo "usage: sh tests/run.sh [quick]" >&2; exit 2 ;;
esac
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
started=$(date +%s)
say() { echo "==== $(($(date +%s) - started)) s: $*"; }

# An instrumented program wants its shadow memory at fixed addresses, which strong address space randomisation can
# already have taken; where the system lets us, that is switched off for the tests.
plain_addresses=""
if setarch "$(uname -m)" -R true 2>/dev/null; then plain_addresses="setarch $(uname -m) -R"; fi
# Every error ends its test, with a stack that can be read.
export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:${TSAN_OPTIONS:-}"

say "what is missing is installed"
sh cmake/bootstrap.sh --tests

for stage in $stages; do
  say "$stage: configure"
  # Warnings are errors: gcc's in the release stage, clang's in the others.
  cmake --preset "$stage" -DDSV4_WERROR=ON >"build/configure-$stage.log" 2>&1 ||
    { cat "build/configure-$stage.log" >&2; exit 1; }
  say "$stage: build"
  case $stage in
    release) cmake --build --preset release --parallel "$jobs" ;;
    asan) cmake --build --preset asan --parallel "$jobs" --target sanitizer_tests ;;
    tsan) cmake --build --preset tsan --parallel "$jobs" --target thread_tests ;;
  esac
  say "$stage: test"
  # The release stage holds every test; the presets of the others leave out what is marked slow (tests/CMakeLists.txt).
  # shellcheck disable=SC2086  # a command and its flags
  $plain_addresses ctest --preset "$stage" --parallel "$jobs" --no-tests=error
done
say "done: $stages"
