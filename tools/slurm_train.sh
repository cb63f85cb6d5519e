#!/usr/bin/env bash
# Train on a Slurm cluster.
#   GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# SRUN_ARGS is passed to srun. PORT is the rendezvous port; by default each job has its own.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_srun train.py 1 "$@"
