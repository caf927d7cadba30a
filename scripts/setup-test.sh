#!/bin/sh
# What `make test` needs beyond the build: the example shop, ready to start.
set -eu

cd "$(dirname "$0")/.."
scripts/sample-app.py --prepare-only
