#!/usr/bin/env bash
# The compilers for NVIDIA GPUs and TPUs, for plans (`python -m envisions_jax.plan`), into the user's cache.
#
#   tools/install_compilers.sh PYTHON
#
# Not into the virtual environment: there every start of JAX would look for the devices they are for. What is there
# already, in the locked versions, is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
lock=requirements-compilers.lock
folder=${ENVISIONS_CACHE:-$HOME/.cache/envisions-jax}/compilers
cmp --silent "$lock" "$folder/installed.lock" && exit 0
echo "installing compilers for GPUs and TPUs into $folder, 2.5 GB, a minute or two"
rm -rf "$folder.new"
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --target "$folder.new" -r "$lock"
cp "$lock" "$folder.new/installed.lock"
rm -rf "$folder"
mv "$folder.new" "$folder"
