#!/bin/sh
# As root: runs the layers that meet the kernel once more as a user without any privilege or subordinate ids.
set -eu
[ "$(id -u)" = 0 ] || exit 0
user=stackup-test
id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$user"
for file in /etc/subuid /etc/subgid; do
    [ ! -e $file ] || sed -i "/^$user:/d" $file
done
home=$(getent passwd "$user" | cut -d: -f6)
# A Python that everybody may run: the caller's own may lie in a home directory.
python=
for candidate in /usr/bin/python3 /usr/local/bin/python3; do
    [ -n "$python" ] || ! "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || python=$candidate
done
[ -n "$python" ] || { echo "stackup: no python3 (3.11 or newer) that every user may run: apt-get install python3 python3-venv" >&2; exit 1; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }
copy=$home/stackup
mkdir -p "$copy"
tar --exclude=./.venv --exclude=./.git --exclude=__pycache__ --exclude='*.egg-info' -cf - . | tar -C "$copy" --no-same-owner -xf -
chown -R "$user:" "$copy"
echo "as $user:"
su "$user" -s /bin/sh -c "cd '$copy' && make --silent PYTHON='$python' dev && CI=${CI:-} .venv/bin/python -m pytest -q tests/kernel tests/cli tests/e2e tests/contract"
