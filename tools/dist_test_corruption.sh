#!/usr/bin/env bash
# Evaluate corruption robustness with several processes, one per GPU (without a GPU: on the CPU).
#   bash tools/dist_test_corruption.sh CONFIG CHECKPOINT GPUS [arguments of tools/test_corruption.py]
# Several nodes: run it on each node with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (node 0) and PORT set.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_torchrun test_corruption.py 2 "$@"
