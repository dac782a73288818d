#!/usr/bin/env bash
# One GPU for a quarter of an hour: what is the fastest there, and five students trained with it. Two calls of six minutes each:
#
#   experiments/launch/gpu.sh --part measure    # the forms of a step, PyTorch's beside them, command buffers, the ceiling
#   experiments/launch/gpu.sh --part train      # with the fastest: teacher, then students from labels, by KD and by CRD; publishes
#
# The same command goes on from where it was stopped, wherever that was: benchmarks keep each row, runs a checkpoint at most 30
# seconds old. `--part full` is for a machine that one has for longer: all benchmarks for GPUs, experiments/cifar100_methods.py with
# its 240 epochs, and the teachers' weights packed. Exit status: 0 all done, 75 to be called again, 1 something failed.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
    cat <<'TEXT'
usage: gpu.sh [options]

  --part NAME        measure | train | both | full (default: both)
  --seconds N        how long this call may take (default: 345)
  --python COMMAND   Python with kd's packages (default: uv run python)
  --data FILE.npz    CIFAR-100, or a part of it, as arrays x_train, y_train, x_test, y_test (default: kd prepare cifar100)
  --runs DIR         where the runs lie (default: runs)
  --results DIR      where JSON, the table and the choice are written (default: benchmarks/results-gpu)
  --keep DIR         keep the runs there as pieces of 15 MiB, and bring them back from there where --runs is empty
  --precision P      of --part full: default | float32 | tf32 | bfloat16 (default: bfloat16)
  --weights DIR      of --part full: where the teachers' weights are written (default: weights)
  --toy              tiny sizes: shows that it runs, on a CPU too
  --budget           print what each piece takes at 1, 2 and 3 ms a step
  --dry_run          print every command, run none

A machine that has jax, flax, optax, orbax-checkpoint and jaxtyping needs one package more, ml-collections (with absl-py and
PyYAML); data from --data are read by NumPy, without grain and TensorFlow Datasets:

  PYTHONPATH=DIR_WITH_ML_COLLECTIONS experiments/launch/gpu.sh --python python3 --data cifar100.npz
TEXT
}

fail() {
    echo "gpu.sh: $*" >&2
    exit 2
}

part=both seconds=345 python='uv run python' data='' runs=runs precision=bfloat16 results=benchmarks/results-gpu weights=weights
keep='' toy=false dry=false
while [ $# -gt 0 ]; do
    case $1 in
    --part | --seconds | --python | --data | --runs | --precision | --results | --weights | --keep)
        [ $# -gt 1 ] || fail "$1 needs a value. See --help."
        declare "${1#--}=$2"
        shift
        ;;
    --toy) toy=true ;;
    --dry_run) dry=true ;;
    --budget) exec python3 experiments/launch/budget.py ;;
    --help)
        usage
        exit 0
        ;;
    *) fail "unknown option $1. See --help." ;;
    esac
    shift
done
[[ $part =~ ^(measure|train|both|full)$ ]] || fail "--part $part: expected measure, train, both or full."
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "--seconds $seconds: expected 1 or more."
[[ $precision =~ ^(default|float32|tf32|bfloat16)$ ]] || fail "--precision $precision: expected default, float32, tf32 or bfloat16."
[[ $data != *[,=]* ]] || fail "--data $data: a name without , and = is needed."
[ -z "$data" ] || [ -f "$data" ] || $dry || fail "--data $data: no such file."
read -r -a py <<<"$python"

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
        timeout --signal=TERM --kill-after=10 "$left" "$@" &
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
    keep_runs
    echo "gpu.sh: the time is over; the same command goes on"
    exit 75
}

# The runs as pieces of 15 MiB, written anew: only what is complete takes the place of the older ones.
keep_runs() {
    if [ -z "$keep" ] || [ ! -d "$runs" ]; then return; fi
    rm -rf "$keep.part"
    mkdir -p "$keep.part"
    tar -C "$runs" -cf - . | split -b 15m - "$keep.part/runs.tar."
    rm -rf "$keep"
    mv "$keep.part" "$keep"
}

restore_runs() {
    if [ -n "$keep" ] && [ ! -d "$runs" ] && compgen -G "$keep/runs.tar.*" >/dev/null; then
        mkdir -p "$runs"
        cat "$keep"/runs.tar.* | tar -C "$runs" -xf -
    fi
}

small=()
$toy && small=(--toy --repeats 1)
bench() { do_it "${py[@]}" -m benchmarks "$@" "${small[@]}"; }

measure() {
    local all=FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,WHILE
    bench throughput --only bfloat16 --out "$results"
    with_flag --xla_gpu_enable_command_buffer= "$results/no_command_buffers"
    with_flag "--xla_gpu_enable_command_buffer=$all" "$results/all_command_buffers"
}

with_flag() { # XLA's flag, the directory of what is measured with it
    if ! $dry; then
        mkdir -p "$2"
        echo "$1" >"$2/flag"
    fi
    do_it env "XLA_FLAGS=${XLA_FLAGS:-} $1" "${py[@]}" -m benchmarks throughput --only 'bfloat16, vmap, device' --out "$2" "${small[@]}"
}

# What is measured in the time that is left.
measure_more() {
    $toy && return
    bench throughput --out "$results"
    bench ceiling --only wrn_40_2 --out "$results"
}

# The experiment's arguments, and a flag of XLA, from what was measured. Chosen once: another choice would begin anew.
choose() {
    arguments=precision=bfloat16,epochs=5 flag=''
    if ! $dry; then
        mkdir -p "$results"
        if [ ! -s "$results/choice" ]; then
            "${py[@]}" experiments/launch/budget.py --choose "$results" --seconds "$seconds" >"$results/choice.part"
            mv "$results/choice.part" "$results/choice"
        fi
        { read -r arguments && { read -r flag || true; }; } <"$results/choice"
    fi
    if $toy; then # not in a loop on the device: one with convolutions compiles for minutes on a CPU
        arguments=${arguments%%,epochs=*}
        arguments="toy,seeds=2,epochs=1,${arguments%%,loop=*}"
    fi
    if [ -n "$data" ]; then
        arguments+=",data=arrays,path=$data"
    elif $toy; then
        arguments+=,data=digits
    fi
}

train() {
    local arguments flag experiment
    choose
    experiment=experiments/quarter_hour.py:$arguments
    [ -z "$flag" ] || export XLA_FLAGS="${XLA_FLAGS:-} $flag"
    do_it "${py[@]}" -m kd table "$experiment" --runs "$runs" --out "$results"
    $toy || do_it "${py[@]}" -m kd table "$experiment" --runs "$runs" --publish
}

full() {
    local name other teacher experiment=experiments/cifar100_methods.py trained=''
    local names=(ceiling pytorch fused cached seeds ensembles waiting) teachers=(wrn_40_2 resnet32x4)
    $toy && names=(ceiling) teachers=(resnet14) trained=,epochs=1
    [ "$precision" = default ] || trained+=",precision=$precision"
    $toy && trained+=,data=digits
    of() { $toy && echo "$experiment:toy,seeds=2,precision=$1" || echo "$experiment:precision=$1"; }
    for name in "${names[@]}"; do
        if [ "$name" = pytorch ] && ! $dry && ! "${py[@]}" -c 'import torch' 2>/dev/null; then
            echo 'gpu.sh: PyTorch is not here (uv sync --group bench): nothing is compared with it'
            continue
        fi
        bench "$name" --out "$results"
    done
    do_it "${py[@]}" -m kd table "$(of "$precision")" --runs "$runs"
    for other in float32 tf32; do
        [ "$other" = "$precision" ] || do_it "${py[@]}" -m kd table "$(of "$other")" --only '*labels*' --runs "$runs"
    done
    $toy || do_it "${py[@]}" -m kd table "$(of "$precision")" --runs "$runs" --publish
    for teacher in "${teachers[@]}"; do
        [ -e "$weights/$teacher.safetensors" ] ||
            do_it "${py[@]}" -m kd pack "$runs/cifar100_teacher-model=$teacher$trained" --out "$weights/$teacher.safetensors"
    done
}

$dry || restore_runs
case $part in
both)
    measure
    train
    measure_more
    ;;
measure)
    measure
    measure_more
    ;;
*) "$part" ;;
esac
$dry || keep_runs
if [ "$failed" -ne 0 ]; then
    echo "gpu.sh: something failed, see above; the same command tries it again" >&2
    exit 1
fi
$dry || echo "gpu.sh: all done"
