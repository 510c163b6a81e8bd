#!/bin/bash
# One node, 32 worker processes, no Dask. Submit with: sbatch one_node.sh
# Killed by the time limit, the next job goes on where this one was.
#SBATCH --job-name=opkit-generate
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=32
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@60
set -e
out=$SCRATCH/navier-stokes.h5
resume=()
if [ -d "$out.parts" ]; then resume=(--resume); fi
exec opkit generate case navier-stokes --out "$out" \
    --workers "$SLURM_CPUS_PER_TASK" "${resume[@]}"
