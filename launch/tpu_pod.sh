#!/usr/bin/env bash
# A TPU slice of Google Cloud as a queued resource: ask for it, run on all of its hosts, give it back.
#
#   launch/tpu_pod.sh create NAME            ask for a slice: TYPE, ZONE, and SPOT=1 for one that may be taken away
#   launch/tpu_pod.sh run NAME CONFIG WORKDIR [--config.key=value …]
#   launch/tpu_pod.sh status NAME
#   launch/tpu_pod.sh delete NAME
#
# In the environment:
#   ZONE      us-east5-a by default
#   TYPE      v5p-16 by default; as gcloud has it, so v5litepod-16 for a v5e-16
#   RUNTIME   the image of the hosts; by default that of the type
#   NFS       host:/share of a Filestore instance, mounted at /mnt/envisions on every host: WORKDIR must lie on a
#             file system that all hosts share, so give one below that folder. Not needed for a slice of one host.
#
# Before: gcloud auth login, gcloud config set project PROJECT, and this model and these data below NFS, or a model
# and data that every host may download. `create` returns at once: `run` when `status` says ACTIVE.
#
# `run` copies the repository as it is committed, installs it (with Python 3.11 from Ubuntu where there is an older
# one), ends what an earlier call may have left, and starts one process on each host. It stays until they end, and
# may be repeated at any time: the run goes on where it was.
set -euo pipefail

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'
}

case ${1-} in -h | --help)
  usage
  exit 0
  ;;
esac
if [ $# -lt 2 ]; then
  usage >&2
  exit 2
fi
action=$1 name=$2
shift 2
zone=${ZONE:-us-east5-a}
type=${TYPE:-v5p-16}
root=$(cd "$(dirname "$0")/.." && pwd)
tpus=(gcloud compute tpus)

runtime_of_type() {
  case $type in
  v5litepod-*) echo v2-alpha-tpuv5-lite ;;
  v6e-*) echo v2-alpha-tpuv6e ;;
  v5p-*) echo v2-alpha-tpuv5 ;;
  v4-* | v3-* | v2-*) echo tpu-ubuntu2204-base ;;
  *)
    echo "error: no runtime is known for TYPE=$type; set RUNTIME" >&2
    return 2
    ;;
  esac
}

create() {
  local spot=() runtime
  [ -z "${SPOT-}" ] || spot=(--spot)
  runtime=${RUNTIME:-$(runtime_of_type)} || exit 2
  "${tpus[@]}" queued-resources create "$name" --node-id="$name" --zone="$zone" --accelerator-type="$type" \
    --runtime-version="$runtime" ${spot[@]+"${spot[@]}"}
}

on_all() {
  "${tpus[@]}" tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

run() {
  if [ $# -lt 2 ]; then
    usage >&2
    exit 2
  fi
  local config=$1 workdir=$2 archive arguments
  shift 2
  archive=$(mktemp --suffix=.tar.gz)
  # shellcheck disable=SC2064  # this file, whatever the variable is later
  trap "rm -f '$archive'" EXIT
  git -C "$root" archive --format=tar.gz --output="$archive" HEAD
  "${tpus[@]}" tpu-vm scp "$archive" "$name:envisions.tar.gz" --zone="$zone" --worker=all
  if [ -n "${NFS-}" ]; then
    on_all "mountpoint -q /mnt/envisions || { sudo apt-get update -qq && sudo apt-get install -y -qq nfs-common && sudo mkdir -p /mnt/envisions && sudo mount $(printf %q "$NFS") /mnt/envisions && sudo chmod 777 /mnt/envisions; }"
  fi
  on_all "python3.11 -m ensurepip --version > /dev/null 2>&1 || { sudo apt-get update -qq && sudo apt-get install -y -qq python3.11 python3.11-venv; }; mkdir -p envisions && tar xzf envisions.tar.gz -C envisions && cd envisions && python3.11 -m venv .venv && .venv/bin/python -m pip install --quiet -e '.[tpu,data,logic]'"
  arguments=$(printf ' %q' --config="$config" --workdir="$workdir" --distributed "$@")
  on_all "while pkill -f 'm envisions_jax[.]main'; do sleep 1; done"
  on_all "cd envisions && .venv/bin/python -m envisions_jax.main$arguments"
}

case $action in
create) create ;;
run) run "$@" ;;
status) "${tpus[@]}" queued-resources describe "$name" --zone="$zone" ;;
delete) "${tpus[@]}" queued-resources delete "$name" --zone="$zone" --force ;;
*)
  echo "error: no action is called '$action'; choose create, run, status or delete" >&2
  exit 2
  ;;
esac
