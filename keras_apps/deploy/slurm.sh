#!/bin/sh
# Four nodes under Slurm: sbatch keras_apps/deploy/slurm.sh --config=... --data=DIR --workdir=DIR
# DIR lies on a file system that all nodes see. Ended early by Slurm it is queued again and goes on.
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -eu
WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed 's/$/:2222/' | tr '\n' ' ')
export WORKERS
code=0
srun --kill-on-bad-exit=1 sh -c 'export INDEX=$SLURM_PROCID; exec sh keras_apps/deploy/worker.sh "$@"' worker "$@" || code=$?
[ "$code" -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
