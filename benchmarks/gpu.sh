#!/usr/bin/env bash
# Everything that needs a GPU, in one command of under nine minutes: the tests, then train step, detect, post-processing
# and forward, ours beside torchvision's where that is installed. Writes gpu.json and gpu.md to ${OUT:-benchmarks/results}.
#
#   benchmarks/gpu.sh          on a machine whose JAX sees a GPU; needs jax, flax, optax, numpy and pillow
#   benchmarks/gpu.sh --cpu    a smoke test: tiny sizes on the CPU
#
# PYTHON selects the interpreter. Exit status 3: no GPU; 1: a test failed or a question has no figure at all.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-benchmarks/results}
BUDGET=500 # seconds; a row that would not fit any more is skipped
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1

options=()
if [ "${1:-}" = --cpu ]; then
  options=(--quick)
  export JAX_PLATFORMS=cpu
elif ! "$PYTHON" -c 'import jax; jax.devices("gpu")' 2>/dev/null; then
  echo "no GPU: not measured (JAX of $PYTHON finds none; --cpu runs tiny sizes as a smoke test)" >&2
  exit 3
fi

parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
mkdir -p "$OUT"
status=0
left() { echo $((BUDGET - SECONDS)); }

tests="not run: pytest or hypothesis is not installed"
if [ ${#options[@]} -gt 0 ]; then
  tests="not run: no GPU"
elif "$PYTHON" -c 'import pytest, hypothesis' 2>/dev/null; then
  if timeout 120 "$PYTHON" -m pytest -m gpu tests/test_gpu.py -rs 2>&1 | tee "$parts/tests.log"; then
    tests=$(tail -n 1 "$parts/tests.log")
  else # also when they take too long
    tests="FAILED: $(tail -n 1 "$parts/tests.log")"
    status=1
  fi
fi
echo "tests that need a GPU: $tests"

# The most telling question first; what one leaves of its share goes to the next.
for question in train_step:40 detect:45 postprocess:45 forward:100; do
  script=${question%:*}
  seconds=$(($(left) * ${question#*:} / 100))
  "$PYTHON" "benchmarks/$script.py" --json "$parts/$script.json" --seconds "$seconds" "${options[@]}" >/dev/null || status=1
  # After each question, so that an interruption loses only what was not measured yet.
  "$PYTHON" benchmarks/report.py --tests "$tests" "$OUT" "$parts"/{train_step,detect,postprocess,forward}.json
done
cat "$OUT/gpu.md"
exit $status
