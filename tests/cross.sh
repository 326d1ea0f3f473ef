# What tests/aarch64.sh and tests/windows.sh share; read by them, from the root, with their arguments.
#   cross_build SYSTEM     installs what is missing, configures the preset of that name, builds it
#   cross_test SYSTEM      runs its tests; those of the label "long" only where the argument says so
long="--label-exclude long"
case ${1:-} in
  "") ;;
  long) long="" ;;
  *) echo "usage: sh $0 [long]" >&2; exit 2 ;;
esac
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
started=$(date +%s)
say() { echo "==== $(($(date +%s) - started)) s: $*"; }

cross_build() {
  say "what is missing is installed"
  sh cmake/bootstrap.sh "--$1"
  say "configure"
  cmake --preset "$1" -DDSV4_WERROR=ON >"build/configure-$1.log" 2>&1 || { cat "build/configure-$1.log" >&2; exit 1; }
  grep 'left out' "build/configure-$1.log"
  say "build"
  cmake --build --preset "$1" --parallel "$jobs"
}

cross_test() {
  say "test"
  # shellcheck disable=SC2086  # words
  ctest --preset "$1" --parallel "$jobs" --no-tests=error $long
  say "done"
}
