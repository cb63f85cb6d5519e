#!/usr/bin/env bash
# Evaluate on real adverse conditions or OOD test sets on a Slurm cluster.
#   GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 bash tools/slurm_test_ood.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test_ood.py]
# SRUN_ARGS is passed to srun. PORT is the rendezvous port; by default each job has its own.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
with_srun test_ood.py 2 "$@"
