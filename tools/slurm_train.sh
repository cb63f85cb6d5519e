#!/usr/bin/env bash
# Train on a slurm cluster.
#   GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# SRUN_ARGS goes to srun as it is. PORT is where the processes meet; by default each job has its own.
set -eu
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
partition=$1 job_name=$2 config=$3
shift 3
gpus=${GPUS:-8}
case "$gpus" in
    0* | *[!0-9]*) echo "error: GPUS is a number from 1, not '$gpus'" >&2; exit 2 ;;
esac
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# SRUN_ARGS is a list of words; the job's number is known in the job only
# shellcheck disable=SC2016,SC2086
PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" exec srun -p "$partition" \
    --job-name="$job_name" \
    --gres=gpu:"$gpus_per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    bash -c 'MASTER_PORT=${PORT:-${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}} exec "$@"' srun \
    "${PYTHON:-python}" -u "$here/train.py" "$config" --launcher slurm "$@"
