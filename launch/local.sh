#!/usr/bin/env bash
# One machine, one process: every CPU core or every local accelerator that JAX finds.
#
#   launch/local.sh CONFIG WORKDIR [--config.key=value …]
#   launch/local.sh configs/math.py runs/math-7b --config.model.path=/models/Llama-2-7b-chat-hf
#
# Interrupted at any moment, the same command goes on where it was; so it also restarts by itself, a few
# times, when the process was killed. Exit codes 0 (done), 1 (a problem that was told in one line, or a
# defect), 2 (a configuration that cannot work), 130 (interrupted by hand) and 143 (stopped by a scheduler) are
# final. Relative paths are those of where it is called.
# ENVISIONS_RESTARTS=0 turns restarts off. GPUs are found where requirements-gpu.txt is installed in .venv.
set -uo pipefail

case ${1-} in -h | --help)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
esac
if [ $# -lt 2 ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
config=$1 workdir=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
python=$root/.venv/bin/python
if [ ! -x "$python" ]; then
  python=python3
  if ! python3 -c 'import importlib.util as u, sys; sys.exit(u.find_spec("jax") is None)'; then
    echo "error: there is no .venv, and python3 has no JAX: run 'make setup' in $root first" >&2
    exit 1
  fi
fi
# A config of the repository by its name there, from wherever this is called. ":variant" is no part of the path.
[ -f "${config%%:*}" ] || [ ! -f "$root/${config%%:*}" ] || config=$root/$config
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

for ((attempt = 0; ; attempt++)); do
  "$python" -m envisions_jax.main --config="$config" --workdir="$workdir" "$@"
  code=$?
  case $code in 0 | 1 | 2 | 130 | 143) exit "$code" ;; esac
  [ "$attempt" -lt "${ENVISIONS_RESTARTS:-3}" ] || exit "$code"
  echo "exit code $code: going on where it was (restart $((attempt + 1)))" >&2
  sleep 5
done
