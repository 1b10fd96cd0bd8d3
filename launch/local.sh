#!/usr/bin/env bash
# Makes a virtual environment beside this folder (.venv), installs lift_jax's packages, and runs the program:
#   bash launch/local.sh                               the quickstart
#   bash launch/local.sh --config configs/inat.py …    anything else: all arguments go to lift_jax.main
# Works from any folder. Relative paths mean what they mean where you are; a config that is not there is
# looked for in the repository. With an NVIDIA GPU, JAX for CUDA is installed too; on a TPU VM, JAX for TPUs.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

make_program_environment

if [ $# -eq 0 ]; then
  set -- --config "$root/configs/quickstart.py"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$root/.venv/bin/python" -m lift_jax.main "$@"
