#!/usr/bin/env bash
# Evaluate a model with several processes, one per GPU (without a GPU: on the CPU).
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Several nodes: run it on each node with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (node 0) and PORT set.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_torchrun test.py 2 "$@"
