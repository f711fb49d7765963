#!/bin/sh
# The real servers of the examples' tests, and the init program of the kernel tests: installed as root, named otherwise.
set -eu
missing=
command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v tini >/dev/null 2>&1 || missing="$missing tini"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "stackup: the tests with real servers need:$missing. Run: sudo apt-get install$missing" >&2
    exit 0
fi
# Their packages start them; a test machine wants the programs, not more servers.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && trap 'rm -f $policy' EXIT; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
