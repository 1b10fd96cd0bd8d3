#!/usr/bin/env bash
# Runs lift_jax.main on a TPU slice of a GKE cluster, as a JobSet:
#
#   bash launch/gke.sh --name lift --type v5litepod-16 --image REGION-docker.pkg.dev/PROJECT/REPOSITORY/lift_jax \
#     --service-account lift --workdir gs://BUCKET/runs/inat --build \
#     -- --config configs/inat.py --config.data.root=gs://BUCKET/data
#
# What follows -- goes to lift_jax.main. A job whose machines are taken away is started again and goes on from its newest
# checkpoint. The cluster needs the JobSet controller, a node pool of the type, and a Kubernetes service account that may
# write to the bucket. It needs kubectl, pointed at the cluster, and docker for --build. The config must be in the
# repository.
#
#   --name NAME             of the JobSet
#   --type TYPE             v5litepod-N, v6e-N, v5p-N or v4-N
#   --image IMAGE           of the container
#   --workdir gs://…        the run's folder: checkpoints, metrics, logs, report
#   --service-account NAME  by default that of the namespace
#   --namespace NAME        by default that of kubectl
#   --build                 make the image (launch/Dockerfile) and push it first
#   --spot                  on a node pool of spot machines
#   --restarts N            how often the job may be started again (default 100)
#   --dry-run               print the commands and the JobSet, and run nothing
set -euo pipefail
# shellcheck source=launch/remote.sh
source "$(dirname "$0")/remote.sh"

name='' type='' image='' service_account='' namespace='' build='' spot='' restarts=100
parse_flags "name type image workdir service-account namespace restarts" "build spot" "$@"
require name type image
require_bucket
require_count restarts
require_config_of_repository
find_slice "$type"
require_tool kubectl "see https://kubernetes.io/docs/tasks/tools"
[ -z "$build" ] || require_tool docker "or make the image elsewhere and leave --build out"

case $generation in
  v4) accelerator=tpu-v4-podslice ;;
  v5p) accelerator=tpu-v5p-slice ;;
  v5litepod) accelerator=tpu-v5-lite-podslice ;;
  *) accelerator=tpu-v6e-slice ;;
esac
per_host=$((chips / hosts))

# The words as a list of YAML.
yaml_list() {
  local word list=''
  for word in "$@"; do
    word=${word//\\/\\\\}
    list+="${list:+, }\"${word//\"/\\\"}\""
  done
  printf '[%s]' "$list"
}

# A status of 1 or 2 is for a person to look at and ends the JobSet; after all else it is started again.
jobset=$(
  cat <<END_OF_JOBSET
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $restarts
    rules:
      - action: FailJobSet
        onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
    - name: slice
      replicas: 1
      template:
        spec:
          parallelism: $hosts
          completions: $hosts
          completionMode: Indexed
          backoffLimit: 0
          podFailurePolicy:
            rules:
              - action: FailJob
                onExitCodes: {containerName: lift-jax, operator: In, values: [1, 2]}
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 60
${service_account:+              serviceAccountName: $service_account
}              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $accelerator
                cloud.google.com/gke-tpu-topology: $topology
${spot:+                cloud.google.com/gke-spot: \"true\"
              tolerations:
                - {key: cloud.google.com/gke-spot, operator: Equal, value: \"true\", effect: NoSchedule\}
}              containers:
                - name: lift-jax
                  image: $image
                  command: [python, -m, lift_jax.main]
                  args: $(yaml_list --workdir "$workdir" "${program[@]}")
                  resources:
                    requests: {google.com/tpu: $per_host}
                    limits: {google.com/tpu: $per_host}
END_OF_JOBSET
)

if [ -n "$build" ]; then
  run docker build --file "$root/launch/Dockerfile" --tag "$image" "$root"
  run docker push "$image"
fi
kubectl=(kubectl ${namespace:+--namespace "$namespace"})
run_with_input "$jobset" "${kubectl[@]}" apply -f -
pods=jobset.sigs.k8s.io/jobset-name=$name
if [ -z "$dry_run" ]; then # until the controller has made them, there are none that kubectl would wait for
  until [ -n "$("${kubectl[@]}" get pods --selector "$pods" --output name)" ]; do sleep 2; done
fi
run "${kubectl[@]}" wait --for=condition=Ready pod --selector "$pods" --timeout=1h
run "${kubectl[@]}" logs --follow --selector "$pods,batch.kubernetes.io/job-completion-index=0"
