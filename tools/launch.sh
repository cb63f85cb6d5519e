#!/usr/bin/env bash
# Shared by dist_*.sh and slurm_*.sh, which source this file; not a script of its own.
set -eu
tools="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"

# Usage of the script that sources this file: its first lines.
usage() {
    case "${1:-}" in -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
}

check_gpus() {
    case "$1" in
        '' | 0* | *[!0-9]*) echo "error: GPUS must be a number of at least 1, not '$1'" >&2; exit 2 ;;
    esac
}

# with_torchrun TOOL COUNT ARGUMENTS...: the first COUNT arguments are the tool's, then comes GPUS
with_torchrun() {
    local tool=$1 count=$2
    shift 2
    [ $# -gt "$count" ] || usage "$@"
    local first=("${@:1:count}") gpus=${*:count+1:1}
    shift $((count + 1))
    check_gpus "$gpus"
    [ "$gpus" = 1 ] || export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # like torchrun, which would print five lines about it
    exec "${PYTHON:-python}" "$tools/launch.py" \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$gpus" \
        "$tools/$tool" "${first[@]}" --launcher pytorch "$@"
}

# with_srun TOOL COUNT PARTITION JOB_NAME ARGUMENTS...: at least COUNT arguments are the tool's
with_srun() {
    local tool=$1 count=$2
    shift 2
    [ $# -ge $((count + 2)) ] || usage "$@"
    local partition=$1 job_name=$2 gpus=${GPUS:-8}
    shift 2
    check_gpus "$gpus"
    local gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    local first=("${@:1:count}")
    shift "$count"
    command -v srun >/dev/null || {
        echo "error: there is no srun here: start this on a node of a Slurm cluster, or use dist_${0##*slurm_}" >&2
        exit 2
    }
    # SRUN_ARGS is a list of words; the job id is known only inside the job
    # shellcheck disable=SC2016,SC2086
    exec srun -p "$partition" \
        --job-name="$job_name" \
        --gres=gpu:"$gpus_per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$gpus_per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        bash -c 'MASTER_PORT=${PORT:-${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}} exec "$@"' srun \
        "${PYTHON:-python}" -u "$tools/$tool" "${first[@]}" --launcher slurm "$@"
}
