#!/usr/bin/env bash
# Makes a TPU VM or a TPU pod slice, prepares all its workers, runs lift_jax.main on them, and deletes it afterwards:
#
#   bash launch/tpu.sh --name lift --zone us-west4-a --type v5litepod-16 --spot --workdir gs://BUCKET/runs/inat \
#     -- --config configs/inat.py --config.data.root=gs://BUCKET/data
#
# What follows -- goes to lift_jax.main. When the machines are taken away (--spot) or lost, it asks for others and
# starts the run again, which goes on from its newest checkpoint; so leave this script running, in tmux for example.
# It needs gcloud, logged in, with the TPU API enabled. The config must be in the repository.
#
#   --name NAME       of the queued resource and of the TPU
#   --zone ZONE       where it is made
#   --type TYPE       v5litepod-8 is one VM, v5litepod-16 a slice of several; also v6e-N, v5p-N, v4-N
#   --workdir gs://…  the run's folder: checkpoints, metrics, logs, report
#   --project ID      by default that of gcloud
#   --version NAME    of the TPU's software, by default that for its type
#   --spot            cheaper machines that can be taken away at any time
#   --restarts N      how often the run may be started again (default 100)
#   --keep            don't delete the TPU at the end
#   --dry-run         print the commands and run none
set -euo pipefail
# shellcheck source=launch/remote.sh
source "$(dirname "$0")/remote.sh"

name='' zone='' type='' project='' version='' spot='' restarts=100 keep=''
parse_flags "name zone type workdir project version restarts" "spot keep" "$@"
require name zone type
require_bucket
require_count restarts
require_config_of_repository
find_slice "$type"
require_tool gcloud "see https://cloud.google.com/sdk/docs/install"

if [ -z "$version" ]; then
  case $generation in
    v6e) version=v2-alpha-tpuv6e ;;
    v5p) version=v2-alpha-tpuv5 ;;
    v5litepod) version=v2-alpha-tpuv5-lite ;;
    *) version=tpu-ubuntu2204-base ;;
  esac
fi
where=(--zone "$zone" ${project:+--project "$project"})
queue=(gcloud compute tpus queued-resources)
vm=(gcloud compute tpus tpu-vm)
ssh=("${vm[@]}" ssh "$name" --worker=all "${where[@]}" --ssh-flag=-oServerAliveInterval=30)
archive=${TMPDIR:-/tmp}/lift_jax-$name.tar.gz

# The state of the queued resource; nothing if there is none.
state() {
  "${queue[@]}" describe "$name" "${where[@]}" --format='value(state.state)' 2>/dev/null || true
}

make_request() {
  run "${queue[@]}" create "$name" --node-id "$name" "${where[@]}" --accelerator-type "$type" \
    --runtime-version "$version" ${spot:+--spot}
}

delete_request() {
  run "${queue[@]}" delete "$name" "${where[@]}" --force --quiet
}

# Asks for the TPU and waits until it is there; a request whose machines were taken away is made anew.
make_tpu() {
  local now before=''
  if [ -n "$dry_run" ]; then
    make_request
    show "${queue[@]}" describe "$name" "${where[@]}" '--format=value(state.state)'
    echo "# … until it says ACTIVE"
    return
  fi
  while now=$(state) && [ "$now" != ACTIVE ]; do
    [ "$now" = "$before" ] || echo "The TPU $name: ${now:-not requested yet}." >&2
    before=$now
    case $now in
      '') make_request || return 1 ;;
      SUSPENDED) delete_request || return 1 ;;
      FAILED)
        "${queue[@]}" describe "$name" "${where[@]}" >&2
        fail "The request for $name failed, for the reason above; delete it before you try again: $(
          show "${queue[@]}" delete "$name" "${where[@]}" --force
        )"
        ;;
      *) sleep 30 ;;
    esac
  done
}

# Brings the repository to all workers, and there a Python that fits and the packages.
prepare() {
  local command="mkdir -p lift_jax && tar -xzf '${archive##*/}' -C lift_jax && bash lift_jax/launch/worker.sh prepare"
  run tar -czf "$archive" --exclude=__pycache__ -C "$root" configs launch lift_jax requirements.txt pyproject.toml &&
    run "${vm[@]}" scp "$archive" "$name:" --worker=all "${where[@]}" &&
    run "${ssh[@]}" --command "$command"
}

run_program() {
  run "${ssh[@]}" --command "bash lift_jax/launch/worker.sh run $(show --workdir "$workdir" "${program[@]}")"
}

# Ends with a sentence; the TPU stays, to be looked at.
leave() {
  fail "$1 The TPU $name is still there and costs; to delete it: $(show "${queue[@]}" delete "$name" "${where[@]}" --force)"
}

trap 'leave "Stopped by hand."' INT
for ((start = 0; start <= restarts; start++)); do
  status=0
  make_tpu || fail "gcloud could not make the TPU $name; what it says is above."
  { prepare && run_program; } || status=$?
  [ "$status" -ne 0 ] || break
  sleep 60 # a TPU that was taken away needs a moment to say so
  if is_final "$status" && [ "$("${vm[@]}" describe "$name" "${where[@]}" --format='value(state)' 2>/dev/null)" = READY ]; then
    leave "The run ended with status $status, for the reason above."
  fi
  echo "The run was interrupted (status $status); it is started again." >&2
done
[ "$status" -eq 0 ] || leave "The run was interrupted $start times."
if [ -z "$keep" ]; then
  delete_request
fi
