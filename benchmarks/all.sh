#!/usr/bin/env bash
# Measures what this machine can, short questions first, and writes the tables of docs/performance.md: make bench.
# Each question writes benchmarks/measured/NAME_DEVICE.json; those about the network are gpu.sh's where there is a GPU.
# PYTHON selects the interpreter. Exit status 1: a question, named at the end, has no figure at all.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHON=${PYTHON:-python3}
MEASURED=benchmarks/measured
device=$("$PYTHON" -c 'import jax; print(jax.default_backend())') || exit 1
failed=

ask() { # SCRIPT DEVICE
  echo "benchmarks/$1.py" >&2
  "$PYTHON" "benchmarks/$1.py" --json "$MEASURED/$1_$2.json" || failed+=" $1"
}

ask scaling "$device"
ask matching "$device"
ask input cpu
if [ "$device" = gpu ]; then
  OUT=benchmarks/results benchmarks/gpu.sh && cp benchmarks/results/gpu.json "$MEASURED/" || failed+=" gpu.sh"
else
  for script in postprocess detect forward train_step; do ask "$script" "$device"; done
fi
ask roofline "$device"
ask memory "$device"
ask startup "$device"
ask evaluate cpu
"$PYTHON" benchmarks/report.py --docs || exit 1
if [ -n "$failed" ]; then
  echo "not measured:$failed" >&2
  exit 1
fi
