#!/usr/bin/env bash
# Runs `kd run` on a Cloud TPU VM: makes it (or queues for it), copies this repository there, runs on all of its workers, goes on
# after a preemption, and deletes it in the end.
#
#   experiments/launch/tpu.sh --name NAME --zone ZONE --type v5litepod-8 --bucket gs://BUCKET [options] -- --config FILE.py [...]
#
# What follows `--` goes to `kd run`, with `--runs BUCKET/NAME`: runs and checkpoints lie in the bucket and outlive the machine.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tpu.sh --name NAME --zone ZONE --type TYPE --bucket gs://BUCKET [options] -- --config FILE.py[:ARGUMENTS] [kd run's options]

  --name NAME        of the TPU VM; also the folder in the bucket
  --zone ZONE        such as us-west4-a
  --type TYPE        accelerator, such as v5litepod-8
  --bucket gs://B    where runs, checkpoints and prepared data sets lie
  --project ID       default: that of gcloud
  --version V        software of the VM (default: v2-alpha-tpuv5-lite)
  --spot             preemptible: cheaper; made again and resumed when it is taken away
  --queue            ask for it as a queued resource and wait
  --attempts N       how often it is made again (default: 20)
  --keep             do not delete it in the end
  --dry_run          print every command, run none
TEXT
}

fail() {
    echo "tpu.sh: $*" >&2
    exit 2
}

name='' zone='' type='' bucket='' project='' version=v2-alpha-tpuv5-lite
spot=false queue=false keep=false dry=false attempts=20
stopped=75 lost=255 # statuses: of kd run after SIGTERM, of ssh whose connection broke
while [ $# -gt 0 ]; do
    case $1 in
    --name | --zone | --type | --bucket | --project | --version | --attempts)
        [ $# -gt 1 ] || fail "$1 needs a value. See --help."
        declare "${1#--}=$2"
        shift
        ;;
    --spot) spot=true ;;
    --queue) queue=true ;;
    --keep) keep=true ;;
    --dry_run) dry=true ;;
    --help)
        usage
        exit 0
        ;;
    --)
        shift
        break
        ;;
    *) fail "unknown option $1. See --help; kd run's own follow --." ;;
    esac
    shift
done
for needed in name zone type bucket; do
    [ -n "${!needed}" ] || fail "--$needed is missing. See --help."
done
[[ $bucket == gs://* ]] || fail "--bucket $bucket: expected gs://..."
[[ $attempts =~ ^[1-9][0-9]*$ ]] || fail "--attempts $attempts: expected 1 or more."
[[ " $* " == *" --config"* ]] || fail "no --config for kd run after --."

where=(--zone "$zone")
[ -z "$project" ] || where+=(--project "$project")

# Prints a command as one could type it, and runs it unless this is a dry run.
do_it() {
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    $dry || "$@"
}

state() {
    gcloud compute tpus tpu-vm describe "$name" "${where[@]}" --format 'value(state)' 2>/dev/null || echo NONE
}

queued() {
    gcloud compute tpus queued-resources describe "$name" "${where[@]}" --format 'value(state.state)' 2>/dev/null || echo NONE
}

create() {
    local priority=() request=NONE
    if $queue; then
        $spot && priority=(--spot)
        $dry || request=$(queued)
        case $request in
        ACCEPTED | CREATING | PROVISIONING | WAITING_FOR_RESOURCES) ;; # its place in the queue is worth keeping
        *)
            # A request outlives the machine that was taken away, and its name is taken.
            [ "$request" = NONE ] || delete
            do_it gcloud compute tpus queued-resources create "$name" "${where[@]}" --node-id "$name" \
                --accelerator-type "$type" --runtime-version "$version" "${priority[@]}"
            ;;
        esac
        await
    else
        $spot && priority=(--preemptible)
        do_it gcloud compute tpus tpu-vm create "$name" "${where[@]}" \
            --accelerator-type "$type" --version "$version" "${priority[@]}"
    fi
}

await() {
    local request
    $dry && return
    until [ "$(state)" = READY ]; do
        request=$(queued)
        if [ "$request" = FAILED ] || [ "$request" = SUSPENDED ]; then
            echo "tpu.sh: the request for $name is $request. The same command asks again." >&2
            exit 1
        fi
        echo "tpu.sh: $name is queued, $(date -u +%H:%M)"
        sleep 60
    done
}

delete() {
    if $queue; then
        do_it gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
    else
        do_it gcloud compute tpus tpu-vm delete "$name" "${where[@]}" --quiet
    fi
}

everywhere() {
    do_it gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --command "$1"
}

# `&&` throughout: where a command's status is asked for, bash does not stop at the first that fails.
sync() {
    local archive data
    archive=${TMPDIR:-/tmp}/kd-$name.tar.gz
    printf -v data %q "$bucket/tensorflow_datasets"
    do_it git archive --format=tar.gz --output "$archive" HEAD &&
        do_it gcloud compute tpus tpu-vm scp "$archive" "$name:kd.tar.gz" "${where[@]}" --worker=all &&
        everywhere "rm -rf kd && mkdir kd && tar -xzf kd.tar.gz -C kd" &&
        everywhere "cd kd && python3 -m pip install --quiet --target .uv uv && .uv/bin/uv sync --quiet --python 3.12 --extra gcs" &&
        everywhere "cd kd && .uv/bin/uv pip install --quiet 'jax[tpu]'" &&
        everywhere "mkdir -p ~/tensorflow_datasets && { gcloud storage rsync --recursive $data ~/tensorflow_datasets || true; }"
}

# The same command on all workers: jax finds out from the slice who takes part. SIGTERM on preemption saves the state, and only the
# status tells such an end from that of a finished run.
run() {
    local command
    printf -v command ' %q' --runs "$bucket/$name" --stopped_status "$stopped" "$@"
    everywhere "cd kd && .uv/bin/uv run --no-sync kd run --distributed$command"
}

$dry || command -v gcloud >/dev/null || fail "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
for ((attempt = 1; attempt <= attempts; attempt++)); do
    found=NONE
    $dry || found=$(state)
    case $found in
    READY) ;;
    NONE) create ;;
    *)
        echo "tpu.sh: $name is $found: deleted and made again"
        delete || true
        create
        ;;
    esac
    status=0
    { sync && run "$@"; } || status=$?
    if [ "$status" -eq 0 ]; then
        $keep || delete
        exit 0
    fi
    # A run that failed by itself would fail again: only a machine that was taken away is made anew.
    [ "$status" -ne 2 ] || fail "kd run refuses its input, see above. $name is still there."
    if [ "$status" -eq "$stopped" ]; then
        delete || true # it may answer READY for another while
    elif [ "$status" -eq "$lost" ] && [ "$(state)" = READY ]; then
        sleep 60 # a machine that goes breaks its connections before its state says so
    fi
    if [ "$(state)" = READY ]; then
        echo "tpu.sh: the run failed with $status and $name is still there. Look at it, or delete it:" >&2
        dry=true
        delete >&2
        exit "$status"
    fi
    echo "tpu.sh: $name was taken away, attempt $attempt of $attempts"
done
echo "tpu.sh: $name was taken away $attempts times. The same command goes on from the last checkpoint." >&2
exit 1
