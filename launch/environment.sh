# Functions that the launch scripts share; source it, don't run it.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Prints the first Python on PATH that the packages support: $PYTHON, python3, then newest to oldest.
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "lift_jax needs Python 3.11, 3.12 or 3.13 with its venv module, and found none on PATH: install one" \
    "(on Debian and Ubuntu also the package python3-venv), or name it, PYTHON=/path/to/python3.12 bash launch/…" >&2
  return 1
}

# Prints what this machine's accelerator is for JAX: cuda12, tpu or cpu. LIFT_JAX_ACCELERATOR says it instead, for a
# login node, or cuda13.
find_accelerator() {
  if [ -n "${LIFT_JAX_ACCELERATOR:-}" ]; then
    case $LIFT_JAX_ACCELERATOR in
      cpu | cuda12 | cuda13 | tpu) echo "$LIFT_JAX_ACCELERATOR" ;;
      *)
        echo "LIFT_JAX_ACCELERATOR is $LIFT_JAX_ACCELERATOR; write cpu, cuda12, cuda13 or tpu" >&2
        return 1
        ;;
    esac
  elif nvidia-smi --list-gpus >/dev/null 2>&1; then
    echo cuda12
  elif compgen -G '/dev/accel[0-9]*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
    echo tpu
  else
    echo cpu
  fi
}

# make_environment FOLDER REQUIREMENTS_FILE [PACKAGE…]: a virtual environment with these packages.
# It is left alone when it already has them; a list of what was asked for, kept inside it, tells.
make_environment() {
  local folder=$1 requirements=$2 python wanted started=$SECONDS
  shift 2
  if ! "$folder/bin/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
    python=$(find_python) || return 1
    "$python" -m venv --clear "$folder" || return 1
  fi
  wanted=$(printf '%s\n' "$@" && cat "$root/requirements.txt" "$requirements")
  if [ "$(cat "$folder/lift_jax_packages" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing the packages into $folder (a few minutes the first time) …" >&2
    if ! "$folder/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input -r "$requirements" "$@"; then
      echo "pip could not install the packages (its message is above); the environment is $folder" >&2
      return 1
    fi
    printf '%s\n' "$wanted" >"$folder/lift_jax_packages"
    echo "Installed in $((SECONDS - started)) s." >&2
  fi
}

# The program's environment, $root/.venv, for this machine's accelerator.
make_program_environment() {
  local accelerator
  accelerator=$(find_accelerator) || return 1
  case $accelerator in
    cpu) make_environment "$root/.venv" "$root/requirements.txt" ;;
    tpu) make_environment "$root/.venv" "$root/requirements.txt" "jax[tpu]" gcsfs ;;
    *) make_environment "$root/.venv" "$root/requirements.txt" "jax[$accelerator]" ;;
  esac
}
