#!/bin/sh
# What `make test` needs beyond the build: the example shop, ready to start, an object storage, and Redis.
set -eu

cd "$(dirname "$0")/.."
scripts/sample-app.py --prepare-only
scripts/setup-python.sh tests/storage/.venv tests/storage/requirements.txt

. scripts/apt.sh
command -v redis-server >/dev/null 2>&1 || apt_install redis-server
