#!/bin/sh
# Makes the virtual environment, or says in one line what is missing. Usage: python.sh PYTHON VENV
set -eu
python=$1 venv=$2

missing() {
    echo "stackup: $1. Run: $2" >&2
    exit 1
}

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo "
command -v "$python" >/dev/null 2>&1 || missing "python3 is not installed" "${sudo}apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    missing "$("$python" --version) is too old, 3.11 is needed" "make PYTHON=python3.11 (${sudo}apt-get install python3.11 python3.11-venv)"
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    missing "Python's venv module is not installed" "${sudo}apt-get install python3-venv"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
