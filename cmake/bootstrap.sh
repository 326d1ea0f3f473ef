#!/bin/sh
# Installs what building libdsv4 needs and this machine lacks: Debian packages through apt; oneDNN 3, which Debian 12
# does not have, from two PyPI wheels unpacked into build/deps; the source of xgrammar, from PyPI too, patched, into
# build/xgrammar. Runs as often as you like; a machine that has everything is told so in well under a second. What was
# downloaded stays in build/download and is not fetched again.
#
#   sh cmake/bootstrap.sh            what `cmake --preset release` and the tests need
#   sh cmake/bootstrap.sh --tests    also clang: header checks, sanitizers, fuzz targets; what the bindings' tests need
#   sh cmake/bootstrap.sh --aarch64  for `cmake --preset aarch64`: cross compiler, qemu, the target's libraries; no oneDNN
#   sh cmake/bootstrap.sh --windows  for `cmake --preset windows`: mingw-w64, Wine, the target's libraries
set -eu
cd "$(dirname "$0")/.."

ONEDNN_VERSION=2023.2.0
ONEDNN_RUNTIME=onednn_cpu_gomp-$ONEDNN_VERSION-py2.py3-none-manylinux1_x86_64.whl
ONEDNN_RUNTIME_SHA256=2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb
ONEDNN_DEVEL=onednn_devel_cpu_gomp-$ONEDNN_VERSION-py2.py3-none-manylinux1_x86_64.whl
ONEDNN_DEVEL_SHA256=9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284
DOTNET_VERSION=3.1.23
DOTNET=dotnetcore2-$DOTNET_VERSION-py3-none-manylinux1_x86_64.whl
DOTNET_SHA256=5f076ddc39da0c685e7de20ecb91ee81185928918ec86fbeb3bffc55dd867ab5
XGRAMMAR_VERSION=0.2.8
XGRAMMAR=xgrammar-$XGRAMMAR_VERSION.tar.gz
XGRAMMAR_SHA256=8305646fd2b319d6c3003f51a1665e54cbbe9cba1fb636bc41d0b46434ccbb80
XGRAMMAR_PATCH=cmake/xgrammar/xgrammar-$XGRAMMAR_VERSION.patch

say() { echo "bootstrap: $*"; }
die() { echo "bootstrap: $*" >&2; exit 1; }
. cmake/download.sh

with_tests=no
with_aarch64=no
with_windows=no
for argument in "$@"; do
  case $argument in
    --tests) with_tests=yes ;;
    --aarch64) with_aarch64=yes ;;
    --windows) with_windows=yes ;;
    *) die "unknown option $argument; known: --tests --aarch64 --windows" ;;
  esac
done

if [ $with_aarch64 = yes ] && [ "$(uname -m)" = aarch64 ]; then
  die "--aarch64 is for other machines; here: cmake --preset release -DDSV4_WITHOUT_ONEDNN=ON"
fi

# ---- Debian packages ----------------------------------------------------------------------------------------------
# need PACKAGE COMMAND...: PACKAGE is wanted unless COMMAND succeeds. The thing itself is looked for, not the package,
# so that a compiler or a cmake from elsewhere is as good.
missing=""
need() {
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
have() { command -v "$1"; }
cmake_is_new() {
  version=$(cmake --version 2>/dev/null | sed -n '1s/[^0-9]*\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  [ -n "$version" ] || return 1
  [ "${version% *}" -gt 3 ] || { [ "${version% *}" -eq 3 ] && [ "${version#* }" -ge 22 ]; }
}
wants_onednn() {  # not where the system's own oneDNN is new enough, nor where there are no wheels
  [ "$(uname -m)" = x86_64 ] && [ $with_aarch64 = no ] || return 1
  ! grep -qs '^#define DNNL_VERSION_MAJOR 3' /usr/include/oneapi/dnnl/dnnl_version.h \
      /usr/local/include/oneapi/dnnl/dnnl_version.h
}
has_onednn() { [ "$(cat build/deps/.onednn 2>/dev/null)" = "$ONEDNN_VERSION" ]; }
has_wheels() {
  is_downloaded $ONEDNN_RUNTIME $ONEDNN_RUNTIME_SHA256 && is_downloaded $ONEDNN_DEVEL $ONEDNN_DEVEL_SHA256
}

has_xgrammar() {  # this version, with the patch as it is now
  [ "$(cat build/xgrammar/.xgrammar 2>/dev/null)" = "$XGRAMMAR_VERSION $(sha256sum <$XGRAMMAR_PATCH | cut -d' ' -f1)" ]
}

wants_dotnet() {  # the runtime of .NET, for the C# binding's tests: Debian has none, and its wheel is of one processor
  [ $with_tests = yes ] && [ "$(uname -m)" = x86_64 ] && ! have dotnet >/dev/null
}
has_dotnet() { [ "$(cat build/dotnet/.dotnet 2>/dev/null)" = $DOTNET_VERSION ]; }

need g++ have "${CXX:-g++}"
need cmake cmake_is_new
need ninja-build have ninja
need pkg-config have pkg-config
need libfmt-dev pkg-config --exists fmt
need nlohmann-json3-dev pkg-config --exists nlohmann_json
need libpcre2-dev pkg-config --exists libpcre2-8
need libzstd-dev pkg-config --exists libzstd
need doctest-dev sh -c 'ls /usr/include/doctest/doctest.h || ls /usr/local/include/doctest/doctest.h'
if wants_onednn && ! has_onednn; then
  need python3 have python3
  has_wheels || need python3-pip python3 -m pip --version
fi
if wants_dotnet && ! has_dotnet; then
  need python3 have python3
  is_downloaded "$DOTNET" $DOTNET_SHA256 || need python3-pip python3 -m pip --version
fi
if ! has_xgrammar; then
  need patch have patch
  is_downloaded "$XGRAMMAR" $XGRAMMAR_SHA256 || need python3-pip python3 -m pip --version
fi
if [ $with_tests = yes ]; then
  need clang have clang
  need llvm have llvm-symbolizer  # names in a sanitizer's stack
  # Bindings.
  need cargo have cargo
  need rustc have rustc
  need golang-go sh -c 'command -v go && command -v gofmt'
  need mono-devel have mono
  need mono-mcs have mcs
  need abigail-tools have abidiff
  need dpkg-dev have dpkg-shlibdeps
  # The executor that runs the cuda backend's kernels without a GPU (tests/simt); it needs the toolkit's headers as well.
  need libboost-context-dev sh -c 'ls /usr/include/boost/context/detail/fcontext.hpp'
  need libclang-rt-dev sh -c 'ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer*'
fi

if [ $with_aarch64 = yes ]; then
  need g++-aarch64-linux-gnu have aarch64-linux-gnu-g++
  need qemu-user have qemu-aarch64
fi
if [ $with_windows = yes ]; then
  . cmake/bootstrap_windows.sh
  windows_packages
fi

if [ -n "$missing" ]; then
  have apt-get >/dev/null || die "missing:$missing (these are Debian's names; there is no apt-get here to install them)"
  if [ "$(id -u)" = 0 ]; then
    root=env
  elif have sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    root="sudo env"
  else
    die "missing:$missing. Neither root nor sudo here; ask for: apt-get install --no-install-recommends$missing"
  fi
  say "installing$missing"
  mkdir -p build
  $root apt-get update -qq
  # shellcheck disable=SC2086  # one word a package
  $root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >build/apt.log 2>&1 ||
    { tail -n 20 build/apt.log >&2; die "apt-get could not install$missing (all it said: build/apt.log)"; }
fi

# ---- oneDNN -------------------------------------------------------------------------------------------------------
unpack() {
  say "unpacking oneDNN into build/deps"
  # Beside, then renamed: a build that runs meanwhile, or an interruption, never meets half of it.
  new=build/deps.new
  rm -rf $new
  python3 - $new build/download/$ONEDNN_RUNTIME build/download/$ONEDNN_DEVEL <<'PYTHON'
import os, shutil, sys, zipfile

target = sys.argv[1]
for wheel in sys.argv[2:]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            parts = name.split("/", 2)  # NAME.data / data / what goes into a prefix
            if len(parts) < 3 or not parts[0].endswith(".data") or parts[1] != "data" or name.endswith("/"):
                continue
            if os.path.basename(name) in ("libdnnl.so", "libdnnl.so.3"):
                continue  # a wheel has no symbolic links: these are two more copies of libdnnl.so.3.2, 54 MB each
            path = os.path.join(target, parts[2])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(name) as source, open(path, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
PYTHON
  ln -s libdnnl.so.3.2 $new/lib/libdnnl.so.3
  ln -s libdnnl.so.3 $new/lib/libdnnl.so
  echo $ONEDNN_VERSION >$new/.onednn
  rm -rf build/deps.old
  if [ -e build/deps ]; then mv build/deps build/deps.old; fi
  mv $new build/deps
  rm -rf build/deps.old
}

if wants_onednn; then
  if ! has_onednn; then
    fetch onednn-cpu-gomp==$ONEDNN_VERSION $ONEDNN_RUNTIME $ONEDNN_RUNTIME_SHA256 binary -DDSV4_WITHOUT_ONEDNN=ON
    fetch onednn-devel-cpu-gomp==$ONEDNN_VERSION $ONEDNN_DEVEL $ONEDNN_DEVEL_SHA256 binary -DDSV4_WITHOUT_ONEDNN=ON
    unpack
  fi
elif [ "$(uname -m)" != x86_64 ]; then
  say "no oneDNN for $(uname -m) here: configure with -DDSV4_WITHOUT_ONEDNN=ON unless find_package(dnnl 3) finds yours"
fi

# ---- xgrammar -----------------------------------------------------------------------------------------------------
unpack_xgrammar() {
  say "unpacking xgrammar into build/xgrammar"
  new=build/xgrammar.new
  rm -rf $new
  mkdir -p $new
  from=xgrammar-$XGRAMMAR_VERSION
  tar -xzf build/download/$XGRAMMAR -C $new --strip-components=1 $from/LICENSE $from/NOTICE $from/cpp $from/include \
      $from/3rdparty/picojson $from/3rdparty/dlpack/include $from/3rdparty/dlpack/LICENSE
  # Every hunk where it belongs, or nothing: half a patch would put prints and constructors into the library.
  patch --quiet --forward --fuzz=0 --strip=1 --directory=$new <$XGRAMMAR_PATCH ||
    die "$XGRAMMAR_PATCH does not apply to xgrammar $XGRAMMAR_VERSION"
  echo "$XGRAMMAR_VERSION $(sha256sum <$XGRAMMAR_PATCH | cut -d' ' -f1)" >$new/.xgrammar
  rm -rf build/xgrammar
  mv $new build/xgrammar
}

if ! has_xgrammar; then
  fetch xgrammar==$XGRAMMAR_VERSION $XGRAMMAR $XGRAMMAR_SHA256 source -DDSV4_WITHOUT_XGRAMMAR=ON
  unpack_xgrammar
fi

# ---- .NET's runtime -----------------------------------------------------------------------------------------------
if wants_dotnet && ! has_dotnet; then
  fetch dotnetcore2==$DOTNET_VERSION $DOTNET $DOTNET_SHA256 binary -DDSV4_TESTS=OFF
  say "unpacking .NET's runtime into build/dotnet"
  rm -rf build/dotnet build/dotnet.new
  python3 -m zipfile -e build/download/$DOTNET build/dotnet.new
  mv build/dotnet.new/dotnetcore2/bin build/dotnet
  rm -rf build/dotnet.new
  chmod +x build/dotnet/dotnet
  echo $DOTNET_VERSION >build/dotnet/.dotnet
fi

if [ $with_aarch64 = yes ]; then sh cmake/aarch64_libraries.sh; fi
if [ $with_windows = yes ]; then windows_dependencies; fi
say "everything is there"
