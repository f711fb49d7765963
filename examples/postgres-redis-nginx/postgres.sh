#!/bin/sh
# Runs a program of the newest PostgreSQL on this machine: Debian keeps them out of PATH.
# Usage: postgres.sh PROGRAM [ARGUMENT...]
directory=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
if [ ! -x "$directory/postgres" ]; then
    echo "PostgreSQL is not installed; on Debian and Ubuntu: apt-get install postgresql" >&2
    exit 1
fi
program=$1
shift
exec "$directory/$program" "$@"
