#!/usr/bin/env bash
# Makes a virtual environment beside this folder (.venv), installs lift_jax's packages, and runs the program:
#   bash launch/local.sh [--workdir DIR …]             the quickstart, with these flags
#   bash launch/local.sh --config configs/inat.py …    anything else: all arguments go to lift_jax.main
# Works from any folder. Relative paths mean what they mean where you are; a config that is not there is
# looked for in the repository. With an NVIDIA GPU, JAX for CUDA is installed too; on a TPU VM, JAX for TPUs.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Says whether a config is among the arguments; a file NAME.py without --config gets a sentence of the program. So does
# --help.
has_config() {
  local word
  for word in "$@"; do
    case $word in
      --config | --config=* | -config | -config=* | *.py | *.py:* | -h | -help | --help) return 0 ;;
    esac
  done
  return 1
}

make_program_environment

if ! has_config "$@"; then
  set -- --config "$root/configs/quickstart.py" "$@"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$root/.venv/bin/python" -m lift_jax.main "$@"
