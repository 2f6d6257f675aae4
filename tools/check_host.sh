#!/bin/sh
# Says which system package is missing before something fails half-way. Changes nothing.
#   tools/check_host.sh python PYTHON      the interpreter that will make the virtual environment
#   tools/check_host.sh libraries PYTHON   the shared libraries that the installed packages load
set -eu

die() { printf '%s\n' "$@" >&2; exit 1; }

case "$1" in
  python)
    [ -n "$2" ] || die "Python 3.11 or newer is needed and no python3 was found. On Debian and Ubuntu:" \
      "  apt-get install python3 python3-venv"
    "$2" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
      die "Python 3.11 or newer is needed; $2 is $("$2" --version 2>&1)." \
        "Name another one: make PYTHON=/usr/bin/python3.11 …"
    "$2" -c 'import ensurepip, venv' 2>/dev/null ||
      die "$2 cannot make virtual environments. On Debian and Ubuntu:" "  apt-get install python3-venv"
    ;;
  libraries)
    "$2" -c 'import pyseccomp' 2>/dev/null ||
      die "The sandbox for model-written programs needs libseccomp. On Debian and Ubuntu:" \
        "  apt-get install libseccomp2"
    ;;
  *) die "usage: $0 python|libraries PYTHON" ;;
esac
