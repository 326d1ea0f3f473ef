# Files of PyPI's, pinned, in build/download; read by scripts that stand in the root and have `say` and `die`.
#   is_downloaded FILE SHA256
#   fetch REQUIREMENT FILE SHA256 binary|source HOW_TO_DO_WITHOUT
is_downloaded() {
  echo "$2  build/download/$1" | sha256sum --check --status 2>/dev/null
}
fetch() {
  is_downloaded "$2" "$3" && return
  only="--only-binary=:all:"
  # A source package is asked for its metadata by its own build tools, which pip keeps to itself in a temporary folder.
  if [ "$4" = source ]; then only="--no-binary=${1%%=*}"; fi
  say "downloading $1"
  mkdir -p build/download
  # Only a download: nothing enters any Python environment, so that an externally managed one does not object.
  python3 -m pip download --quiet --no-deps "$only" --dest build/download "$1" ||
    die "could not download $1 from PyPI; put $2 into build/download yourself, or do without: $5"
  is_downloaded "$2" "$3" || die "build/download/$2: expected sha256 $3, found $(sha256sum <"build/download/$2")"
}
