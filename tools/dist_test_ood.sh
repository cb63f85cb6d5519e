#!/usr/bin/env bash
# Evaluate out of distribution with several processes: GPUs, or CPU processes where there is no GPU.
#   bash tools/dist_test_ood.sh CONFIG CHECKPOINT GPUS [arguments of tools/test_ood.py]
# Several nodes: run it on each with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (node 0) and PORT set.
set -eu
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
config=$1 checkpoint=$2 gpus=$3
shift 3
case "$gpus" in
    '' | 0* | *[!0-9]*) echo "error: GPUS is a number from 1, not '$gpus'" >&2; exit 2 ;;
esac
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$here/test_ood.py" "$config" "$checkpoint" --launcher pytorch "$@"
