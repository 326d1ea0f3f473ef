#!/bin/bash
# llama.cpp and libdsv4 on the same shapes of V4-Flash, in turns on one machine: tokens/s of both and their ratio.
#
#   bash tests/bench/compare_llama.sh WORK [ROUNDS]      default: 3 rounds
#
# WORK is a folder for the peer: llama.cpp as a PyPI source package has it, a random GGUF of four layers of Flash's
# shapes (ratios 4, 128, 4, 128, as `dsv4 bench --layers 4` has them; 16.5 GB) and a driver; it is built when it is not
# there (10 minutes, 40 GB of disk). Both read weights of their own format: MXFP4 experts and Q8_0 against FP4 and FP8,
# a BF16 head. Wants an idle machine with 20 GB of memory and a release build (cmake --preset release); THREADS sets the
# threads of both (default: the cores), ISA=avx2 holds both to AVX2 (a second build of the peer). The driver waits until nothing else runs and drops repetitions that something
# disturbed.
set -eu
cd "$(dirname "$0")/../.."
work=${1:?a folder for llama.cpp}
rounds=${2:-3}
threads=${THREADS:-$(nproc)}
isa=${ISA:-native}
here=$PWD/tests/bench/llama
case $isa in
  native) build=build driver=driver level=auto peer_flags=(-DGGML_NATIVE=ON) ;;
  avx2)
    build=build-avx2 driver=driver-avx2 level=avx2
    peer_flags=(-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON)
    export ONEDNN_MAX_CPU_ISA=AVX2
    ;;
  *) echo "compare_llama: ISA is native or avx2, not $isa" >&2; exit 2 ;;
esac
dsv4=build/release/bin/dsv4
[ -x "$dsv4" ] || { echo "compare_llama: $dsv4 is missing: cmake --preset release && cmake --build --preset release" >&2; exit 1; }

build_peer() {
  mkdir -p "$work/models" "$work/sdist"
  (
    cd "$work"
    if [ ! -d venv ]; then
      python3 -m venv venv
      venv/bin/pip install -q gguf numpy scikit-build-core
    fi
    if [ ! -d src ]; then
      (cd sdist && ../venv/bin/pip download -q --no-binary :all: --no-deps --no-build-isolation llama-cpp-python==0.3.36 &&
        tar xzf llama_cpp_python-0.3.36.tar.gz)
      mv sdist/llama_cpp_python-0.3.36/vendor/llama.cpp src
    fi
    if [ ! -f $build/src/libllama.a ]; then
      cmake -S src -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release "${peer_flags[@]}" -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DBUILD_SHARED_LIBS=OFF
      ninja -C $build llama
    fi
    if [ ! -x $driver ]; then
      g++ -O2 -Isrc/include -Isrc/ggml/include "$here/driver.cpp" -o $driver $build/src/libllama.a \
        $build/ggml/src/libggml.a -ldl $build/ggml/src/libggml-cpu.a $build/ggml/src/libggml-base.a -lm \
        "$(gcc -print-file-name=libgomp.so)" -lpthread
    fi
    if [ ! -f models/flash4L.gguf ]; then
      venv/bin/python "$here/make_gguf.py" models/flash4L.gguf --ratios 4,128,4,128 --hash 0 --vocab 129280
    fi
  )
}

# The best of each kind in one round: decode without context and at 4,096 tokens, prefill of 512.
peer_round() {
  "$work/$driver" "$work/models/flash4L.gguf" "$threads" 1 tg:0:16:3 tg:4096:16:3 pp:512:2 |
    sed -n 's/^RESULT \(.*\) best \([0-9.]*\) t\/s.*/\1 \2/p' |
    awk '/^tg depth=0 /{print "decode", $NF} /^tg depth=4096 /{print "decode4k", $NF} /^pp /{print "prefill", $NF}'
}
our_round() {
  for depth in 0 4096; do
    "$dsv4" bench --shape flash --layers 4 --isa "$level" --threads "$threads" --context "$depth" --prompt 512 --json | tail -1 |
      python3 -c 'import json, sys
line = json.load(sys.stdin)
depth = int(sys.argv[1])
print("decode" if depth == 0 else "decode4k", line["decode_tokens_per_s"])
if depth != 0: print("prefill", line["prefill_tokens_per_s"])' "$depth"
  done
}

build_peer
results=$(mktemp)
trap 'rm -f "$results"' EXIT
for round in $(seq "$rounds"); do
  echo "round $round of $rounds: llama.cpp" >&2
  peer_round | sed 's/^/llama.cpp /' >>"$results"
  echo "round $round of $rounds: libdsv4" >&2
  our_round | sed 's/^/libdsv4 /' >>"$results"
done
python3 - "$results" <<'PY'
import statistics, sys
runs = {}
for line in open(sys.argv[1]):
    who, what, value = line.split()
    runs.setdefault(what, {}).setdefault(who, []).append(float(value))
print(f"{'tokens/s, median of the rounds':34}{'llama.cpp':>12}{'libdsv4':>12}{'ratio':>9}{'each round':>22}")
titles = {"decode": "decode, empty context", "decode4k": "decode at 4,096", "prefill": "prefill of 512"}
for what, title in titles.items():
    peer, ours = runs[what]["llama.cpp"], runs[what]["libdsv4"]
    ratios = ", ".join(f"{o / p:.2f}" for o, p in zip(ours, peer))
    a, b = statistics.median(peer), statistics.median(ours)
    print(f"{title:34}{a:12.2f}{b:12.2f}{b / a:8.2f}x{ratios:>22}")
PY
