#!/usr/bin/env bash
# What a machine with a GPU measures and trains first, in pieces that end in time: the same command goes on until all is done.
#
#   experiments/launch/gpu.sh [--seconds N] [--runs DIR] [--precision P] [--results DIR] [--toy] [--dry_run]
#
# The ceiling of these convolutions, PyTorch beside kd, the fused step, cached teachers, seeds, ensembles and waiting; then
# experiments/cifar100_methods.py in its order (teacher, labels, KD, DKD, DIST, CRD; five seeds in one program); then labels once more
# in float32 and TF32, to compare accuracies; then the table is published and the teachers' weights are packed. Exit status: 0 all done, 75 to be called again, 1 something failed.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
    cat <<'TEXT'
usage: gpu.sh [options]

  --seconds N        how long this call may take (default: 540)
  --runs DIR         where the runs lie (default: runs)
  --precision P      of the training: default | float32 | tf32 | bfloat16 (default: bfloat16)
  --results DIR      where the benchmarks' JSON is written (default: benchmarks/results-gpu)
  --weights DIR      where the teachers' weights are written (default: weights)
  --toy              tiny sizes, on digits: shows that it runs
  --dry_run          print every command, run none
TEXT
}

fail() {
    echo "gpu.sh: $*" >&2
    exit 2
}

seconds=540 runs=runs precision=bfloat16 results=benchmarks/results-gpu weights=weights toy=false dry=false
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --runs | --precision | --results | --weights)
        [ $# -gt 1 ] || fail "$1 needs a value. See --help."
        declare "${1#--}=$2"
        shift
        ;;
    --toy) toy=true ;;
    --dry_run) dry=true ;;
    --help)
        usage
        exit 0
        ;;
    *) fail "unknown option $1. See --help." ;;
    esac
    shift
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "--seconds $seconds: expected 1 or more."
[[ $precision =~ ^(default|float32|tf32|bfloat16)$ ]] || fail "--precision $precision: expected default, float32, tf32 or bfloat16."

# Runs a command for the rest of the time; SIGTERM makes runs save, also that which ends this script. Ends this call where the time is
# over; what fails before is remembered, and the rest goes on.
failed=0 child=''
trap '[ -z "$child" ] || { kill -TERM "$child"; wait "$child" || true; }; exit 143' TERM INT
do_it() {
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    $dry && return
    local left=$((seconds - SECONDS)) status=0
    if [ "$left" -gt 0 ]; then
        timeout --signal=TERM --kill-after=60 "$left" "$@" &
        child=$!
        wait "$child" || status=$?
        child=''
        [ "$status" -ne 0 ] || return 0
        if [ "$SECONDS" -lt "$seconds" ]; then
            echo "gpu.sh: exit status $status of: $*" >&2
            failed=1
            return 0
        fi
    fi
    echo "gpu.sh: the time is over; the same command goes on"
    exit 75
}

experiment() { # precision -> reference of the experiment
    local arguments="precision=$1"
    $toy && arguments="toy,seeds=2,$arguments"
    echo "experiments/cifar100_methods.py:$arguments"
}

small=() teachers=(wrn_40_2 resnet32x4) benchmarks=(ceiling pytorch fused cached seeds ensembles waiting)
$toy && small=(--toy --repeats 1) teachers=(resnet14) benchmarks=(ceiling)
trained=''
$toy && trained=,epochs=1
[ "$precision" = default ] || trained+=",precision=$precision"
$toy && trained+=,data=digits

for name in "${benchmarks[@]}"; do
    if [ "$name" = pytorch ] && ! $dry && ! uv run python -c 'import torch' 2>/dev/null; then
        echo 'gpu.sh: PyTorch is not here (uv sync --group bench): nothing is compared with it'
        continue
    fi
    do_it uv run python -m benchmarks "$name" "${small[@]}" --out "$results"
done
do_it uv run kd table "$(experiment "$precision")" --runs "$runs"
for other in float32 tf32; do
    [ "$other" = "$precision" ] || do_it uv run kd table "$(experiment "$other")" --only '*labels*' --runs "$runs"
done
$toy || do_it uv run kd table "$(experiment "$precision")" --runs "$runs" --publish
for teacher in "${teachers[@]}"; do
    [ -e "$weights/$teacher.safetensors" ] ||
        do_it uv run kd pack "$runs/cifar100_teacher-model=$teacher$trained" --out "$weights/$teacher.safetensors"
done
if [ "$failed" -ne 0 ]; then
    echo "gpu.sh: something failed, see above; the same command tries it again" >&2
    exit 1
fi
$dry || echo "gpu.sh: all done"
