#!/usr/bin/env bash
# Evaluate corruption robustness on a Slurm cluster.
#   GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 bash tools/slurm_test_corruption.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test_corruption.py]
# SRUN_ARGS is passed to srun. PORT is the rendezvous port; by default each job has its own.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_srun test_corruption.py 2 "$@"
