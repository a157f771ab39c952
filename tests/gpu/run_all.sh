#!/usr/bin/env bash
# Runs the tests on a GPU, then the benchmark, on a machine with PyTorch, transformers and pytest; no network is needed.
#
#   bash tests/gpu/run_all.sh OUT
#
# OUT gets machine.txt, tests.log, tests.xml, benchmark.log, results.json and results.md. The exit code is 1 if a test or
# an alternative of the benchmark failed. Variables: PYTHON (default: the clone's .venv, else python3), MINUTES (of the
# benchmark, 2.8), TEST_SECONDS (after which the tests are stopped, 300), TEST_ARGS and BENCH_ARGS (further arguments of
# pytest and of bench_gpu.py).
# Rehearsal on a CPU: REHEARSAL=1 bash tests/gpu/run_all.sh OUT
set -uo pipefail

if (( $# != 1 )); then
    echo "error: OUT: found $# arguments, wanted one folder to write" >&2
    exit 2
fi
root=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$1" || exit 2
out=$(CDPATH= cd -- "$1" && pwd)
python=${PYTHON:-$root/.venv/bin/python}
if [[ -z ${PYTHON:-} && ! -x $python ]]; then python=python3; fi
cd "$root" || exit 2
export PYTHONUNBUFFERED=1
# The values to compare with are the CPU's: use it, which the tests by themselves do not.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( $(nproc) > 8 ? 8 : $(nproc) ))}
benchmark=(tests/benchmarks/bench_gpu.py --device cuda)
if [[ ${REHEARSAL:-} == 1 ]]; then
    export LAMAR_GPU_REHEARSAL=1 CUDA_VISIBLE_DEVICES=
    benchmark=(tests/benchmarks/bench_gpu.py --device cpu --quick)
fi

{
    date -u
    nvidia-smi 2>/dev/null || echo "no nvidia-smi"
    nproc
    "$python" -m pip list 2>/dev/null | grep -iE '^(torch|transformers|accelerate|peft|captum|triton|numpy|nvidia-|flash)'
} > "$out/machine.txt"

failed=0
# A test that hangs must not cost the benchmark.
timeout "${TEST_SECONDS:-300}" "$python" -m pytest -m gpu tests/gpu --junit-xml "$out/tests.xml" ${TEST_ARGS:-} 2>&1 |
    tee "$out/tests.log" || failed=1
"$python" "${benchmark[@]}" --minutes "${MINUTES:-2.8}" --output_dir "$out" ${BENCH_ARGS:-} 2>&1 |
    tee "$out/benchmark.log" || failed=1
echo "outputs: $out"
exit $failed
