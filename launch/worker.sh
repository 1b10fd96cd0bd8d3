#!/usr/bin/env bash
# What launch/tpu.sh calls on each worker, from the home folder:
#   bash lift_jax/launch/worker.sh prepare      a Python that fits, and the packages
#   bash lift_jax/launch/worker.sh run FLAG…    lift_jax.main, from the repository's folder
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"

action=${1:-}
shift || true
export LIFT_JAX_ACCELERATOR=tpu
case $action in
  prepare)
    # The images of older TPUs have a Python that is too old, and nobody to ask.
    if ! PYTHON=$(find_python 2>/dev/null); then
      python3 -m pip install --quiet --user uv
      python3 -m uv python install --quiet 3.12
      PYTHON=$(python3 -m uv python find 3.12)
    fi
    export PYTHON
    make_program_environment
    ;;
  run)
    # A run whose connection was lost may still be there, and hold the TPU.
    if before=$(cat run.pid 2>/dev/null) && kill "$before" 2>/dev/null; then
      while kill -0 "$before" 2>/dev/null; do sleep 1; done
    fi
    echo $$ >run.pid
    exec "$root/.venv/bin/python" -m lift_jax.main "$@"
    ;;
  *)
    echo "error: write prepare or run." >&2
    exit 2
    ;;
esac
