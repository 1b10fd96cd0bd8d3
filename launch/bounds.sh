#!/usr/bin/env bash
# Tries the oldest or the newest packages that pyproject.toml allows: installs them into an environment of their own
# (.venv-lowest-3.11, …), made anew each time, then trains and reports once and runs tests that touch each of them.
#   bash launch/bounds.sh lowest [--python PYTHON]          with Python 3.11, the oldest
#   bash launch/bounds.sh newest                            with Python 3.13, the newest
#   bash launch/bounds.sh newest --python 3.12 -x           arguments go to pytest, beside those tests
# PYTHON is a version, or the path of an interpreter; uv finds it, or fetches it.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"

# Something of each package that would break if it behaved differently. Checkpoints, batches and reports are the run's.
tests=(
  tests/test_config_keys.py tests/test_files.py tests/data/test_images.py tests/data/test_resampling.py
  tests/data/test_sources.py tests/data/test_tables.py tests/data/test_text_files.py tests/data/test_parquet.py
  tests/data/test_remote.py tests/data/test_archives.py tests/weights/test_formats.py tests/weights/test_clip_tokenizer.py
  tests/models/test_attention.py tests/models/test_transformer.py tests/training/test_losses.py
  tests/evaluation/test_metrics.py tests/workdir/test_logs.py tests/inference/test_unknown_scores.py
  tests/quickstart/test_letters_run.py
)

usage="write bash launch/bounds.sh lowest|newest [--python PYTHON] [arguments of pytest]"
case ${1:-} in
  lowest) resolution=lowest-direct python=3.11 ;; # what these packages need themselves is the newest
  newest) resolution=highest python=3.13 ;;
  *)
    echo "The first argument is ${1:-missing}; $usage" >&2
    exit 2
    ;;
esac
bound=$1
shift
if [ "${1:-}" = --python ]; then
  if [ -z "${2:-}" ]; then
    echo "--python has no value; $usage" >&2
    exit 2
  fi
  python=$2
  shift 2
fi

if ! uv=$(command -v uv); then
  make_environment "$root/.venv-uv" /dev/null uv
  uv=$root/.venv-uv/bin/uv
fi
environment=$root/.venv-$bound-${python##*/}
"$uv" venv --quiet --no-project --clear --python "$python" "$environment"
"$uv" pip install --quiet --python "$environment" --resolution "$resolution" --requirements pyproject.toml \
  --extra test --extra formats --extra parquet --extra serve
"$uv" pip list --python "$environment" >&2

workdir=$(mktemp -d)
trap 'rm -rf "$workdir"' EXIT
"$environment/bin/python" -m lift_jax.main --config configs/quickstart.py --config.sweep= --config.num_epochs=1 \
  --workdir "$workdir/run"
"$environment/bin/python" -m pytest "${tests[@]}" "$@"
