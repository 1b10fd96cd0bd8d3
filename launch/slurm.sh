#!/usr/bin/env bash
# Prepares an environment and submits lift_jax.main to SLURM, on one GPU node or several, a process for each GPU:
#
#   bash launch/slurm.sh --nodes 4 --gpus-per-node 8 --time 8:00:00 --workdir /shared/runs/inat \
#     -- --config configs/inat.py --config.data.root=/shared/data
#
# What follows -- goes to lift_jax.main. A job that is preempted, loses a node or reaches its time is queued again and
# goes on from its newest checkpoint. The repository and --workdir must be where all nodes see them.
#
#   --nodes N           (default 1)
#   --gpus-per-node N   (default 1)
#   --workdir DIR       the run's folder: checkpoints, metrics, logs, report; SLURM's own log too
#   --time LIMIT        of the job, as sbatch takes it
#   --partition NAME    also --account NAME and --qos NAME: as sbatch takes them
#   --cpus-per-gpu N    (default 8), which decode images
#   --cuda VERSION      of JAX's packages: 12 (default) or 13
#   --name NAME         of the job (default lift_jax)
#   --restarts N        how often the job may be queued again (default 100)
#   --dry-run           print the commands and the job, and submit nothing
set -euo pipefail
# shellcheck source=launch/remote.sh
source "$(dirname "$0")/remote.sh"

nodes=1 gpus_per_node=1 time='' partition='' account='' qos='' cpus_per_gpu=8 name=lift_jax restarts=100
parse_flags "nodes gpus-per-node workdir time partition account qos cpus-per-gpu cuda name restarts" "" "$@"
require workdir
require_count nodes gpus-per-node cpus-per-gpu restarts
require_config
require_cuda
require_tool sbatch "run this on a login node of the cluster"

logs=$workdir
if [[ $workdir == gs://* ]]; then
  logs=$root/runs
fi
make_cuda_environment
run mkdir -p "$logs"

# Signals go to the processes of srun (no B: before TERM), which save a checkpoint and end. A status above 2 says that
# they can go on; after losing a node SLURM queues the job again by itself. Since SLURM 22.05 srun has to be told of the
# cores too.
job=$(
  cat <<END_OF_JOB
#!/usr/bin/env bash
#SBATCH --job-name=$name
#SBATCH --nodes=$nodes
#SBATCH --gpus-per-node=$gpus_per_node
#SBATCH --ntasks-per-node=$gpus_per_node
#SBATCH --cpus-per-task=$cpus_per_gpu
#SBATCH --output=$logs/slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
${time:+#SBATCH --time=$time
}${partition:+#SBATCH --partition=$partition
}${account:+#SBATCH --account=$account
}${qos:+#SBATCH --qos=$qos
}export PYTHONPATH=$(show "$root")
status=0
srun --cpus-per-task=$cpus_per_gpu --kill-on-bad-exit=1 $(show "$root/.venv/bin/python" -m lift_jax.main --workdir "$workdir" "${program[@]}") || status=\$?
if [ "\$status" -gt 2 ] && [ "\${SLURM_RESTART_COUNT:-0}" -lt $restarts ]; then
  scontrol requeue "\$SLURM_JOB_ID"
fi
exit "\$status"
END_OF_JOB
)
run_with_input "$job" sbatch
