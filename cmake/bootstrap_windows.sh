# What `bootstrap.sh --windows` adds; read by it, with its functions. The compiler and Wine are Debian packages. For the
# target, build/windows-deps: zstd and PCRE2 compiled as archives from Debian's source packages, and the libraries that
# are headers only, copied out of /usr/include, which a cross compiler must not see whole.
WINDOWS_TARGET=x86_64-w64-mingw32
ZSTD_VERSION=1.5.4
ZSTD_SOURCE=libzstd_$ZSTD_VERSION+dfsg2.orig.tar.xz
ZSTD_SHA256=8cf4bbb65e77ec348d052c8d6230eba66d435bddf64c8b5be2fcb16880c19953
PCRE2_VERSION=10.42
PCRE2_SOURCE=pcre2_$PCRE2_VERSION.orig.tar.gz
PCRE2_SHA256=c33b418e3b936ee3153de2c61cc638e7e4fe3156022a5c77d0711bcbb9d64f1f

windows_packages() {
  need g++-mingw-w64-x86-64-posix have $WINDOWS_TARGET-g++-posix
  need wine64 sh -c 'command -v wine64 || ls /usr/lib/wine/wine64'
  need doctest-dev ls /usr/include/doctest/doctest.h
}

# The source lists of this machine, with deb-src for deb, beside its own: neither its settings nor its lists change. A
# mirror may lack the newest version, one of security's: what counts is the file, which several versions have.
fetch_debian_source() {  # fetch_debian_source PACKAGE FILE SHA256
  lists=$PWD/build/apt-sources
  mkdir -p "$lists/parts" "$lists/lists/partial" "$lists/cache/archives/partial"
  for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [ -f "$list" ] && sed 's/^deb /deb-src /; s/^Types:.*/Types: deb-src/' "$list" >"$lists/parts/$(basename "$list")"
  done
  options="-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$lists/parts
    -o Dir::State::lists=$lists/lists -o Dir::Cache=$lists/cache"
  # shellcheck disable=SC2086  # words
  apt-get $options update || true  # a list without sources among them; what matters is whether the files come
  # shellcheck disable=SC2086
  for version in $(apt-cache $options showsrc "$1" | sed -n 's/^Version: //p' | sort -ru); do
    (cd build/download && apt-get $options source --download-only "$1=$version") || true
    if is_downloaded "$2" "$3"; then return; fi
  done
  return 1
}

windows_source() {  # windows_source PACKAGE FILE SHA256
  is_downloaded "$2" "$3" && return
  say "downloading the source of $1"
  mkdir -p build/download
  if fetch_debian_source "$1" "$2" "$3" >build/apt.log 2>&1; then return; fi
  tail -n 5 build/apt.log >&2
  die "no build/download/$2 with sha256 $3 could be had from Debian's sources; put it there yourself"
}

windows_library() {  # windows_library NAME FILE CMAKELISTS_FOLDER OPTION...
  name=$1 file=$2 folder=$3
  shift 3
  say "compiling $name for Windows"
  work=build/windows-work/$name
  rm -rf "$work"
  mkdir -p "$work/source"
  tar -xf "build/download/$file" -C "$work/source" --strip-components=1
  { cmake -S "$work/source/$folder" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/toolchains/windows.cmake" -DCMAKE_INSTALL_PREFIX="$PWD/$windows_deps" \
      -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=OFF "$@" &&
    cmake --build "$work/build" && cmake --install "$work/build"; } >"$work.log" 2>&1 ||
    { tail -n 20 "$work.log" >&2; die "$name could not be compiled for Windows (all it said: $work.log)"; }
  rm -rf "$work"
}

# Their own packages' descriptions name /usr/include, or a Linux library.
windows_headers() {  # windows_headers NAME TARGET PROPERTY
  mkdir -p "$windows_deps/include" "$windows_deps/lib/cmake/$1"
  cp -Rp "/usr/include/${1%_json}" "$windows_deps/include/"
  cat >"$windows_deps/lib/cmake/$1/$1-config.cmake" <<CMAKE
if(TARGET $2)
  return()
endif()
add_library($2 INTERFACE IMPORTED)
target_include_directories($2 INTERFACE \${CMAKE_CURRENT_LIST_DIR}/../../../include)
$3
CMAKE
}

windows_stamp() { cat cmake/bootstrap_windows.sh cmake/toolchains/windows.cmake | sha256sum | cut -d' ' -f1; }

windows_dependencies() {
  [ "$(cat build/windows-deps/.windows 2>/dev/null)" != "$(windows_stamp)" ] || return 0
  windows_source libzstd $ZSTD_SOURCE $ZSTD_SHA256
  windows_source pcre2 $PCRE2_SOURCE $PCRE2_SHA256
  windows_deps=build/windows-deps
  rm -rf $windows_deps
  windows_library zstd $ZSTD_SOURCE build/cmake -DZSTD_BUILD_PROGRAMS=OFF -DZSTD_BUILD_SHARED=OFF \
    -DZSTD_MULTITHREAD_SUPPORT=OFF -DZSTD_LEGACY_SUPPORT=OFF
  windows_library pcre2 $PCRE2_SOURCE . -DPCRE2_SUPPORT_JIT=ON -DPCRE2_BUILD_PCRE2GREP=OFF -DPCRE2_BUILD_TESTS=OFF
  windows_headers fmt fmt::fmt-header-only \
    "target_compile_definitions(fmt::fmt-header-only INTERFACE FMT_HEADER_ONLY=1)"
  windows_headers nlohmann_json nlohmann_json::nlohmann_json ""
  windows_headers doctest doctest::doctest ""
  windows_stamp >$windows_deps/.windows
}
