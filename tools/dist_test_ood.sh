#!/usr/bin/env bash
# Evaluate on real adverse conditions or OOD test sets with several processes, one per GPU (without a GPU: on the CPU).
#   bash tools/dist_test_ood.sh CONFIG CHECKPOINT GPUS [arguments of tools/test_ood.py]
# Several nodes: run it on each node with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (node 0) and PORT set.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_torchrun test_ood.py 2 "$@"
