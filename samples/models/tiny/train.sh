#!/bin/sh
# From nothing to the tiny model's checkpoint: sh samples/models/tiny/train.sh [OUTDIR [--start CHECKPOINT]]
# Makes a Python environment in the build folder (PyTorch and three small packages from PyPI, about 5 GB), trains for
# less than an hour on two cores, prints progress and the time left, and writes the checkpoint to OUTDIR (default:
# build/tiny/checkpoint). With --start a finished checkpoint is trained on instead. Interrupted, the same command goes
# on where it was. Needs Python 3.11 or later with venv and its headers, and g++.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../../.." && pwd)/build/tiny
out=${1:-$build/checkpoint}
[ $# -eq 0 ] || shift
mkdir -p "$build" "$out"

if ! cmp -s "$here/train/requirements.txt" "$build/venv/installed.txt"; then
  echo "installing PyTorch into $build/venv (once)"
  python3 -m venv "$build/venv"
  "$build/venv/bin/pip" install --requirement "$here/train/requirements.txt"
  cp "$here/train/requirements.txt" "$build/venv/installed.txt"
fi

# glibc hands freed memory back at once by default; a training step asks for the same gigabyte again and again.
export MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=268435456
export TORCHINDUCTOR_CACHE_DIR="$build/compiled"
"$build/venv/bin/python" -u "$here/train/train.py" "$out" --state "$out/unfinished.pt" "$@"
