#!/usr/bin/env bash
# Evaluate with several processes: GPUs, or CPU processes where there is no GPU.
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Several nodes: run it on each with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (node 0) and PORT set.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_torchrun test.py 2 "$@"
