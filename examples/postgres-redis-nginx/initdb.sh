#!/bin/sh
# Makes a database cluster with password logins, unless there is one. Usage: initdb.sh DIRECTORY
set -eu
cluster=$1
if [ -e "$cluster" ]; then
    echo "there is a cluster already"
    exit 0
fi
# Made beside its place and renamed: a cluster that exists is complete, whenever this was interrupted.
rm -rf "$cluster.new"
printf '%s\n' "$PGPASSWORD" >/tmp/password
sh postgres.sh initdb -D "$cluster.new" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C
echo "host all all all scram-sha-256" >>"$cluster.new/pg_hba.conf"
mv "$cluster.new" "$cluster"
