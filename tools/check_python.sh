#!/bin/sh
# Says what is missing before a virtual environment is made with the interpreter $1. Changes nothing.
set -eu

die() { printf '%s\n' "$@" >&2; exit 1; }

[ -n "$1" ] || die "Python 3.11 or newer is needed and no python3 was found. On Debian and Ubuntu:" \
  "  apt-get install python3 python3-venv"
"$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  die "Python 3.11 or newer is needed; $1 is $("$1" --version 2>&1)." \
    "Name another one: make PYTHON=/usr/bin/python3.11 …"
"$1" -c 'import ensurepip, venv' 2>/dev/null ||
  die "$1 cannot make virtual environments. On Debian and Ubuntu:" "  apt-get install python3-venv" \
    "or name another Python: make PYTHON=/usr/bin/python3.11 …"
