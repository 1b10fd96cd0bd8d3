#!/usr/bin/env bash
# Prepares this machine and runs lift_jax.main on all its NVIDIA GPUs, in one process:
#
#   bash launch/gpu.sh --workdir runs/inat -- --config configs/inat.py --config.data.root=/data
#
# What follows -- goes to lift_jax.main. A run that is killed is started again and goes on from its newest checkpoint.
#
#   --workdir DIR     the run's folder: checkpoints, metrics, logs, report
#   --gpus LIST       some of the GPUs, such as 0,1; by default all
#   --cuda VERSION    of JAX's packages: 12 (default) or 13
#   --restarts N      how often the run may be started again (default 10)
#   --dry-run         print the commands and run none
set -euo pipefail
# shellcheck source=launch/remote.sh
source "$(dirname "$0")/remote.sh"

gpus='' restarts=10
parse_flags "workdir gpus cuda restarts" "" "$@"
require workdir
require_count restarts
require_config
require_cuda
require_tool nvidia-smi "it comes with NVIDIA's driver, which the GPUs need"

python=$root/.venv/bin/python
settings=("PYTHONPATH=$root" ${gpus:+"CUDA_VISIBLE_DEVICES=$gpus"})
make_cuda_environment
run env "${settings[@]}" "$python" -c 'import jax; print(*jax.devices("gpu"))' ||
  fail "JAX finds no GPU, for the reason above; nvidia-smi shows the driver and the CUDA version that it supports."
trap 'exit 130' INT
for ((start = 0; start <= restarts; start++)); do
  status=0
  run env "${settings[@]}" "$python" -m lift_jax.main --workdir "$workdir" "${program[@]}" || status=$?
  ! is_final "$status" || exit "$status"
  echo "The run was interrupted (status $status); it is started again." >&2
done
fail "The run was interrupted $start times."
