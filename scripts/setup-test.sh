#!/bin/sh
# What `make test` needs beyond the build: the example shop, ready to start, and an object storage.
set -eu

cd "$(dirname "$0")/.."
scripts/sample-app.py --prepare-only
scripts/setup-python.sh tests/storage/.venv tests/storage/requirements.txt
