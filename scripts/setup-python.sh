#!/bin/sh
# setup-python.sh DIR REQUIREMENTS...
# Makes a virtual environment in DIR with these requirements files installed.
# Does nothing when DIR was made from the same files already.
set -eu

. "$(dirname "$0")/apt.sh"

if [ $# -lt 2 ]; then
    echo "usage: setup-python.sh DIR REQUIREMENTS..." >&2
    exit 2
fi
venv=$1
shift

command -v python3 >/dev/null 2>&1 || apt_install python3 python3-venv
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "Python 3.10 or newer is needed, this is $(python3 --version)" >&2
    exit 1
fi

mkdir -p "$venv"
venv=$(cd "$venv" && pwd)

# One at a time: two test runs may want the same environment.
if command -v flock >/dev/null 2>&1 && [ "${SETUP_PYTHON_LOCKED:-}" != "$venv" ]; then
    SETUP_PYTHON_LOCKED=$venv exec flock "$venv.lock" "$0" "$venv" "$@"
fi

# The path is in the stamp too: a virtual environment does not survive being moved.
stamp=$( { echo "$venv"; python3 --version; cat -- "$@"; } | cksum)
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv

echo "Installing Python packages into $(basename "$(dirname "$venv")")/$(basename "$venv")" >&2
python3 -m venv --clear "$venv"
for file in "$@"; do
    set -- "$@" -r "$file"
    shift
done
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
echo "$stamp" >"$venv/.stamp"
