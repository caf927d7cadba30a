#!/bin/sh
# What `make floods` needs: slowhttptest, and Python's h2.
set -eu

cd "$(dirname "$0")/.."
. scripts/apt.sh
command -v slowhttptest >/dev/null 2>&1 || apt_install slowhttptest
scripts/setup-python.sh load/.venv load/requirements.txt
