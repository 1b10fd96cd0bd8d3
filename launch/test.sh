#!/usr/bin/env bash
# Makes a virtual environment (.venv-test), installs the packages of the program and of its tests, and checks
# style (ruff, shellcheck), types (pyright) and behaviour (pytest). Fails when one of them does.
#   bash launch/test.sh                              everything that is not slow
#   bash launch/test.sh tests/test_logs.py -k bar    arguments go to pytest; paths count from the repository
#   bash launch/test.sh --parity -m parity           installs the light peer libraries to compare with first
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"

make_environment "$root/.venv-test" "$root/tests/requirements.txt"
bin=$root/.venv-test/bin
if [ "${1:-}" = --parity ]; then
  shift
  if ! "$bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input -r tests/requirements-parity-light.txt; then
    echo "The peer libraries could not be installed, so the parity tests will be skipped." >&2
  fi
fi

failed=()
check() {
  local name=$1
  shift
  echo "== $name" >&2
  "$@" || failed+=("$name")
}
check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
check shellcheck "$bin/shellcheck" --external-sources launch/*.sh .ci/run
check pyright "$bin/pyright" --pythonpath "$bin/python"
check pytest "$bin/python" -m pytest -n 2 "$@"

if [ ${#failed[@]} -gt 0 ]; then
  (IFS=, && echo "Failed: ${failed[*]}") >&2
  exit 1
fi
