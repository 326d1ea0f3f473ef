#!/bin/sh
# Everything of the cuda backend that needs a GPU: goldens step by step and end to end, cpu against cuda, snapshots that
# move, a soak, the benchmark, compute-sanitizer. The machine with the GPU needs the driver and nothing else, and no network:
#
#   sh tests/gpu.sh pack      where the build's dependencies are: builds, and puts all that is needed into build/gpu/pack.tar.gz
#   sh tests/gpu.sh run       where the GPU is, with that file in the tree: runs it; results in build/gpu/results
#   sh tests/gpu.sh           both, on one machine
#
# ARCHS: compute capabilities to build for (90a: H100, H200), few, so that the file stays small. SOAK: seconds of the
# soak (60). LAYERS, PROMPT: of the benchmark (3, 2048). RESULTS: another folder for the results. The first failure ends
# it; what was measured until then is kept. compute-sanitizer comes along from PyPI, for the machine with the GPU has no
# toolkit.
set -eu
SANITIZER_VERSION=13.0.85
SANITIZER=nvidia_cuda_sanitizer_api-$SANITIZER_VERSION-py3-none-manylinux_2_25_x86_64.whl
SANITIZER_SHA256=b1efff95f63b6fe40dc83801d598550542364393957775912a1abf396904331c
cd "$(dirname "$0")/.."
pack=build/gpu/pack
results=${RESULTS:-build/gpu/results}
say() { echo "==== $*"; }
die() { say "$*" >&2; exit 1; }
. cmake/download.sh
# logged FILE COMMAND...: what it says is seen and kept; a pipe by itself would hide that it failed.
logged() {
  log=$1
  shift
  { "$@" 2>&1 || echo $? >"$log.failed"; } | tee "$log"
  [ ! -e "$log.failed" ] || { say "failed: $* (status $(cat "$log.failed"))"; exit 1; }
}

pack() {
  sh cmake/bootstrap.sh
  cmake --preset gpu -DDSV4_CUDA_ARCHITECTURES="${ARCHS:-90a}" >build/configure-gpu.log 2>&1 ||
    { cat build/configure-gpu.log >&2; exit 1; }
  cmake --build --preset gpu
  rm -rf $pack
  mkdir -p $pack
  cp build/gpu/gpu/gpu_*_test build/gpu/bin/dsv4 $pack/
  cp -P build/gpu/lib/libdsv4.so* build/gpu/lib/libdsv4_cuda.so $pack/
  strip --strip-unneeded $pack/gpu_*_test $pack/dsv4 $pack/*.so.*.* $pack/libdsv4_cuda.so
  # What else they load, but for the C library and the driver.
  for library in $(ldd $pack/dsv4 $pack/gpu_ops_test | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | sort -u); do
    case $library in
      *libpcre2* | *libzstd* | *libstdc++* | *libgcc_s*) cp -L "$library" $pack/ ;;
    esac
  done
  pack_sanitizer
  # One small file: what travels to a lent machine is limited.
  tar -czf $pack.tar.gz -C build/gpu pack
  rm -rf $pack
  say "packed: $(du -sh $pack.tar.gz | cut -f1), $pack.tar.gz"
}

pack_sanitizer() {
  fetch nvidia-cuda-sanitizer-api==$SANITIZER_VERSION $SANITIZER $SANITIZER_SHA256 binary "install CUDA's where the GPU is"
  rm -rf build/gpu/sanitizer
  python3 -m zipfile -e build/download/$SANITIZER build/gpu/sanitizer
  mkdir $pack/sanitizer
  cp build/gpu/sanitizer/nvidia/cu13/bin/compute-sanitizer build/gpu/sanitizer/nvidia/cu13/lib/*.so $pack/sanitizer/
  cp build/gpu/sanitizer/*.dist-info/licenses/* $pack/sanitizer/
  chmod +x $pack/sanitizer/compute-sanitizer
  rm -rf build/gpu/sanitizer
}

run() {
  [ -f $pack.tar.gz ] || { echo "gpu.sh: $pack.tar.gz is not there; run: sh tests/gpu.sh pack" >&2; exit 2; }
  tar -xzf $pack.tar.gz -C build/gpu
  command -v nvidia-smi >/dev/null || { echo "gpu.sh: no nvidia-smi here, so no driver" >&2; exit 2; }
  mkdir -p "$results"
  rm -f "$results"/*.failed
  LD_LIBRARY_PATH=$PWD/$pack${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$results/card.txt"
  date -u +%Y-%m-%d >>"$results/card.txt"

  say "every step with its recorded input"
  logged "$results/ops.txt" $pack/gpu_ops_test
  say "end to end"
  logged "$results/golden.txt" $pack/gpu_golden_test
  say "models: chunks, several sequences, recorded steps, states that move, soak"
  logged "$results/model.txt" env DSV4_SOAK="${SOAK:-60}" $pack/gpu_model_test
  benchmark
  sanitize
  say "done; results in $results"
}

# Whole models are too slow under it: the steps of one golden are what every kernel runs in.
sanitize() {
  sanitizer=$(command -v compute-sanitizer || echo $pack/sanitizer/compute-sanitizer)
  if [ ! -x "$sanitizer" ]; then
    say "compute-sanitizer is not here: left out"
    return
  fi
  for tool in memcheck racecheck; do
    say "compute-sanitizer $tool"
    logged "$results/$tool.txt" env DSV4_SOAK=0 "$sanitizer" --tool $tool --error-exitcode 9 --launch-timeout 0 \
      $pack/gpu_model_test -tc='a state moves*'
    grep -q "ERROR SUMMARY: 0 errors\|RACECHECK SUMMARY: 0 hazards" "$results/$tool.txt"
  done
}

benchmark() {
  for batch in 8 32; do
    say "benchmark: Flash's shapes, ${LAYERS:-3} layers, $batch sessions"
    logged "$results/bench-batch-$batch.txt" $pack/dsv4 bench --shape flash --layers "${LAYERS:-3}" --backend cuda \
      --batch $batch --prompt "${PROMPT:-2048}" --step-rows "${PROMPT:-2048}" --tokens 64 --json
  done
  say "benchmark: by verb"
  logged "$results/bench-by-verb.txt" $pack/dsv4 bench --shape flash --layers "${LAYERS:-3}" --backend cuda \
    --prompt "${PROMPT:-2048}" --step-rows "${PROMPT:-2048}" --by-verb
}

case ${1:-} in
  pack) pack ;;
  run) run ;;
  "") pack && run ;;
  *) echo "usage: sh tests/gpu.sh [pack | run]" >&2; exit 2 ;;
esac
