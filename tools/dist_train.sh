#!/usr/bin/env bash
# Train with several processes, one per GPU (without a GPU: on the CPU).
#   bash tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Several nodes: run it on each node with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (node 0) and PORT set.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_torchrun train.py 1 "$@"
