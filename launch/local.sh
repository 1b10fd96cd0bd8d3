#!/usr/bin/env bash
# Makes a virtual environment beside this folder (.venv), installs lift_jax's packages, and runs the program:
#   bash launch/local.sh                               the quickstart
#   bash launch/local.sh --config configs/inat.py …    anything else: all arguments go to lift_jax.main
# Works from any folder. Relative paths mean what they mean where you are; a config that is not there is
# looked for in the repository. With an NVIDIA GPU, JAX for CUDA is installed too.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

accelerator=()
if nvidia-smi --list-gpus >/dev/null 2>&1; then
  accelerator=("jax[cuda12]")
fi
make_environment "$root/.venv" "$root/requirements.txt" ${accelerator[@]+"${accelerator[@]}"}

# Prints the path of a config, which may end in ":argument".
config_path() {
  local file=${1%%:*}
  if [ ! -e "$file" ] && [ -e "$root/$file" ]; then
    printf '%s\n' "$root/$1"
  else
    printf '%s\n' "$1"
  fi
}

arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --config=*) arguments+=("--config=$(config_path "${1#--config=}")") ;;
    --config)
      arguments+=("$1")
      if [ $# -gt 1 ]; then
        shift
        arguments+=("$(config_path "$1")")
      fi
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
if [ ${#arguments[@]} -eq 0 ]; then
  arguments=(--config "$root/configs/quickstart.py")
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$root/.venv/bin/python" -m lift_jax.main "${arguments[@]}"
